"""Captures: what was asked and answered, of the newest requests.

A handler thread.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import JSON, Exchange
from llamaswap_lib.server.streams import Stream

MOST_DIGITS = 19  # of an id
WHOLE_BYTES = 1 << 18  # of an answer that is sent as a whole; a longer one is made while it is sent


def serve_capture(app: App, exchange: Exchange, route: Route) -> None:
    """GET /api/captures/{id}: that of the row with this id."""
    text = route.argument
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadRequest("invalid capture ID: expected the id of a row, an integer")
    capture = app.activity.capture(int(text))
    if capture is None:
        raise NotFound("capture not found")
    begin, size_bytes = [], 0
    for piece in capture:
        begin.append(piece)
        size_bytes += len(piece)
        if size_bytes > WHOLE_BYTES:
            break
    else:
        exchange.answer(200, b"".join(begin), JSON)
        return
    stream = Stream(exchange)
    if exchange.head.method == "HEAD":
        stream.begin((("Content-Type", JSON),))
        return
    stream.begin((("Content-Type", JSON),), b"".join(begin))
    for piece in capture:
        stream.send(piece)
    stream.end()
