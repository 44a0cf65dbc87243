"""A place inside a run: how a request gets one, waits for it, and gives it back.

`Lease` is a `with` block and the only way in: what was taken is always given back when the block ends. `Places` counts
requests of models with a `concurrencyLimit`, waiting ones included. The loop takes what is there at once (`enter_now`),
and gives places back; a handler thread enters and waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import ConcurrencyLimit
from llamaswap_lib.runtime.control.entrance import Client, Entrance
from llamaswap_lib.runtime.control.live_run import Upstream


@dataclass(slots=True)
class Count:
    """The places of one model."""

    model: str
    limit: int
    taken: int = 0


class Places:
    """Counts the requests of each model that has a limit, from when they ask for a place until they release it."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """`limits`: model -> places, 0 or less for no limit."""
        self._lock = threading.Lock()  # protects the counts
        self.counts: Mapping[str, Count] = {}  # never changed, but replaced
        self._tell: Callable[[str], None] | None = None
        self.change(limits)

    def change(self, limits: Mapping[str, int]) -> None:
        """Use other limits from now on. Taken places stay taken; a model that had no limit starts at 0."""
        with self._lock:
            counts = {}
            for model, limit in limits.items():
                if limit > 0:
                    counts[model] = count = self.counts.get(model) or Count(model, limit)
                    count.limit = limit
            self.counts = counts

    def take(self, model: str) -> Count | None:
        """What to `release`, None if there is no limit; raises ConcurrencyLimit when every place is taken."""
        count = self.counts.get(model)
        if count is None:
            return None
        with self._lock:
            if self._tell is not None:
                return None
            if count.taken >= count.limit:
                raise ConcurrencyLimit
            count.taken += 1
        return count

    def release(self, count: Count | None) -> None:
        if count is not None:
            with self._lock:
                count.taken -= 1
                if self._tell is not None:
                    self._tell(count.model)

    def hand_over(self, tell: Callable[[str], None]) -> dict[str, int]:
        """Count nothing more, since another process does; `tell` it the model of each place that is given back.

        Returns how many are taken, by model.
        """
        with self._lock:
            self._tell = tell
            taken = {model: count.taken for model, count in self.counts.items() if count.taken}
            self.counts = {}
        return taken

    def take_over(self, taken: Mapping[str, int]) -> dict[str, list[Count]]:
        """Count those of another process too, however many there may be. What to `release`, by model."""
        with self._lock:
            found = {model: [count] * taken[model] for model, count in self.counts.items() if model in taken}
            for counts in found.values():
                counts[0].taken += len(counts)
        return found

    @property
    def is_handed_over(self) -> bool:
        return self._tell is not None


class Lease:
    """`with controller.lease(model, client) as upstream:` - inside the block the run is not stopped by a swap.

    Entering blocks until the model is ready. It raises ConcurrencyLimit, NotFound, LoadFailed (the load failed, or
    failed before and is not tried yet), ServiceUnavailable (the server is ending) or ClientGone.
    """

    __slots__ = ("_client", "_count", "_entrance", "_gate", "_model", "_places")

    def __init__(self, entrance: Entrance, places: Places, model: str, client: Client) -> None:
        self._entrance = entrance
        self._places = places
        self._model = model
        self._client = client
        self._count: Count | None = None
        self._gate: Gate | None = None

    @property
    def wants_place(self) -> bool:
        """Whether it needs one of another process, which counts them now."""
        return self._count is None and self._places.is_handed_over

    def enter_now(self) -> Upstream | None:
        """A place if there is one without waiting, to `release`, in place of a `with` block; never blocks."""
        if self._places.counts:
            self._count = self._places.take(self._model)
        found = self._enter()
        if found is None:
            self._places.release(self._count)
            return None
        self._gate, upstream = found
        return upstream

    def release(self) -> None:
        """Give the place back."""
        if self._gate is not None:  # None: the run was lost, and there was no other
            self._gate.leave(self)
        if self._count is not None:
            self._places.release(self._count)

    def __enter__(self) -> Upstream:
        self._count = self._places.take(self._model)
        try:
            self._gate, upstream = self._enter() or self._wait(None)
        except BaseException:
            self._places.release(self._count)
            raise
        return upstream

    def __exit__(self, *_: object) -> None:
        self.release()

    def move_on(self, *, was_sent: bool = True) -> Upstream:
        """The run closed the connection before a byte of the answer: if it has died, take a place in the next run.

        Or in the same one if it runs elsewhere, is reached again, and was not sent the request. Blocks until that is
        known and the run is ready. Raises RunNotDead, ModelHung, or what entering raises.
        """
        assert self._gate is not None, "moved on before it was entered"
        lost, self._gate = self._gate, None
        lost.leave(self)
        self._gate, upstream = self._wait(lost.run_id, was_sent=was_sent)
        return upstream

    def _enter(self) -> tuple[Gate, Upstream] | None:
        """The fast path: go in at once if the model's gate is open."""
        run = self._entrance.current.get(self._model)
        return (run.gate, run.upstream) if run is not None and run.gate.enter(self) else None

    def _wait(self, lost_run: int | None, *, was_sent: bool = True) -> tuple[Gate, Upstream]:
        with self._entrance.queue_up(self._model, self, lost_run, was_sent=was_sent) as waiter:
            try:
                waiter.wait(self._client, self._entrance.cancel)
            except BaseException:
                if inside := waiter.admission():  # admitted while the news of the hang-up was on its way
                    inside[0].leave(self)
                raise
            inside = waiter.admission()
            if inside is None:
                raise waiter.error()
            return inside
