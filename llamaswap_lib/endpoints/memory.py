"""What there is of memory, what each model needs and holds of it, and who would go for whom.

A handler thread. Told from the newest picture and from what the controller published: nothing waits, nothing is woken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.core.eviction.devices import Memory
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.exchange import Exchange


def serve_memory(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/memory."""
    states = {run.model: run.state for run in app.controller.runs()}
    told = describe_memory(app, app.memory.now, states)
    for row in told["models"]:
        row |= {"state": states.get(row["model"], "stopped"), "load": _load(app, row["model"])}
    exchange.answer_json(told)


def describe_memory(app: App, picture: Memory, running: Iterable[str] = ()) -> dict[str, Any]:
    """What there is, and what each model needs and holds of it: those of the configuration, and what else runs."""
    gpus = {run.model: run.gpus for run in app.controller.runs()}
    names = sorted({*app.config.models, *picture.held, *running})
    return {
        "router": app.config.routing.router,
        "stale": app.memory.is_old,
        "devices": [_device(name, picture) for name in picture.devices],
        "models": [_model(app, model, picture, gpus.get(model, ())) for model in names],
    }


def _device(name: str, picture: Memory) -> dict[str, Any]:
    device = picture.devices[name]
    held = sum(sizes.get(name, 0) for sizes in picture.held.values())
    return {
        "device": name,
        "name": device.label,
        "capacity_bytes": device.capacity,
        "reserve_bytes": device.reserve,
        "yield_to": "others" if device.yields else "nobody",
        "others_bytes": device.others,
        "held_bytes": held,
        "free_bytes": max(0, device.usable - device.others - held),
    }


def _model(app: App, model: str, picture: Memory, gpus: Sequence[str]) -> dict[str, Any]:
    configured = app.config.models.get(model)
    return {
        "model": model,
        "pinned": configured is not None and configured.pinned,
        "need": need_of(picture, model),
        "placement": list(gpus) or None,
        "held": _sizes(picture.held[model]) if model in picture.held else None,
    }


def _load(app: App, model: str) -> dict[str, Any] | None:
    """What a load of it would do now; None for one that is not configured any more."""
    if model not in app.config.models:
        return None
    plan = app.controller.plan(model)
    evicts = None if plan.evicts is None else [victim.model for victim in plan.evicts]
    return {"evicts": evicts, "refusal": plan.refusal or None}


def need_of(picture: Memory, model: str) -> dict[str, Any]:
    """What it needs of each device, and where the figures come from; `devices` is None if it is not known."""
    need = picture.need(model)
    is_known = need.source.value != "unknown"
    return {"source": need.source.value, "devices": _sizes(need.devices) if is_known else None}


def _sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: int(sizes[name]) for name in sorted(sizes)}
