"""GET /metrics: what was counted, what runs and who waits, the machine, and the metrics of the models' own servers.

A handler thread. Reads what others have put up; only the models' servers are asked, for a second at most. Where
`performance.disabled` turns the samples of the machine off, what is ours is told all the same: a scraper takes a 503
for a program that is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from llamaswap_lib.activity.exposition import OPEN_METRICS, PLAIN, Family, Labels, gauge, written
from llamaswap_lib.activity.machine import device_families, machine_families, memory_families
from llamaswap_lib.activity.merged_metrics import merged
from llamaswap_lib.app import App
from llamaswap_lib.endpoints.peers import families as peer_families
from llamaswap_lib.proxy.scraping import Result, scrape
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.server.exchange import Exchange

STATES = ("stopped", "starting", "ready", "stopping")


def serve_metrics(app: App, exchange: Exchange) -> None:
    """GET /metrics without a model."""
    of_upstreams = _of_upstreams(app) if app.config.metrics.include_upstreams else []
    families = [
        *_program(app),
        *_runs(app),
        *app.counters.families(),
        *memory_families(app.hardware.memory_of_models().values()),
        *device_families(app.memory.now),
        *peer_families(app),
    ]
    if not app.config.performance.disabled:
        families += machine_families(app.hardware.latest())
    families += of_upstreams
    is_open = prefers_open_metrics(exchange.head.get("accept") or "")
    exchange.answer(200, written(families, is_open=is_open), OPEN_METRICS if is_open else PLAIN)


def prefers_open_metrics(accept: str) -> bool:
    """Whether the client would rather have OpenMetrics than the plain format."""
    qualities = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if name in qualities:
            qualities[name] = max(qualities[name], _quality(parameters))
    return 0.0 < qualities["application/openmetrics-text"] >= qualities["text/plain"]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if isfinite(quality) else 0.0
    return 1.0


def _program(app: App) -> Iterator[Family]:
    version = app.version
    labels: Labels = (("version", version.version), ("commit", version.commit))
    yield gauge("llamaswap_build_info", "Which program this is.", [(labels, 1)])
    yield gauge(
        "llamaswap_start_time_seconds", "When the program was started, in seconds since 1970.", [((), app.started_at)]
    )
    yield gauge(
        "llamaswap_loop_lag_seconds",
        "The longest wait for the thread that has all connections, in the last minute or two.",
        [((), app.loop_lag())],
    )
    yield gauge("llamaswap_connections", "Connections of clients that are open.", [((), app.connection_count())])


def _runs(app: App) -> Iterator[Family]:
    """The models of the configuration, and those that still run although they are not configured any more."""
    details: dict[str, RunDetail] = {detail.run.model: detail for detail in app.controller.details()}
    waiting = dict.fromkeys([*app.config.models, *details], 0)
    for ticket in app.controller.tickets():
        waiting[ticket.model] = waiting.get(ticket.model, 0) + 1
    failing = app.controller.failing()
    models = sorted(waiting)
    inside = {model: details[model].in_flight if model in details else 0 for model in models}
    yield gauge("llamaswap_in_flight", "Requests inside each model.", ((_of(model), inside[model]) for model in models))
    yield gauge(
        "llamaswap_queue_waiting",
        "Requests that wait for each model.",
        ((_of(model), waiting[model]) for model in models),
    )
    yield gauge(
        "llamaswap_model_state",
        "1 for the state that each model is in.",
        (
            (
                (*_of(model), ("state", state)),
                int(state == (details[model].run.state if model in details else "stopped")),
            )
            for model in models
            for state in STATES
        ),
    )
    yield gauge(
        "llamaswap_model_failing",
        "How often in a row each model could not be loaded, or died soon.",
        ((_of(model), failing[model].tries if model in failing else 0) for model in models),
    )


def _of(model: str) -> Labels:
    return (("model", model),)


def _of_upstreams(app: App) -> list[Family]:
    ready = sorted({run.model for run in app.controller.runs() if run.state == "ready"})
    upstreams = {model: upstream for model in ready if (upstream := app.controller.ready_upstream(model)) is not None}
    scraped = scrape(upstreams, app.pool.proxies, app.limits.scrape_timeout)
    app.counters.note_scrapes((model, found.result.value) for model, found in scraped.items())
    return merged({model: found.text for model, found in scraped.items() if found.result is Result.SUCCESS})
