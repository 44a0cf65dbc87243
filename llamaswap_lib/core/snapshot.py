"""What runs and which requests wait for what, as immutable data: `/running`, `/api/queue`, log lines and tests read it.

Pure. `Queue` is cheap to take, after every decision; `view_queue` makes of it what people read, on any thread, later.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llamaswap_lib.core.run import Run, RunState, Silence
from llamaswap_lib.core.waiting import Ticket


class Reason(NamedTuple):
    """Why a model's tickets wait: `kind`, the other models that it concerns, and how many requests were inside them.

    `silent` are those of the other models that give no sign of life. `room` is the memory that they hold and that the
    model waits for. `told` is what the run itself says.
    """

    kind: str
    others: tuple[str, ...] = ()
    inside: int = 0
    silent: tuple[tuple[str, Silence], ...] = ()
    room: str = ""
    told: str = ""

    def text(self, now: float) -> str:
        """For people. How long a silence lasts is told in steps, for each change of the text is sent to listeners."""
        told = (f"{model} {silence.describe(_step_down(now, silence.since))}" for model, silence in self.silent)
        return ", ".join([self._outline(), *told])

    def _outline(self) -> str:
        names = ", ".join(self.others) or "other programs"
        verb = "is" if len(self.others) == 1 else "are"
        if self.kind == "freeing":
            return f"waiting for {self.room} to become free, after the end of {names}"
        if self.room:
            return f"waiting for {self.room}, held by {names}{self._why_held()}"
        match self.kind:
            case "queued":
                makes_room = f"; {names} {verb} stopped, which makes room" if self.others else ""
                return (f"queued: {self.told}" if self.told else "queued") + makes_room
            case "busy":
                plural = "" if self.inside == 1 else "s"
                return f"waiting for {names}: {self.inside} request{plural} in progress"
            case "loading for others":
                return f"{names} {verb} loading for others"
            case "stopping":
                return f"waiting for {names} to stop"
            case "falling asleep":
                return f"waiting for {names} to fall asleep"
            case "after":
                return f"after {names}"
            case "resident":
                return f"waiting for {names}, loaded a moment ago"
            case "unreachable":
                return "its server cannot be reached: waiting for it to answer, or to be lost"
            case _:
                return self.kind

    def _why_held(self) -> str:
        match self.kind:
            case "busy":
                return f": {self.inside} request{'' if self.inside == 1 else 's'} in progress"
            case "loading for others":
                return ": loading for others"
            case "resident":
                return ", loaded a moment ago"
            case "no room":
                return ""
            case "falling asleep":
                return ": falling asleep"
            case _:
                return ": stopping"


@dataclass(frozen=True, slots=True)
class RunView:
    """One run. `state` is the word of `/running`; `detail` the scheduler's own. Times are monotonic seconds.

    `gpus` are the names of those that were chosen for it. `phase` says more where the state does not say it all, and
    `reason` why it lasts. `address` is where it listens, if it says so itself. `load_began`: its start, or when it was
    woken last; `loading_since`: the same, or when it said where it listens; inf while it is queued.
    """

    run_id: int
    model: str
    incarnation: int
    state: str
    detail: RunState
    started_at: float
    ready_at: float | None
    gpus: tuple[str, ...] = ()
    phase: str = ""
    reason: str = ""
    address: str = ""
    loading_since: float = 0.0
    woken_at: float | None = None
    asleep_since: float | None = None  # while it sleeps, and to its end if that is stopped

    @property
    def load_began(self) -> float:
        return self.started_at if self.woken_at is None else self.woken_at

    @property
    def is_asleep(self) -> bool:
        """Or has slept until it was stopped."""
        return self.asleep_since is not None

    @property
    def is_settled(self) -> bool:
        """Whether it holds about as much memory as it will for a while: it has loaded, and is not falling asleep."""
        return self.ready_at is not None and not self.is_falling_asleep

    @property
    def is_falling_asleep(self) -> bool:
        """Whether it was told to sleep, and may not do so yet."""
        return self.detail is RunState.FALLING_ASLEEP


class TicketView(NamedTuple):
    """One waiting request; `place` counts from 1 over all models, in the order in which they will be served.

    `estimate`: how many seconds are left of its load and of those in front of it; None if one of these models was never
    loaded before. It does not count requests in progress, whose duration is not known.
    """

    ticket: int
    model: str
    place: int
    since: float
    reason: str
    estimate: float | None = None


class Snapshot(NamedTuple):
    """What runs and which requests wait, at one moment."""

    runs: tuple[RunView, ...]
    queue: tuple[TicketView, ...]


class Queue(NamedTuple):
    """What waits, as of the last decision: the models in order, the tickets of each, and what is known of loads."""

    models: Sequence[str] = ()
    tickets: Sequence[tuple[Ticket, ...]] = ()
    reasons: Mapping[str, Reason] = {}
    load_times: Mapping[str, float] = {}
    urgent: Collection[str] = ()  # those of `models` that go first whatever their priority
    places: Sequence[str] = ()  # those of `models` with which nothing behind them may clash
    outgoing: Collection[str] = ()  # models that will be unloaded for those
    freeing: Collection[str] = ()  # models, preloaded ones too, that wait for memory to become free
    wake_times: Mapping[str, float] = {}


def _step_down(now: float, since: float) -> float:
    """`now` rounded down to a step of the time since `since`: of ten seconds, after a minute of sixty."""
    seconds = now - since
    return now - seconds % (10.0 if seconds < 60.0 else 60.0)


def view_runs(runs: Iterable[Run]) -> tuple[RunView, ...]:
    """All runs, sorted by model."""
    views = [
        RunView(
            *(run.run_id, run.model, run.incarnation, run.public_state, run.state, run.started_at, run.ready_at),
            *(run.gpus, run.phase, run.reason, run.address, math.inf if run.is_queued else run.loading_since),
            *(run.woken_at, run.asleep_since),
        )
        for run in runs
    ]
    return tuple(sorted(views, key=lambda view: view.model))


def view_queue(queue: Queue, runs: Iterable[RunView], now: float) -> tuple[TicketView, ...]:
    """All tickets. Those that joined a load come first, because they will be served first."""
    by_model = {run.model: run for run in runs}
    estimates = estimate_loads(queue, by_model, now)
    waiting = sorted(
        zip(queue.models, queue.tickets, strict=True),
        key=lambda item: item[0] not in by_model or not by_model[item[0]].detail.is_loading,
    )
    tickets = [ticket for _, tickets in waiting for ticket in tickets]
    return tuple(
        TicketView(
            ticket.ticket,
            ticket.model,
            place,
            ticket.since,
            reason.text(now) if (reason := queue.reasons.get(ticket.model)) else "waiting",
            estimates[ticket.model],
        )
        for place, ticket in enumerate(tickets, 1)
    )


def estimate_loads(queue: Queue, runs: Mapping[str, RunView], now: float) -> dict[str, float | None]:
    """Seconds of loading until each model can serve: its own load, after those that it waits for."""
    found: dict[str, float | None] = {}
    for model in queue.models:
        reason = queue.reasons.get(model)
        in_front = reason.others if reason and reason.kind in ("loading for others", "after") else ()
        loads = [found[other] if other in found else _load_left(other, queue, runs, now) for other in in_front]
        run = runs.get(model)
        own = 0.0 if run and run.detail.is_up and not (in_front or run.phase) else _load_left(model, queue, runs, now)
        known = [load for load in loads if load is not None]
        found[model] = None if own is None or len(known) < len(loads) else own + max(known, default=0.0)
    return found


def _load_left(model: str, queue: Queue, runs: Mapping[str, RunView], now: float) -> float | None:
    """Seconds left of a load that has begun or will begin; None if the model was never loaded, or woken, before."""
    run = runs.get(model)
    is_woken = run is not None and (run.detail.can_wake or run.detail is RunState.WAKING)
    seconds = (queue.wake_times if is_woken else queue.load_times).get(model)
    if seconds is None or run is None or not run.detail.is_loading:
        return seconds
    return None if run.phase == "queued" else max(0.0, run.loading_since + seconds - now)


def awaited_runs(runs: Iterable[RunView], queue: Queue) -> frozenset[int]:
    """Ids of the runs whose requests are waited for to end: for another model, or for an unload."""
    reasons = [queue.reasons[model] for model in queue.models if model in queue.reasons]
    busy = {other for reason in reasons if reason.kind == "busy" for other in reason.others}
    finishing = (RunState.DRAINING, RunState.UNLOADING)
    return frozenset([run.run_id for run in runs if run.model in busy or run.detail in finishing])
