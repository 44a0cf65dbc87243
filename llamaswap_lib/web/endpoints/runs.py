"""What runs: the list of it, and its loading and unloading by hand.

Any http thread. The list is a published snapshot: it never waits, never wakes a model, never prolongs one.
"""

from __future__ import annotations

from llamaswap_lib.core.events import LoadDemanded
from llamaswap_lib.errors import NotFound
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.routes import Route


def serve_running(exchange: Exchange, _route: Route) -> None:
    """GET /running."""
    models = exchange.app.config.models
    rows = []
    for run in sorted(exchange.app.controller.runs(), key=lambda run: run.model):
        model = models[run.model]
        upstream = exchange.app.controller.upstream(run.model)
        if upstream is not None and upstream.port is not None:
            model = model.at_port(upstream.port)
        rows.append(
            {
                "model": model.id,
                "state": run.state,
                "cmd": model.cmd,
                "proxy": model.proxy,
                "ttl": int(model.ttl),
                "name": model.name,
                "description": model.description,
                "run_id": run.run_id,
            }
        )
    exchange.answer_json({"running": rows})


def serve_unload_every(exchange: Exchange, _route: Route) -> None:
    """GET /unload: answers when every model has stopped."""
    exchange.app.controller.unload(None, exchange.sock)
    exchange.answer_text("OK")


def serve_unload_all(exchange: Exchange, _route: Route) -> None:
    """POST /api/models/unload: the same, in JSON."""
    exchange.app.controller.unload(None, exchange.sock)
    exchange.answer_json({"msg": "ok"})


def serve_unload_one(exchange: Exchange, route: Route) -> None:
    """POST /api/models/unload/{model}: answers when it has stopped."""
    exchange.app.controller.unload([_known_model(exchange, route.argument)], exchange.sock)
    exchange.answer_text("OK")


def serve_load_one(exchange: Exchange, route: Route) -> None:
    """POST /api/models/load/{model}: answers when it is ready; tries even if it has just failed."""
    model_id = _known_model(exchange, route.argument)
    exchange.app.controller.post(LoadDemanded(model_id))
    with exchange.app.controller.lease(model_id, exchange.sock):
        pass
    exchange.answer_json({"msg": "ok"})


def _known_model(exchange: Exchange, name: str) -> str:
    model_id = exchange.app.config.resolve(name)
    if model_id is None:
        raise NotFound("model not found")
    return model_id
