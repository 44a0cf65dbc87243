"""How coding agents and other clients are set up for a model: what `llamaswap launch` prints, for the page.

A handler thread. Made from the names and the address alone: no file of this machine is looked at, nothing is asked.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from llamaswap_lib.agents.known import AGENTS, KEY_VARIABLE, Target, described, line_of
from llamaswap_lib.app import App
from llamaswap_lib.endpoints.models import is_known
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.names import Reach
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange

MOST_URL = 2048  # characters


def serve_clients(app: App, exchange: Exchange, route: Route) -> None:
    """GET /api/models/{id}/clients?url=...: raises BadRequest and NotFound."""
    name, pins = route.argument, app.profiles.pins()
    if not is_known(app, name) and not pins.get(name):
        raise app.names.unknown(name, Reach.ANY, pins)
    destination = app.destinations.get(name)
    model = app.config.models.get(destination.model.id) if destination is not None else None
    context = (model.capabilities.context or None) if model is not None else None
    url = _address(exchange.query)
    target = Target(url, KEY_VARIABLE if app.config.api_keys else "", name, context, Path("~"), {})
    rows = []
    for agent in AGENTS:
        settings = agent.settings(target)
        row = {"name": agent.title, "install": agent.install, "line": line_of(settings, target) or None}
        rows.append({**described(agent, settings, target), **row})
    exchange.answer_json({"clients": rows})


def _address(query: str) -> str:
    """Of this server, as the one who asks reaches it."""
    told = parse_qs(query.removeprefix("?")).get("url", [""])[0].rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(told)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        is_usable = False
    if not is_usable or not told.isprintable() or " " in told or len(told) > MOST_URL:
        raise BadRequest("url: expected the address of this server, such as http://localhost:8080")
    return told
