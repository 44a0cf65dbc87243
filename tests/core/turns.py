"""Real code run one step at a time, in every order: the interleavings of a few short operations.

Each operation has a thread, but only one moves at a time, from one access of shared state to the next (`step`). All
orders are tried, depth first, up to a number of preemptions: switches away from an operation that could have gone on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Operation = Callable[[], None]


class StepLock:
    """A lock that works among the operations: who finds it held cannot move until it is free."""

    def __init__(self, turns: Turns) -> None:
        self.is_held = False
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.step(self)
        assert not self.is_held
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False


class _Mover:
    """A thread that runs one operation after the other, each step by step."""

    def __init__(self, back: threading.Semaphore) -> None:
        self.operation: Operation | None = None
        self.is_done = True
        self.needs: StepLock | None = None
        self.error: BaseException | None = None
        self._go = threading.Semaphore(0)
        self._back = back
        self.thread = threading.Thread(target=self._work, name="mover")
        self.thread.start()

    @property
    def can_move(self) -> bool:
        return not self.is_done and (self.needs is None or not self.needs.is_held)

    def move(self) -> None:
        """Let it go on to its next step or its end."""
        self._go.release()
        assert self._back.acquire(timeout=60), "an operation is stuck"

    def pause(self, needs: StepLock | None) -> None:
        self.needs = needs
        self._back.release()
        self._go.acquire()
        self.needs = None

    def _work(self) -> None:
        while True:
            self._go.acquire()
            if self.operation is None:
                return
            try:
                self.operation()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                self.error = error
            self.is_done = True
            self._back.release()

    def end(self) -> None:
        self.operation = None
        self._go.release()
        self.thread.join(60)


class Turns:
    """Who moves next, decided by a list of choices."""

    def __init__(self, most: int) -> None:
        self.clock = 0  # steps so far
        self._back = threading.Semaphore(0)
        self._movers = [_Mover(self._back) for _ in range(most)]
        self._moving: _Mover | None = None

    def step(self, needs: StepLock | None = None) -> None:
        """Called by an operation before it touches what is shared; outside of a run it does nothing."""
        self.clock += 1
        if self._moving is not None:
            self._moving.pause(needs)

    def run(self, operations: Sequence[Operation], choices: list[int], most_preemptions: int) -> list[int]:
        """Run them to the end, at first as `choices` says, then the first that can. Returns the number of choices
        that there were at each step, and fills `choices` up with those that were made."""
        movers = self._movers[: len(operations)]
        for mover, operation in zip(movers, operations, strict=True):
            mover.operation, mover.is_done, mover.error = operation, False, None
        counts: list[int] = []
        last: _Mover | None = None
        while able := [mover for mover in movers if mover.can_move]:
            if last in able and most_preemptions <= 0:
                able = [last]
            elif last in able:
                able.sort(key=lambda mover: mover is not last)
            if len(counts) == len(choices):
                choices.append(0)
            chosen = able[choices[len(counts)]]
            counts.append(len(able))
            most_preemptions -= last in able and chosen is not last
            last = self._moving = chosen
            chosen.move()
            self._moving = None
        for mover in movers:
            assert mover.is_done, "the operations wait for each other"
            if mover.error:
                raise mover.error
        return counts

    def end(self) -> None:
        for mover in self._movers:
            mover.end()


@contextmanager
def stepwise(most: int = 3) -> Iterator[Turns]:
    turns = Turns(most)
    try:
        yield turns
    finally:
        turns.end()


def every_order(turns: Turns, scene: Callable[[], tuple[Sequence[Operation], Operation]], preemptions: int) -> int:
    """Set `scene` up anew for each order, run its operations, then its check. Returns how many orders there were."""
    choices: list[int] = []
    orders = 0
    while True:
        operations, check = scene()
        counts = turns.run(operations, choices, preemptions)
        orders += 1
        try:
            check()
        except AssertionError as error:
            raise AssertionError(f"in the order {choices}: {error}") from error
        while choices and choices[-1] + 1 >= counts[len(choices) - 1]:
            choices.pop()
        if not choices:
            return orders
        choices[-1] += 1
