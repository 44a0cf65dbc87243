"""The queue: who waits, for what, since when, in which place; and for what nobody can wait, because it fails.

A handler thread. Rows are made of what the controller published: no wait, nothing woken.
"""

from __future__ import annotations

from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.endpoints.failures import failures_of
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_queue(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/queue."""
    exchange.answer_json({"queue": queue_rows(app), "failures": failure_rows(app)})


def failure_rows(app: App) -> list[dict[str, Any]]:
    """One row for each model that fails, sorted."""
    return [{"model": model, **failure} for model, failure in sorted(failures_of(app).items())]


def queue_rows(app: App) -> list[dict[str, Any]]:
    """One row for each waiting request, in the order in which they will be served."""
    now = app.clock()
    requests = {entry.ticket: str(entry.number) for entry in app.feed.table.current() if entry.ticket}
    return [
        {
            "ticket": ticket.ticket,
            "request": requests.get(ticket.ticket),
            "model": ticket.model,
            "place": ticket.place,
            "since": app.wall_clock.text(ticket.since),
            "waiting_seconds": round(max(0.0, now - ticket.since), 3),
            "reason": ticket.reason,
            "estimate_seconds": None if ticket.estimate is None else round(ticket.estimate, 3),
        }
        for ticket in app.controller.tickets()
    ]
