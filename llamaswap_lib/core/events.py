"""What happened: the facts that the scheduler is told, one frozen dataclass each.

Pure data. Whatever can arrive late carries the identity of its cause (`run_id`, `ticket`), so that a late fact about
a dead run is dropped by look-up. `Event` is the union of them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamaswap_lib.core.effects import GateQuestion
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.in_force import ModelSpec


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request waits for `model` under the number `ticket`; it is answered with `Admit` or `Refuse`, once.

    `lost_run` hung up on it before a byte of its answer: if that run has died, the request is tried on the next one.
    """

    ticket: int
    model: str
    lost_run: int | None = None


@dataclass(frozen=True, slots=True)
class RequestAbandoned:
    """The client of `ticket` (a request or an unload) left; one that waits is refused, a late notice is dropped."""

    ticket: int


@dataclass(frozen=True, slots=True)
class PreloadRequested:
    """These are to be loaded in this order, as far as nobody is disturbed by it."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadDemanded:
    """Somebody wants `model` tried at once, however often its load has failed."""

    model: str


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """Somebody wants `models` (None: all) stopped; answered with `Unloaded` when every run it named has exited."""

    ticket: int
    models: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The server ends: who waits is refused, requests in progress get `grace` seconds, then every run is stopped."""

    ticket: int
    grace: float


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """From now on these `models` are configured, with these `rules` for who may run together.

    Runs of models that are not among them, and of those that are `replaced` (their process would be started otherwise
    now), let nobody else in and are stopped as soon as they are empty. Requests that wait for a model that has gone are
    refused, all others stay where they are.

    `max_wait` in seconds, as for `Scheduler`. `blocked`: model whose run is stopped for this or an earlier change ->
    the models that cannot start before that run has gone, since they may not run beside it or need its port. What was
    blocked before stays so, and models that were not configured before are blocked by every run of an earlier change.
    """

    models: Mapping[str, ModelSpec]
    replaced: frozenset[str]
    rules: Rules
    max_wait: float
    blocked: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class ProcessReady:
    """The health probe of the run got its answer."""

    run_id: int


@dataclass(frozen=True, slots=True)
class LeaderExited:
    """The run's first process has exited by itself; `ProcessExited` follows when all that it started has been ended."""

    run_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The run's whole process group is gone; `detail` says how (`exited with code 3`, `killed by SIGKILL`).

    `is_shortage`: our own machine had no thread, memory or file descriptor for it, which is not the model's fault.
    """

    run_id: int
    detail: str
    is_shortage: bool = False


@dataclass(frozen=True, slots=True)
class LoadTimedOut:
    """The run did not become ready in time; `detail` says what the last health answer was."""

    run_id: int
    detail: str


@dataclass(frozen=True, slots=True)
class RunSilent:
    """Since `since`, a run that is looked at gave no sign of life; posted again whenever `proof` changes.

    `what` says which sign is missing (`has not answered its check`). `proof` says why that can only mean that it hangs
    (`its processes are stopped`), after `hungAfter` of it at the earliest; '' while it may be no more than busy.
    """

    run_id: int
    since: float
    what: str
    proof: str = ""


@dataclass(frozen=True, slots=True)
class RunAnswered:
    """The run, of which `RunSilent` was told, has given a sign of life."""

    run_id: int


@dataclass(frozen=True, slots=True)
class GateIdle:
    """A watched gate emptied. A hint: it may be stale, the scheduler asks again."""

    run_id: int


@dataclass(frozen=True, slots=True)
class GateDrained:
    """A shut gate emptied. A hint, like `GateIdle`."""

    run_id: int


@dataclass(frozen=True, slots=True)
class GatesAnswered:
    """The answer to the one question of the list of effects before; `gates` maps run ids to (inside, idle_since).

    `inside` is how many requests are in the run, `idle_since` the moment at which the last one left. `done` says
    whether the gates are shut now.
    """

    question: GateQuestion
    done: bool
    gates: Mapping[int, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class LaunchChecked:
    """The answer to `CheckLaunch`: why `model` cannot be started as things are now, '' where nothing is known."""

    model: str
    problem: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The deadline that `next_deadline()` named has come."""


RunEvent = ProcessReady | LeaderExited | ProcessExited | LoadTimedOut | GateIdle | GateDrained | RunSilent | RunAnswered
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
