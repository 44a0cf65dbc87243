"""Profiles: which there are, and which is active.

A handler thread.
"""

from __future__ import annotations

import json

from llamaswap_lib.app import App
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.decoded_body import read_content
from llamaswap_lib.server.exchange import Exchange

MOST_BYTES = 65_536  # of what is to be active: read in one call, which nobody is to notice


def serve_list(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/profiles."""
    profiles = [
        {"id": name, "description": profile.description, "pins": dict(profile.pins)}
        for name, profile in sorted(app.config.profiles.items())
    ]
    exchange.answer_json({"active": app.profiles.active, "profiles": profiles})


def serve_activation(app: App, exchange: Exchange, _route: Route) -> None:
    """PUT /api/profiles/active: `{"name": id or null}`, '' is null."""
    with read_content(exchange, MOST_BYTES) as body:
        try:
            wanted = json.loads(body.read())
        except (ValueError, RecursionError):
            raise BadRequest("invalid profile request: the body is not JSON") from None
    if not isinstance(wanted, dict) or "name" not in wanted:
        raise BadRequest('profile name is required: {"name": id or null}')
    name = wanted["name"]
    if name is not None and not isinstance(name, str):
        raise BadRequest("profile name must be a string or null")
    app.profiles.activate(name)
    exchange.answer_json({"active": app.profiles.active})
