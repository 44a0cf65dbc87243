"""The server itself: that it lives, which version it is, and how another one takes over.

A handler thread.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.answers import answer_not_found
from llamaswap_lib.server.exchange import Exchange


def serve_health(_app: App, exchange: Exchange, _route: Route) -> None:
    """GET /health, /wol-health."""
    exchange.answer_text("OK")


def serve_version(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/version."""
    version = app.version
    exchange.answer_json({"version": version.version, "commit": version.commit, "build_date": version.build_date})


def serve_upgrade(app: App, exchange: Exchange, _route: Route) -> None:
    """POST /api/upgrade: starts a new process of the installed version, and answers when that serves."""
    if app.upgrade is None:
        answer_not_found(exchange)
        return
    exchange.answer_json(app.upgrade(), headers=[("Cache-Control", "no-store")])
