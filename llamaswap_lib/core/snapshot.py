"""What runs and who waits for what, as immutable data: what `/running`, `/api/queue`, log lines and tests read.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llamaswap_lib.core.run import Run, RunState
from llamaswap_lib.core.waiting import WaitingRoom


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a model's tickets wait: `kind`, the other models it is about, and the requests seen inside them."""

    kind: str
    others: tuple[str, ...] = ()
    inside: int = 0

    def __str__(self) -> str:
        names = ", ".join(self.others)
        match self.kind:
            case "busy":
                plural = "" if self.inside == 1 else "s"
                return f"waiting for {names} to finish {self.inside} request{plural}"
            case "loading for others":
                return f"{names} is loading for others"
            case "stopping":
                return f"waiting for {names} to stop"
            case "after":
                return f"after {names}"
            case _:
                return self.kind


@dataclass(frozen=True, slots=True)
class RunView:
    """One run. `state` is the word of `/running`; `detail` the scheduler's own. Times are monotonic seconds."""

    run_id: int
    model: str
    incarnation: int
    state: str
    detail: RunState
    started_at: float
    ready_at: float | None


@dataclass(frozen=True, slots=True)
class TicketView:
    """One waiting request; `place` counts from 1 over all models, in the order in which they are decided."""

    ticket: int
    model: str
    place: int
    since: float
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What runs and who waits, at one moment."""

    runs: tuple[RunView, ...]
    queue: tuple[TicketView, ...]


def view_runs(runs: Iterable[Run]) -> tuple[RunView, ...]:
    """All runs, sorted by model."""
    views = [
        RunView(run.run_id, run.model, run.incarnation, run.state.public_name, run.state, run.started_at, run.ready_at)
        for run in runs
    ]
    return tuple(sorted(views, key=lambda view: view.model))


def take_snapshot(
    runs: tuple[RunView, ...], waiting: WaitingRoom, now: float, reasons: Mapping[str, Reason]
) -> Snapshot:
    models = waiting.order(now)
    tickets = [(ticket, str(reasons.get(model, "waiting"))) for model in models for ticket in waiting.tickets(model)]
    queue = [
        TicketView(ticket.ticket, ticket.model, place, ticket.since, reason)
        for place, (ticket, reason) in enumerate(tickets, 1)
    ]
    return Snapshot(runs, tuple(queue))
