"""The requests to models that are in progress: the list of them, and ending one by hand.

A handler thread.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.errors import NotFound
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange

MOST_DIGITS = 18  # of an id


def serve_list(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/inflight: what the stream of events begins with."""
    exchange.answer_json({"requests": app.feed.rows()})


def serve_cancel(app: App, exchange: Exchange, route: Route) -> None:
    """POST /api/inflight/{id}/cancel: ends that request, whether it waits or runs."""
    text = route.argument
    is_number = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    if not is_number or not app.feed.cancel(int(text), exchange.client.loop.ask):
        raise NotFound("inflight request not found")
    exchange.answer_json({"msg": "ok"})
