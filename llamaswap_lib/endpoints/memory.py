"""What there is of memory, what each model needs and holds of it, and who would go for whom.

A handler thread. Told from the newest picture and from what the controller published: nothing waits, nothing is woken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.core.eviction.devices import Memory
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_memory(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/memory."""
    picture = app.memory.now
    states = {run.model: run.state for run in app.controller.runs()}
    exchange.answer_json(
        {
            "router": app.config.routing.router,
            "devices": [_device(name, picture) for name in picture.devices],
            "models": [_model(app, model, picture, states) for model in sorted({*app.config.models, *states})],
        }
    )


def _device(name: str, picture: Memory) -> dict[str, Any]:
    device = picture.devices[name]
    held = sum(sizes.get(name, 0) for sizes in picture.held.values())
    return {
        "device": name,
        "name": device.label,
        "capacity_bytes": device.capacity,
        "reserve_bytes": device.reserve,
        "others_bytes": device.others,
        "held_bytes": held,
        "free_bytes": max(0, device.usable - device.others - held),
    }


def _model(app: App, model: str, picture: Memory, states: Mapping[str, str]) -> dict[str, Any]:
    configured = app.config.models.get(model)
    row: dict[str, Any] = {
        "model": model,
        "state": states.get(model, "stopped"),
        "pinned": configured is not None and configured.pinned,
        "need": need_of(picture, model),
        "held": _sizes(picture.held[model]) if model in picture.held else None,
    }
    if configured is None:
        return {**row, "load": None}
    plan = app.controller.plan(model)
    evicts = None if plan.evicts is None else [victim.model for victim in plan.evicts]
    return {**row, "load": {"evicts": evicts, "refusal": plan.refusal or None}}


def need_of(picture: Memory, model: str) -> dict[str, Any]:
    """What it needs of each device, and where the figures come from; `devices` is None if it is not known."""
    need = picture.need(model)
    is_known = need.source.value != "unknown"
    return {"source": need.source.value, "devices": _sizes(need.devices) if is_known else None}


def _sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: int(sizes[name]) for name in sorted(sizes)}
