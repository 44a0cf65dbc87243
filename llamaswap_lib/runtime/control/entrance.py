"""The ways into a run: through its gate at once, or by a ticket and a wait for the controller's answer.

Any thread goes in, or waits; `Waiter`'s answers are given by the controller thread.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Mapping

from llamaswap_lib.core.effects import Fault
from llamaswap_lib.core.events import Event, RequestAbandoned, RequestArrived
from llamaswap_lib.core.gate import Gate, LockedGate, Notice
from llamaswap_lib.errors import (
    ClientGone,
    HttpError,
    InsufficientMemory,
    ModelHung,
    NotFound,
    OutOfResources,
    QueueTimeout,
    RunNotDead,
    ServiceUnavailable,
)
from llamaswap_lib.runtime.control.live_run import LiveRun, Upstream
from llamaswap_lib.runtime.logs.last_words import RunOutput, Words, load_failed
from llamaswap_lib.runtime.wakeup import LONGEST_WAIT, Wakeup, poll_for_input

IS_FREE_THREADED = "free-threading" in sys.version  # as Python says of a build without an interpreter lock
_ERRORS: dict[Fault, type[HttpError]] = {
    Fault.UNKNOWN_MODEL: NotFound,
    Fault.NEVER_FITS: InsufficientMemory,
    Fault.SHORTAGE: OutOfResources,
    Fault.QUEUE_TIMEOUT: QueueTimeout,
    Fault.SHUTTING_DOWN: ServiceUnavailable,
    Fault.HUNG: ModelHung,
}

_MISTAKE = "internal error: the log says why"


class Waiter:
    """One thread's wait for one answer of the controller; close it once answered, or leave it with `with`."""

    __slots__ = ("_failure", "_gate", "_output", "_upstream", "_wakeup", "model", "refusal", "ticket", "token")

    def __init__(self, ticket: int, token: object, model: str = "", wakeup: Wakeup | None = None) -> None:
        """`wakeup` is set by the answer; None: one of its own."""
        self.ticket = ticket
        self.token = token
        self.model = model
        self._wakeup = wakeup or Wakeup()
        self._gate: Gate | None = None
        self._upstream: Upstream | None = None
        self.refusal: tuple[Fault, str, float] | None = None
        self._output: RunOutput | None = None
        self._failure: HttpError | None = None

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

    def wait(self, client: Client, cancel: Callable[[Waiter], None]) -> None:
        """Block until answered. If `client` leaves, `cancel` is called, the answer awaited, and ClientGone raised."""
        try:
            if client is not None:
                client(self)
        except BaseException:
            cancel(self)
            self.wait_for(None)
            raise
        self.wait_for(None)

    def wait_done(self, client: Client, cancel: Callable[[Waiter], None]) -> None:
        """The same of what is no admission; raises why it was not done."""
        self.wait(client, cancel)
        if self.refusal is not None or self._failure is not None:
            raise self.error()

    def wait_for(self, timeout: float | None) -> bool:
        """Block until answered, or for `timeout` seconds; whether it was. Close it only when it was.

        Only the wakeup counts, not another flag: a waiter that saw such a flag first would close the descriptor that
        the controller is about to write to.
        """
        poll = poll_for_input(self._wakeup.fileno())
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def admission(self) -> tuple[Gate, Upstream] | None:
        """Where the token is inside now, if it was admitted."""
        return None if self._gate is None or self._upstream is None else (self._gate, self._upstream)

    def error(self) -> Exception:
        """The error of a refusal; that of a failed load has the last output of its run."""
        if self.refusal is None:
            return self._failure or HttpError(_MISTAKE)
        fault, message, retry_after = self.refusal
        if fault is Fault.ABANDONED:
            return ClientGone()
        if fault is Fault.NOT_DEAD:
            return RunNotDead(message)
        if fault in (Fault.LOAD_FAILED, Fault.OUT_OF_MEMORY, Fault.BACKING_OFF):
            is_memory = fault is Fault.OUT_OF_MEMORY
            return load_failed(message, self._output, retry_after or None, is_memory=is_memory)
        return _ERRORS[fault](message, retry_in=retry_after or None)

    # -- controller thread only --

    def admit(self, gate: Gate, upstream: Upstream) -> None:
        self._gate, self._upstream = gate, upstream
        self.wake()

    def refuse(self, fault: Fault, message: str, retry_after: float = 0.0, output: RunOutput | None = None) -> None:
        """`output` is that of the run that failed, None if none was started."""
        self.refusal, self._output = (fault, message, retry_after), output
        self.wake()

    def last_words(self) -> Words:
        """Those of the run that failed."""
        return self._output.last_words() if self._output is not None else ()

    def fail(self, failure: HttpError | None = None) -> None:
        """There is no answer. None: the decision failed, by a mistake of ours."""
        self._failure = failure or HttpError(_MISTAKE)
        self.wake()

    def wake(self) -> None:
        self._wakeup.set()

    @property
    def is_ours(self) -> bool:
        """Whether this process itself waits, to end, and not a client."""
        return False


class PlainWaiter(Waiter):
    """A waiter without a client, which needs no descriptor: when the server ends there may be none left."""

    __slots__ = ("_is_answered",)

    def __init__(self, ticket: int) -> None:  # not as in `Waiter`, which opens one
        self.ticket = ticket
        self.token = None
        self.model = ""
        self._is_answered = threading.Event()

    @property
    def is_ours(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to close."""

    def wait_for(self, timeout: float | None) -> bool:
        return self._is_answered.wait(None if timeout is None else min(timeout, LONGEST_WAIT))

    def wake(self) -> None:
        self._is_answered.set()


# Called with the waiter, to block until that is readable; raises ClientGone if the client leaves before. None is a
# client that cannot leave.
Client = Callable[[Waiter], None] | None


class Entrance:
    """The two ways into the runs: at once where a gate is open, else with a ticket that the controller answers.

    `Lease` takes the first one itself, by `current`. This class has the second one.
    """

    def __init__(self, current: Mapping[str, LiveRun], post: Callable[[Event], None]) -> None:
        """`current` are the controller's runs by model; what `post` gets, the controller thread handles."""
        self.current = current
        self._post = post
        self._tickets = itertools.count(1)
        self._waiters: dict[int, Waiter] = {}
        self._failed: set[int] = set()  # tickets that have got an error: what is decided on them later is ignored

    # -- any thread --

    def queue_up(self, model: str, token: object, lost_run: int | None = None, *, was_sent: bool = True) -> Waiter:
        """The slow path: wait for admission; the waiter is answered once, whatever happens.

        `lost_run` hung up, or gave no connection, so that the request was not sent.
        """
        waiter = self.new(token, model)
        self._post(RequestArrived(waiter.ticket, model, lost_run, was_sent))
        return waiter

    def cancel(self, waiter: Waiter) -> None:
        """Its client has left. The waiter is still answered."""
        self._post(RequestAbandoned(waiter.ticket))

    def new(self, token: object, model: str = "", wakeup: Wakeup | None = None) -> Waiter:
        """A waiter with a new ticket, for `model`; it is answered once. `wakeup` as for a `Waiter`."""
        waiter = Waiter(next(self._tickets), token, model, wakeup)
        self._waiters[waiter.ticket] = waiter
        return waiter

    def new_without_descriptor(self) -> Waiter:
        """The same without a client."""
        waiter = PlainWaiter(next(self._tickets))
        self._waiters[waiter.ticket] = waiter
        return waiter

    # -- controller thread only --

    def of(self, ticket: int) -> Waiter:
        """The waiter with the ticket; it goes on waiting."""
        return self._waiters[ticket]

    def tickets(self) -> list[int]:
        """Of all that wait."""
        return list(self._waiters)

    def pop(self, ticket: int) -> Waiter:
        """The waiter with the ticket, which is about to be answered."""
        return self._waiters.pop(ticket)

    def fail(self, command: object) -> int:
        """Wake the waiter that `command` (an event or an effect) is for, without an answer; its ticket, or 0."""
        ticket = getattr(command, "ticket", 0)
        waiter = self._waiters.pop(ticket, None)
        if waiter is None:
            return 0
        self._failed.add(ticket)
        waiter.fail()
        return int(ticket)

    def has_failed(self, effect: object) -> bool:
        """Whether the effect answers a ticket that has got an error already."""
        return getattr(effect, "ticket", 0) in self._failed


def new_gate(
    run_id: int,
    post: Callable[[Notice], None],
    clock: Callable[[], float],
    *,
    is_free_threaded: bool = IS_FREE_THREADED,
) -> Gate:
    """The gate of one run: without a lock, or the locked one on a build of Python without an interpreter lock.

    The build decides, not the moment: on such a build the interpreter lock may be on at the start, and an extension
    module or `PYTHON_GIL` says for how long.
    """
    if is_free_threaded:
        return LockedGate(run_id, post, clock, threading.Lock())
    return Gate(run_id, post, clock)
