"""Samples of the machine and its GPUs, of the last hour.

A handler thread. It waits for no reading. An hour of a large machine is some megabytes of JSON, so it is made row by
row: one call for all of it would hold up every other thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from llamaswap_lib.app import App
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import JSON, Exchange
from llamaswap_lib.wire.rfc3339 import parse_moment

OFF = {"enabled": False}


def serve_performance(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/performance?after=MOMENT."""
    hardware = app.hardware
    if not hardware.is_enabled:
        exchange.answer_json(OFF, 503)
        return
    after = _after(exchange.query)
    system, gpus = _array(hardware.system_samples(after)), _array(hardware.gpu_samples(after))
    exchange.answer(200, f'{{"enabled":true,"sys_stats":{system},"gpu_stats":{gpus}}}'.encode(), JSON)


def _after(query: str) -> int | None:
    """The moment in the query; raises BadRequest."""
    moment = next((value for name, value in parse_qsl(query[1:]) if name == "after"), "")
    try:
        return parse_moment(moment) if moment else None
    except ValueError as error:
        raise BadRequest(f"invalid 'after': {error}") from error


def _array(rows: Iterable[Mapping[str, object]]) -> str:
    return f"[{','.join(json.dumps(row, separators=(',', ':')) for row in rows)}]"
