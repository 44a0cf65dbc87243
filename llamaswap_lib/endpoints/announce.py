"""Where a model listens or what it waits for, told by its job where its output does not come back to us.

A handler thread. The token in the path is the key: only the run knows it.
"""

from __future__ import annotations

import json
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.errors import BadRequest, NotFound
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.decoded_body import read_content
from llamaswap_lib.server.exchange import Exchange

MOST_BYTES = 8_192
EXAMPLE = '{"address": "http://node1:8080"} or {"state": "job 31, Resources"}'


def serve_announcement(app: App, exchange: Exchange, route: Route) -> None:
    """POST /api/announce/{token}, and GET for what is known of it."""
    is_told = exchange.head.method == "POST"
    try:
        address = app.announce(route.argument, *(_told_in(exchange) if is_told else ("", "")))
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if address is None:
        raise NotFound("there is no run with this token: it has ended, or the token is another one's")
    exchange.answer_json({"msg": "ok"} if is_told else {"address": address})


def _told_in(exchange: Exchange) -> tuple[str, str]:
    """The address and the state that the body has, '' for none; raises BadRequest."""
    with read_content(exchange, MOST_BYTES) as body:
        data = body.read()
    try:
        told: Any = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    values = [told.get(key, "") for key in ("address", "state")] if isinstance(told, dict) else []
    if not any(values) or not all(isinstance(value, str) for value in values):
        raise BadRequest(f"expected a JSON object such as {EXAMPLE}")
    return values[0], values[1]
