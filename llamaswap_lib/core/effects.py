"""What to do: the effects that the scheduler orders, frozen dataclasses.

Pure data, carried out in order by the controller thread. A list of effects has at most one question, always as its last
element. The controller answers it before it handles anything else: one about gates (`ShutIfIdle`, `ShutGates`,
`LookInside`) with `GatesAnswered`, `CheckLaunch` with `LaunchChecked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from llamaswap_lib.core.eviction import NOWHERE, Explanation, Placement

# Why a run is stopped, as `/metrics` counts it: `withdrawn` is a queued one that nobody waits for any more, `queue` is
# for one that is queued elsewhere, `yield` for other programs, `growth` for a model that has grown, and `reload` that
# its configuration has changed.
StopKind = Literal[
    "swap",
    "unload",
    "ttl",
    "hang",
    "lost",
    "load timeout",
    "queue timeout",
    "withdrawn",
    "reload",
    "queue",
    "yield",
    "growth",
]


class Fault(Enum):
    """Whose fault a refusal is; the runtime turns it into the error of that kind."""

    UNKNOWN_MODEL = "unknown model"
    LOAD_FAILED = "load failed"
    OUT_OF_MEMORY = "out of memory"  # so did this one, for want of memory
    NEVER_FITS = "never fits"  # the devices are too small for it
    SHORTAGE = "shortage"  # this machine lacked resources to start or watch it; that may be over in a moment
    QUEUE_TIMEOUT = "queue timeout"  # it was queued elsewhere for too long; it is tried with the next request
    BACKING_OFF = "backing off"  # it has failed again and again, and is not tried now
    NOT_DEAD = "not dead"  # the run that closed the connection is alive, or we stopped it: no other one is tried
    SHUTTING_DOWN = "shutting down"
    ABANDONED = "abandoned"
    HUNG = "hung"  # the run that was lost hung, and was stopped for a request that waited


@dataclass(frozen=True, slots=True)
class OfOneRun:
    """What names a run and nothing else, an event too. One dataclass for them all: to make one takes long."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Put the ticket's token into the gate of the run, then wake the thread that waits."""

    ticket: int
    run_id: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the ticket that it will not be admitted, and why.

    `retry_after`: the seconds after which asking again may help; 0 where that is not known.
    """

    ticket: int
    fault: Fault
    message: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Every run that the unload (or shutdown) named has exited."""

    ticket: int


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Begin a run of the model, on the GPUs that were chosen for it, if they were."""

    run_id: int
    model: str
    placement: Placement = NOWHERE


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """It has said that it listens at `address`: look there whether it is ready, and nowhere else any more.

    What enters from now on is sent there.
    """

    run_id: int
    address: str


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Ask it to stop; its gate is shut. `reason` is for people (`to make room for B`)."""

    run_id: int
    kind: StopKind
    reason: str


@dataclass(frozen=True, slots=True)
class PutToSleep:
    """Have its server sleep, in place of a stop; its gate is shut. Answered with `FellAsleep` or `SleepFailed`."""

    run_id: int
    reason: str


class WakeUp(OfOneRun):
    """Have its server, which sleeps, serve again. Answered as a start is, or with `WakeFailed`."""

    __slots__ = ()


class KillProcess(OfOneRun):
    """It did not stop in time."""

    __slots__ = ()


class OpenGate(OfOneRun):
    """Let requests in by the fast path."""

    __slots__ = ()


class ShutGate(OfOneRun):
    """Let nothing in by the fast path; the run still serves the requests that the scheduler admits."""

    __slots__ = ()


class DropRun(OfOneRun):
    """The run is gone; forget its gate."""

    __slots__ = ()


class BeginChecks(OfOneRun):
    """A request waits for this busy run to stop: check whether it is alive; post `RunSilent` and `RunAnswered`."""

    __slots__ = ()


class EndChecks(OfOneRun):
    """No request waits for it any more: stop checking it."""

    __slots__ = ()


class WatchForLoss(OfOneRun):
    """It serves on another machine: notice if its server cannot be reached; post `RunUnreachable` and what follows."""

    __slots__ = ()


class LookForLoss(OfOneRun):
    """It is silent, or a request lost it: see whether its server can be reached; post `RunReached` or `RunLost`."""

    __slots__ = ()


class AbortRequests(OfOneRun):
    """It hangs, is lost, or has exited here and not elsewhere: abort the connections of the requests inside."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class WriteLog:
    """A line for the log; `level` is `info`, `warn` or `error`.

    `last_words_of` is a model whose load has failed while no request waited for it: the log has its last output then.
    """

    level: str
    message: str
    last_words_of: str = ""


@dataclass(frozen=True, slots=True)
class ReportSwap:
    """A swap begins: these are unloaded for `model`. The log says so, once for each swap.

    `sleepers` are those of them that are put to sleep.
    """

    model: str
    evicted: tuple[str, ...]
    why: Explanation
    sleepers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShutIfIdle:
    """Question: shut all of these gates at one instant, or none; if none, watch those that are busy.

    With `idle_for` they must also have been idle for that many seconds.
    """

    run_ids: tuple[int, ...]
    idle_for: float = 0.0


@dataclass(frozen=True, slots=True)
class ShutGates:
    """Question: shut these gates; which requests are still inside?"""

    run_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LookInside:
    """Question: how many are inside, and since when is it empty? Changes nothing, but may watch the busy ones."""

    run_ids: tuple[int, ...]
    watch: bool


@dataclass(frozen=True, slots=True)
class CheckLaunch:
    """Question: is there anything that would keep the model from starting? It changes nothing."""

    model: str


CheckOrder = BeginChecks | EndChecks | WatchForLoss | LookForLoss | AbortRequests
GateQuestion = ShutIfIdle | ShutGates | LookInside
Question = GateQuestion | CheckLaunch

Effect = (
    Admit
    | Refuse
    | Unloaded
    | StartProcess
    | ProbeRun
    | StopProcess
    | PutToSleep
    | WakeUp
    | KillProcess
    | OpenGate
    | ShutGate
    | DropRun
    | CheckOrder
    | WriteLog
    | ReportSwap
    | Question
)
