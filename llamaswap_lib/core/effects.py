"""What to do: the orders that the scheduler gives, one frozen dataclass each.

Pure data, carried out in order by the controller thread. A list of effects has at most one question, always as its last
element. The controller answers it before it handles anything else: one about gates (`ShutIfIdle`, `ShutGates`,
`LookInside`) with `GatesAnswered`, `CheckLaunch` with `LaunchChecked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from llamaswap_lib.core.eviction import Explanation


class Fault(Enum):
    """Whose fault a refusal is; the runtime turns it into the error of that kind."""

    UNKNOWN_MODEL = "unknown model"
    LOAD_FAILED = "load failed"
    SHORTAGE = "shortage"  # our own machine could not start it, or watch it; it may be otherwise in a moment
    BACKING_OFF = "backing off"  # it has failed again and again, and is not tried now
    NOT_DEAD = "not dead"  # the run that hung up lives, or was stopped by us: no other one is tried
    SHUTTING_DOWN = "shutting down"
    ABANDONED = "abandoned"
    HUNG = "hung"  # the run that was lost hung, and was stopped for somebody who waited


@dataclass(frozen=True, slots=True)
class Admit:
    """Put the ticket's token into the gate of the run, then wake whoever waits."""

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
    """Begin a run of the model."""

    run_id: int
    model: str


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Stop it politely; its gate is shut. `reason` is for people (`to make room for B`)."""

    run_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class KillProcess:
    """Its time to stop politely is over."""

    run_id: int


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Let requests in by the fast path."""

    run_id: int


@dataclass(frozen=True, slots=True)
class ShutGate:
    """Let nobody else in by the fast path; the run goes on serving whom the scheduler admits."""

    run_id: int


@dataclass(frozen=True, slots=True)
class DropRun:
    """The run is gone; forget its gate."""

    run_id: int


@dataclass(frozen=True, slots=True)
class BeginChecks:
    """Somebody waits for this busy run to go: look whether it lives, and say `RunSilent` and `RunAnswered`."""

    run_id: int


@dataclass(frozen=True, slots=True)
class EndChecks:
    """Nobody waits for it any more: look at it no longer."""

    run_id: int


@dataclass(frozen=True, slots=True)
class AbortRequests:
    """It hangs, and is about to be stopped: break off the connections of whoever is inside."""

    run_id: int


@dataclass(frozen=True, slots=True)
class WriteLog:
    """A line for the log; `level` is `info`, `warn` or `error`.

    `last_words_of` is a model whose load has failed, for nobody who would be told what its run said last.
    """

    level: str
    message: str
    last_words_of: str = ""


@dataclass(frozen=True, slots=True)
class ReportSwap:
    """A swap begins: these go for `model`. The log says it, once a swap."""

    model: str
    evicted: tuple[str, ...]
    why: Explanation


@dataclass(frozen=True, slots=True)
class ShutIfIdle:
    """Question: shut all of these gates at one instant, or none; if none, watch those that are busy.

    With `idle_for` they must also have been idle for that many seconds.
    """

    run_ids: tuple[int, ...]
    idle_for: float = 0.0


@dataclass(frozen=True, slots=True)
class ShutGates:
    """Question: shut these gates whoever is inside; who still is?"""

    run_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LookInside:
    """Question: who is inside, and since when is it empty? It changes nothing, but may watch those that are busy."""

    run_ids: tuple[int, ...]
    watch: bool


@dataclass(frozen=True, slots=True)
class CheckLaunch:
    """Question: is there anything that would keep the model from being started? It changes nothing."""

    model: str


GateQuestion = ShutIfIdle | ShutGates | LookInside
Question = GateQuestion | CheckLaunch

Effect = (
    Admit
    | Refuse
    | Unloaded
    | StartProcess
    | StopProcess
    | KillProcess
    | OpenGate
    | ShutGate
    | DropRun
    | BeginChecks
    | EndChecks
    | AbortRequests
    | WriteLog
    | ReportSwap
    | Question
)
