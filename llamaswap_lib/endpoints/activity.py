"""Activity: the rows of requests, what they add up to, and how to get and forget them.

A handler thread. Each answer knows of every request that had ended before it was asked for.
"""

from __future__ import annotations

from llamaswap_lib.activity.export import CONTENT_TYPES, json_of
from llamaswap_lib.activity.query import Parameters, Query, read_filter, read_query
from llamaswap_lib.activity.series import read_span
from llamaswap_lib.app import App
from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.server.answers import NOSNIFF
from llamaswap_lib.server.exchange import JSON, Exchange
from llamaswap_lib.server.streams import Stream


def serve_rows(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/metrics/activity: a page of rows, or with `format` all of them as a file."""
    query = read_query(exchange.query)
    if query.format == "json":
        exchange.answer(200, json_of(app.activity.page(query)), JSON)
    else:
        _export(app, exchange, query)


def _export(app: App, exchange: Exchange, query: Query) -> None:
    """The rows in pieces, as they are read; one that cannot be read breaks the answer off."""
    stream = Stream(exchange)
    headers = (
        ("Content-Type", CONTENT_TYPES[query.format]),
        ("Content-Disposition", f'attachment; filename="activity.{query.format}"'),
        NOSNIFF,
    )
    pieces = app.activity.export(query)
    first = next(pieces, b"")  # an error can still be told now
    if exchange.head.method == "HEAD":
        stream.begin(headers)
        return
    stream.begin(headers, first)
    try:
        for piece in pieces:
            stream.send(piece)
    except ServiceUnavailable as error:
        exchange.warn(f"the export is broken off: {error.message}")
        exchange.cut(reset=not exchange.head.minor)
        return
    stream.end()


def serve_stats(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/metrics/stats: sums and speeds, of one model or of all."""
    exchange.answer_json(app.activity.stats(Parameters(exchange.query).text("model")))


def serve_facets(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/metrics/facets: the values that rows have, to filter by further."""
    exchange.answer_json(app.activity.facets(read_filter(Parameters(exchange.query))))


def serve_series(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/metrics/series: figures over time."""
    exchange.answer(200, json_of(app.activity.series(read_span(exchange.query, app.activity.wall()))), JSON)


def serve_clear(app: App, exchange: Exchange, _route: Route) -> None:
    """DELETE /api/metrics/activity: forgets all rows and captures."""
    count = app.activity.clear()
    app.logs.log.info(f"the activity was cleared: {count} rows and all captures are gone")
    exchange.answer_json({"msg": "ok", "deleted": count})
