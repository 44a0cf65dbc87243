"""The server itself: that it lives, and which version it is.

A handler thread.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_health(_app: App, exchange: Exchange, _route: Route) -> None:
    """GET /health, /wol-health."""
    exchange.answer_text("OK")


def serve_version(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/version."""
    version = app.version
    exchange.answer_json({"version": version.version, "commit": version.commit, "build_date": version.build_date})
