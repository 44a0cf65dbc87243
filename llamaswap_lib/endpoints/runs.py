"""What runs: the list of it, and its loading and unloading by hand.

A handler thread. The list is a published snapshot: it never waits, never wakes a model, never prolongs one. What runs
at peers stands in it as the last looks found it, but not for a llamaswap that asks: that one has to know what is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from llamaswap_lib.app import App
from llamaswap_lib.config.schema import Model
from llamaswap_lib.endpoints.at_peers import AtPeers, places_of, where_it_runs
from llamaswap_lib.endpoints.memory import need_of
from llamaswap_lib.endpoints.peers import rows_of_peers
from llamaswap_lib.routing.loop_detection import is_sent_on
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.server.answers import NOSNIFF, preferred_type
from llamaswap_lib.server.exchange import HTML, Exchange

# A page that nobody can put into a page of theirs, to have it clicked, and that holds nothing but what is sent here.
PAGE_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    ("X-Frame-Options", "DENY"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "same-origin"),
    NOSNIFF,
)


def serve_running(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /running."""
    rows = [row for detail in app.controller.details() for row in _rows(app, detail)]
    if not is_sent_on(exchange.head):
        rows += rows_of_peers(app)
    exchange.answer_json({"running": sorted(rows, key=lambda row: str(row["model"]))})


def _rows(app: App, detail: RunDetail) -> Iterator[dict[str, Any]]:
    """One; none for a run whose model is configured no more and that has just ended."""
    started = app.launched.get(detail.run.run_id)
    model = app.config.models.get(detail.run.model, started)
    if model is not None:
        yield _row(app, model, started or model, detail)


def _row(app: App, model: Model, started: Model, detail: RunDetail) -> dict[str, Any]:
    """`model` as it is configured, `started` as it was when it was started."""
    run = detail.run
    if detail.port is not None:
        started = started.at_port(detail.port)  # another one, where its own was taken
    is_idle = (run.state == "ready" or run.phase == "sleeping") and not detail.in_flight
    return {
        "model": model.id,
        "state": run.state,
        "cmd": started.shown.cmd,
        "proxy": run.address or started.shown.proxy,
        "ttl": int(model.ttl),
        "name": model.name,
        "description": model.description,
        "run_id": run.run_id,
        "pid": detail.pid,
        "port": _port(run.address or started.proxy),
        "phase": run.phase or None,
        "reason": run.reason or None,
        "started": app.wall_clock.text(run.started_at),
        "ready": None if run.ready_at is None else app.wall_clock.text(run.ready_at),
        "load_seconds": None if run.ready_at is None else round(run.ready_at - run.load_began, 3),
        "in_flight": detail.in_flight,
        "concurrency_limit": model.concurrency_limit if model.concurrency_limit > 0 else None,
        "idle_seconds": round(detail.idle_seconds, 3),
        "ttl_remaining": round(max(0.0, model.ttl - detail.idle_seconds), 3) if model.ttl and is_idle else None,
        "waiting": detail.waiting,
        "gpus": list(run.gpus),
        "memory": _memory(app, run.run_id),
        "memory_need": need_of(app.memory.now, model.id),
    }


def _memory(app: App, run_id: int) -> list[dict[str, object]] | None:
    """What the run takes of each device; None before that has been read."""
    memory = app.hardware.memory_of_models().get(run_id)
    return None if memory is None else [usage.row() for usage in memory.usages]


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    try:
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # no port that there could be
        return None


def serve_unload_every(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /unload: answers when every model has stopped."""
    app.controller.unload(None, exchange.watch.wait_for)
    exchange.answer_text("OK")


def serve_unload_button(_app: App, exchange: Exchange, _route: Route) -> None:
    """GET /unload of a browser that a page of another site may have sent: a page whose button does it."""
    button = '<form method="post" action="api/models/unload"><button>Unload all models</button></form>'
    _answer_page(exchange, "Unload all models?", button)


def serve_unload_all(app: App, exchange: Exchange, _route: Route) -> None:
    """POST /api/models/unload: the same, in JSON; a page for browsers, that is for the button."""
    app.controller.unload(None, exchange.watch.wait_for)
    if preferred_type(exchange.head.get("accept") or "") is HTML:
        _answer_page(exchange, "All models are unloaded", "")
    else:
        exchange.answer_json({"msg": "ok"})


def _answer_page(exchange: Exchange, title: str, content: str) -> None:
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title></head><body><h1>{title}</h1>{content}</body></html>\n"
    )
    exchange.answer(200, page.encode(), HTML, PAGE_HEADERS)


def serve_unload_one(app: App, exchange: Exchange, route: Route) -> AtPeers | None:
    """POST /api/models/unload/{model}: answers when it has stopped."""
    running = {run.model for run in app.controller.runs()}  # one may be configured no more, and be ending
    model = route.argument if route.argument in running else app.config.resolve(route.argument)
    if model is None:
        return AtPeers(where_it_runs(app, exchange, route.argument), "/api/models/unload/", is_for_all=True)
    app.controller.unload([model], exchange.watch.wait_for)
    exchange.answer_text("OK")
    return None


def serve_load_one(app: App, exchange: Exchange, route: Route) -> AtPeers | None:
    """POST /api/models/load/{model}: answers when it is ready; tries even if it has just failed."""
    model = app.config.resolve(route.argument)
    if model is None:
        return AtPeers(places_of(app, exchange, route.argument), "/api/models/load/")
    exchange.model = model
    app.controller.load(model, exchange.watch.wait_for)
    exchange.answer_json({"msg": "ok"})
    return None
