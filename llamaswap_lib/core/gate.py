"""Which requests are inside a run: a set of tokens, and a flag that says whether requests may add themselves.

Any thread may `enter` and `leave`; only the controller thread shuts, opens and watches. There is no lock, on purpose:
all threads would queue up behind it, because a thread that is woken owns the lock while it still waits for the
interpreter. Instead `enter` adds its token and then reads `shut`, and the controller writes `shut` and then reads the
set: one of them sees the other. This relies on the interpreter lock. A free-threaded build uses `LockedGate`, also
while its interpreter lock is on.

Notices (`GateIdle`, `GateDrained`) are hints and may be out of date: the receiver asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from llamaswap_lib.core.effects import GateQuestion, ShutGates, ShutIfIdle
from llamaswap_lib.core.events import GateDrained, GateIdle, GatesAnswered

Notice = GateIdle | GateDrained
Answer = dict[int, tuple[int, float]]


class Gate:
    """The gate of one run; it begins shut and empty."""

    __slots__ = ("_clock", "_inside", "_post", "idle_since", "run_id", "shut", "tell", "watched")

    def __init__(self, run_id: int, post: Callable[[Notice], None], clock: Callable[[], float]) -> None:
        self.run_id: Final = run_id
        self.shut = True
        self.watched = False
        self.idle_since = clock()
        self._inside: set[object] = set()
        self._post = post
        self._clock = clock
        self.tell: Callable[[object], None] | None = None

    # -- any thread --

    def __len__(self) -> int:
        """How many are inside."""
        return len(self._inside)

    def enter(self, token: object) -> bool:
        """Go in if the gate is open. After True the token must `leave`, once."""
        self._inside.add(token)
        if not self.shut:
            return True
        self._inside.discard(token)
        self._notice(token)
        return False

    def leave(self, token: object) -> None:
        """Give the place back. The time is written first: a thread that sees the set empty also sees since when."""
        self.idle_since = self._clock()
        self._inside.discard(token)
        if self.shut or self.watched:
            self._notice(token)

    def _notice(self, token: object) -> None:
        if self.tell is not None:
            self.tell(token)
        if self._inside:
            return
        if self.shut:
            self._post(GateDrained(self.run_id))
        elif self.watched:
            self.watched = False
            self._post(GateIdle(self.run_id))

    # -- controller thread only --

    def admit(self, token: object) -> None:
        """Put a token inside whether the gate is open or shut; it must `leave` like any other."""
        self._inside.add(token)

    def watch(self) -> None:
        """Post one `GateIdle` when it empties; at once if it is empty already."""
        self.watched = True
        if not self._inside and self.watched:
            self.watched = False
            self._post(GateIdle(self.run_id))

    def hand_over(self, tell: Callable[[object], None]) -> set[object]:
        """Shut it for good; who is inside. `tell` is called with each that leaves from now on, and perhaps others."""
        self.tell = tell
        self.shut = True
        return self._inside.copy()

    def answer(self) -> tuple[int, float]:
        """(how many are inside, since when it is idle), read in an order that never makes a busy gate look idle."""
        inside = len(self._inside)
        return inside, self.idle_since


class LockedGate(Gate):
    """The gate for builds without an interpreter lock: the same moves, one at a time."""

    __slots__ = ("_lock",)

    def __init__(
        self,
        run_id: int,
        post: Callable[[Notice], None],
        clock: Callable[[], float],
        lock: AbstractContextManager[object],
    ) -> None:
        super().__init__(run_id, post, clock)
        self._lock = lock

    def enter(self, token: object) -> bool:
        with self._lock:
            return super().enter(token)

    def leave(self, token: object) -> None:
        with self._lock:
            super().leave(token)

    def admit(self, token: object) -> None:
        with self._lock:
            super().admit(token)

    def watch(self) -> None:
        with self._lock:
            super().watch()

    def hand_over(self, tell: Callable[[object], None]) -> set[object]:
        with self._lock:
            return super().hand_over(tell)

    def answer(self) -> tuple[int, float]:
        with self._lock:
            return super().answer()


def shut_if_idle(gates: Sequence[Gate], idle_for: float, now: float) -> tuple[bool, Answer]:
    """Shut all of them at one instant if no request is inside and each has been idle for `idle_for` seconds.

    Otherwise leave each as it was and watch the busy ones. The idle test adds rather than subtracts, so that it is
    the same float expression as the deadline `idle_since + ttl` and cannot miss it by a rounding. Without `idle_for`
    there is no such test: a request that left after `now` was read would make the answer no, and no gate would be
    watched.
    """
    before = [gate.shut for gate in gates]
    for gate in gates:
        gate.shut = True
    answer = {gate.run_id: gate.answer() for gate in gates}
    if all(not inside and (not idle_for or idle_since + idle_for <= now) for inside, idle_since in answer.values()):
        return True, answer
    for gate, was_shut in zip(gates, before, strict=True):
        gate.shut = was_shut
    for gate in gates:
        if answer[gate.run_id][0]:
            gate.watch()
    return False, answer


def look_inside(gates: Sequence[Gate], watch: bool) -> Answer:
    """How many are inside each, and since when it is empty; with `watch` the busy ones will tell when they empty."""
    answer = {gate.run_id: gate.answer() for gate in gates}
    for gate in gates:
        if watch and answer[gate.run_id][0]:
            gate.watch()
    return answer


def shut_all(gates: Sequence[Gate]) -> Answer:
    """Shut all of them, even if requests are inside; how many are inside each, and since when it is empty."""
    for gate in gates:
        gate.shut = True
    return {gate.run_id: gate.answer() for gate in gates}


def ask_gates(question: GateQuestion, gates: Sequence[Gate], now: float) -> GatesAnswered:
    """The answer to a question about `gates`, which are those of its run ids, in its order."""
    if isinstance(question, ShutIfIdle):
        return GatesAnswered(question, *shut_if_idle(gates, question.idle_for, now))
    if isinstance(question, ShutGates):
        return GatesAnswered(question, True, shut_all(gates))
    return GatesAnswered(question, False, look_inside(gates, question.watch))
