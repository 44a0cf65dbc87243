"""A place inside a run: how a request gets one, waits for it, and gives it back.

`Lease` is a `with` block and the only way in: what was taken is always given back when the block ends. `Waiter` is one
thread's wait for the controller. `Places` counts requests of models with a `concurrencyLimit`, waiting ones included.
The loop takes what is there at once (`enter_now`), and gives places back; a handler thread enters and waits. `Waiter`'s
answers are given by the controller thread.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from llamaswap_lib.core.effects import Fault
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import (
    ClientGone,
    ConcurrencyLimit,
    HttpError,
    ModelHung,
    NotFound,
    OutOfResources,
    RunNotDead,
    ServiceUnavailable,
)
from llamaswap_lib.runtime.logs.last_words import RunOutput, load_failed
from llamaswap_lib.runtime.wakeup import Wakeup

_ERRORS: dict[Fault, type[HttpError]] = {
    Fault.UNKNOWN_MODEL: NotFound,
    Fault.SHORTAGE: OutOfResources,
    Fault.SHUTTING_DOWN: ServiceUnavailable,
    Fault.HUNG: ModelHung,
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a run listens; `proxy` is a URL whose path and query are joined in front of those of a request."""

    run_id: int
    model: str
    proxy: str
    port: int | None = None
    """The automatic port that this run was given; None for a model that has a fixed one."""


class Waiter:
    """One thread's wait for one answer of the controller; close it once answered, or leave it with `with`."""

    __slots__ = ("_gate", "_output", "_refusal", "_upstream", "_wakeup", "model", "ticket", "token")

    def __init__(self, ticket: int, token: object, model: str = "") -> None:
        self.ticket = ticket
        self.token = token
        self.model = model
        self._wakeup = Wakeup()
        self._gate: Gate | None = None
        self._upstream: Upstream | None = None
        self._refusal: tuple[Fault, str, float] | None = None
        self._output: RunOutput | None = None

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._wakeup.close()

    # -- the waiting thread only --

    def fileno(self) -> int:
        """Readable once it is answered."""
        return self._wakeup.fileno()

    def wait(self, client: Client, abandon: Callable[[Waiter], None]) -> None:
        """Block until answered. If `client` leaves, `abandon` is called, the answer awaited, and ClientGone raised."""
        try:
            if client is not None:
                client(self)
        except BaseException:
            abandon(self)
            self.wait_for(None)
            raise
        self.wait_for(None)

    def wait_for(self, timeout: float | None) -> bool:
        """Block until answered, or for `timeout` seconds; whether it was. Close it only when it was.

        It is the wakeup that counts, not a flag beside it: a waiter that saw the flag first would close the descriptor
        that the controller is about to write to.
        """
        poll = select.poll()
        poll.register(self._wakeup.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def admission(self) -> tuple[Gate, Upstream] | None:
        """Where the token is inside now, if it was admitted."""
        return None if self._gate is None or self._upstream is None else (self._gate, self._upstream)

    def error(self) -> Exception:
        """The error of a refusal; a failed load tells what its run said last."""
        if self._refusal is None:
            return HttpError("internal error: the log says why")
        fault, message, retry_after = self._refusal
        if fault is Fault.ABANDONED:
            return ClientGone()
        if fault is Fault.NOT_DEAD:
            return RunNotDead(message)
        if fault in (Fault.LOAD_FAILED, Fault.BACKING_OFF):
            return load_failed(message, self._output, retry_after or None)
        return _ERRORS[fault](message, retry_in=retry_after or None)

    # -- controller thread only --

    def admit(self, gate: Gate, upstream: Upstream) -> None:
        self._gate, self._upstream = gate, upstream
        self.release()

    def refuse(self, fault: Fault, message: str, retry_after: float = 0.0, output: RunOutput | None = None) -> None:
        """`output` is that of the run which failed, None where none was begun."""
        self._refusal, self._output = (fault, message, retry_after), output
        self.release()

    def fail(self) -> None:
        """There is no answer: to decide failed, by a fault of our own."""
        self.release()

    def release(self) -> None:
        self._wakeup.set()


class PlainWaiter(Waiter):
    """One that watches no client, and so needs no descriptor: when the server ends there may be none left."""

    __slots__ = ("_is_answered",)

    def __init__(self, ticket: int) -> None:  # not as in `Waiter`, which opens one
        self.ticket = ticket
        self.token = None
        self.model = ""
        self._is_answered = threading.Event()

    def close(self) -> None:
        """There is nothing to close."""

    def wait_for(self, timeout: float | None) -> bool:
        return self._is_answered.wait(timeout)

    def release(self) -> None:
        self._is_answered.set()


# For whom we wait: called to wait in our stead (it raises ClientGone, or returns when the waiter is readable). None
# cannot leave.
Client = Callable[[Waiter], None] | None


@dataclass(slots=True)
class _Count:
    """The places of one model."""

    limit: int
    taken: int = 0


class Places:
    """Requests in each model that has a limit, from the moment they ask until they are through."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """`limits`: model -> places, 0 or less for no limit."""
        self._lock = threading.Lock()  # protects the counts
        self.counts: Mapping[str, _Count] = {}  # never changed, but replaced
        self.change(limits)

    def change(self, limits: Mapping[str, int]) -> None:
        """Other limits from now on. Who has a place keeps it; a model that had no limit counts those who come now."""
        with self._lock:
            counts = {}
            for model, limit in limits.items():
                if limit > 0:
                    counts[model] = count = self.counts.get(model) or _Count(limit)
                    count.limit = limit
            self.counts = counts

    def take(self, model: str) -> _Count | None:
        """What to give back, None where there is no limit; raises ConcurrencyLimit when every place is taken."""
        count = self.counts.get(model)
        if count is None:
            return None
        with self._lock:
            if count.taken >= count.limit:
                raise ConcurrencyLimit
            count.taken += 1
        return count

    def give_back(self, count: _Count | None) -> None:
        if count is not None:
            with self._lock:
                count.taken -= 1


class _Door(Protocol):
    """What a lease needs of the controller."""

    def enter(self, model: str, token: object) -> tuple[Gate, Upstream] | None: ...
    def queue_up(self, model: str, token: object, lost_run: int | None) -> Waiter: ...
    def abandon(self, waiter: Waiter) -> None: ...


class Lease:
    """`with controller.lease(model, client) as upstream:` - inside the block the run is not stopped by a swap.

    Entering blocks until the model is ready. It raises ConcurrencyLimit, NotFound, LoadFailed (the load failed, or
    failed before and is not tried yet), ServiceUnavailable (the server is ending) or ClientGone.
    """

    __slots__ = ("_client", "_count", "_door", "_gate", "_model", "_places")

    def __init__(self, door: _Door, places: Places, model: str, client: Client) -> None:
        self._door = door
        self._places = places
        self._model = model
        self._client = client
        self._count: _Count | None = None
        self._gate: Gate | None = None

    def enter_now(self) -> Upstream | None:
        """A place if there is one without waiting, to `leave`, in place of a `with` block; never blocks."""
        if self._places.counts:
            self._count = self._places.take(self._model)
        found = self._door.enter(self._model, self)
        if found is None:
            self._places.give_back(self._count)
            return None
        self._gate, upstream = found
        return upstream

    def leave(self) -> None:
        """Give the place back."""
        if self._gate is not None:  # None: the run was lost, and there was no other
            self._gate.leave(self)
        if self._count is not None:
            self._places.give_back(self._count)

    def __enter__(self) -> Upstream:
        self._count = self._places.take(self._model)
        try:
            self._gate, upstream = self._door.enter(self._model, self) or self._wait(None)
        except BaseException:
            self._places.give_back(self._count)
            raise
        return upstream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def move_on(self) -> Upstream:
        """The run hung up before a byte of the answer: if it has died, a place in the next one, for the old.

        Blocks until that is known and the next is ready. Raises RunNotDead, ModelHung, or what entering raises.
        """
        assert self._gate is not None, "moved on before it was entered"
        lost, self._gate = self._gate, None
        lost.leave(self)
        self._gate, upstream = self._wait(lost.run_id)
        return upstream

    def _wait(self, lost_run: int | None) -> tuple[Gate, Upstream]:
        with self._door.queue_up(self._model, self, lost_run) as waiter:
            try:
                waiter.wait(self._client, self._door.abandon)
            except BaseException:
                if inside := waiter.admission():  # admitted while the news of the hang-up was on its way
                    inside[0].leave(self)
                raise
            inside = waiter.admission()
            if inside is None:
                raise waiter.error()
            return inside
