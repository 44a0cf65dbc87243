"""What the machine is, and which GPUs it has.

A handler thread. Right after the start it waits for the first look at the machine.
"""

from __future__ import annotations

from llamaswap_lib.app import App
from llamaswap_lib.endpoints.performance import OFF
from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange

PATIENCE = 5.0  # seconds for that first look: a driver of NVIDIA may take two to begin


def serve_hardware(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/hardware."""
    if not app.hardware.is_enabled:
        exchange.answer_json(OFF, 503)
        return
    snapshot = app.hardware.snapshot(PATIENCE)
    if snapshot is None:
        raise ServiceUnavailable("there is no sample of the hardware yet: a driver does not answer")
    exchange.answer_json(snapshot)
