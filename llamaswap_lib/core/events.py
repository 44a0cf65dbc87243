"""What happened: the facts that the scheduler is told, frozen dataclasses.

Pure data. Each event that can arrive late names its cause (`run_id`, `ticket`), so that a late event about a run that
has ended can be dropped. `Event` is the union of them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llamaswap_lib.core.effects import GateQuestion, OfOneRun
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.handover import State
from llamaswap_lib.core.model_spec import ModelSpec


@dataclass(frozen=True, slots=True)
class OfOneRunInDetail:
    """What names a run, and says how it came to that."""

    run_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request waits for `model` under the number `ticket`; it is answered with `Admit` or `Refuse`, once.

    `lost_run` closed its connection before a byte of the answer: if that run has died, the next run is tried.
    `was_sent`: it may have got the request; else it can be tried there once more.
    """

    ticket: int
    model: str
    lost_run: int | None = None
    was_sent: bool = True


@dataclass(frozen=True, slots=True)
class RequestAbandoned:
    """The client of `ticket` (a request or an unload) has left. If it waits, it is refused; else this is dropped."""

    ticket: int


@dataclass(frozen=True, slots=True)
class PreloadRequested:
    """Load these in this order, as far as no request is delayed by it."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadDemanded:
    """Try `model` at once, however often its load has failed."""

    model: str


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """Stop `models` (None: all); answered with `Unloaded` when every run that it named has exited."""

    ticket: int
    models: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The server ends: refuse what waits, give requests in progress `grace` seconds, then stop every run."""

    ticket: int
    grace: float


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """From now on these `models` are configured, with these `rules` for who may run together.

    Runs of models that are not among them, and of those that are `replaced` (their process would be started differently
    now), admit no more requests and are stopped as soon as they are empty. Requests that wait for a model that was
    removed are refused, all others keep their place.

    `max_wait` in seconds, as for `Scheduler`. `blocked`: model whose run is stopped for this or an earlier change ->
    the models that cannot start before that run has gone, since they may not run beside it or need its port. What was
    blocked before stays so, and models that were not configured before are blocked by every run of an earlier change.
    `state`: what another scheduler has come to, and from which this one, which has done nothing yet, is to go on.
    """

    models: Mapping[str, ModelSpec]
    replaced: frozenset[str]
    rules: Rules
    max_wait: float
    blocked: Mapping[str, frozenset[str]]
    state: State | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class ProcessReady:
    """The health probe of the run got the answer 200, after its start, after it was woken, or since it has moved.

    `address` is where it was asked, if that was announced.
    """

    run_id: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class RunAnnounced:
    """The run has said that it listens at `address`, a URL: for the first time, or since it has moved there.

    `is_here`: that is this machine.
    """

    run_id: int
    address: str
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class RunQueued:
    """The run, which has yet to say where it listens, says what it waits for; `reason` is for people."""

    run_id: int
    reason: str


class LeaderExited(OfOneRunInDetail):
    """The run's first process has exited by itself; `ProcessExited` follows when all that it started has been ended."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The run's whole process group is gone; `detail` says how (`exited with code 3`, `killed by SIGKILL`).

    `is_shortage`: our own machine had no thread, memory or file descriptor for it, which is not the model's fault.
    `out_of_memory`: the words of its log that say that a device had too little memory for it, '' if it has none.
    """

    run_id: int
    detail: str
    is_shortage: bool = False
    out_of_memory: str = ""


@dataclass(frozen=True, slots=True)
class LoadTimedOut:
    """The run did not become ready in time; `detail` says what the last health answer was, `address` as above."""

    run_id: int
    detail: str
    address: str = ""


class FellAsleep(OfOneRun):
    """The server of the run was told to sleep, and does."""

    __slots__ = ()


class SleepFailed(OfOneRunInDetail):
    """The server of the run was told to sleep, and does not; `detail` says why."""

    __slots__ = ()


class WakeFailed(OfOneRunInDetail):
    """The server of the run was told to wake, and does not; `detail` says why."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RunSilent:
    """A run that is checked gave no sign of life since `since`; posted again whenever `proof` changes.

    `what` says which sign is missing (`has not answered its check`). `proof` says why it must hang (`its processes are
    stopped`), `hungAfter` seconds later at the earliest; '' while it may only be busy.
    """

    run_id: int
    since: float
    what: str
    proof: str = ""


class RunAnswered(OfOneRun):
    """The run has given a sign of life after a `RunSilent`."""

    __slots__ = ()


class RunUnreachable(OfOneRun):
    """Requests inside got no byte for a while, and the server of the run cannot be reached.

    `RunReached` or `RunLost` follows, unless the run ends before.
    """

    __slots__ = ()


class RunReached(OfOneRun):
    """The server of the run has answered its check, or has at least taken a connection."""

    __slots__ = ()


class RunLost(OfOneRunInDetail):
    """The server of the run could not be reached for as long as is waited for; `detail` says where, and how long."""

    __slots__ = ()


class GateIdle(OfOneRun):
    """A watched gate has emptied. A hint that may be out of date: the scheduler asks again."""

    __slots__ = ()


class GateDrained(OfOneRun):
    """A shut gate has emptied. A hint, like `GateIdle`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GatesAnswered:
    """The answer to the question in the last list of effects; `gates` maps run ids to (inside, idle_since).

    `inside` is how many requests are in the run, `idle_since` the moment at which the last one left. `done` says
    whether the gates are shut now.
    """

    question: GateQuestion
    done: bool
    gates: Mapping[int, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class LaunchChecked:
    """The answer to `CheckLaunch`: why `model` cannot be started now, '' if no reason is known."""

    model: str
    problem: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The deadline that `next_deadline()` named has come."""


RunEvent = (
    ProcessReady
    | RunAnnounced
    | RunQueued
    | LeaderExited
    | ProcessExited
    | LoadTimedOut
    | FellAsleep
    | SleepFailed
    | WakeFailed
    | GateIdle
    | GateDrained
    | RunSilent
    | RunAnswered
    | RunUnreachable
    | RunReached
    | RunLost
)
Event = (
    RequestArrived
    | RequestAbandoned
    | PreloadRequested
    | LoadDemanded
    | UnloadRequested
    | ShutdownRequested
    | ModelsChanged
    | RunEvent
    | GatesAnswered
    | LaunchChecked
    | TimePassed
)
