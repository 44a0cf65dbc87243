"""Captures: what was asked and answered, of the newest requests.

A handler thread.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange

MOST_DIGITS = 19  # of an id


def serve_capture(app: App, exchange: Exchange, route: Route) -> None:
    """GET /api/captures/{id}: that of the row with this id."""
    text = route.argument
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadRequest("invalid capture ID: expected the id of a row, an integer")
    capture = app.activity.capture(int(text))
    if capture is None:
        raise NotFound("capture not found")
    exchange.answer_json(capture)
