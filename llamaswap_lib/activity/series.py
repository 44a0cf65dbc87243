"""Figures over time, for plots: one point for each bucket of time.

Any thread, with a connection that `Store.reading` lends; SQLite adds up. Buckets lie on whole multiples of their width
since 1970, so that two questions about the same time get the same points. Empty ones are told too. Raises BadRequest.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, NamedTuple

from llamaswap_lib.errors import BadRequest

from .queries import conditions_of
from .query import Filter, Parameters, read_filter, seconds_of, text_of

MOST_POINTS = 2_000
DEFAULT_SPAN = 86_400.0  # seconds before `end`, where no start is given
DEFAULT_POINTS = 96  # at least about so many, where no bucket is given
_WIDTHS = (1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400)  # seconds, of which one is taken then

# Name of a figure -> how it is made of the rows of a bucket. Means are of those rows that have the value.
FIGURES = {
    "requests": "count(*)",
    "errors": "sum(status >= 400)",
    "input_tokens": "sum(max(input_tokens, 0))",
    "output_tokens": "sum(max(output_tokens, 0))",
    "cache_tokens": "sum(max(cache_tokens, 0))",
    "prompt_per_second": "avg(CASE WHEN prompt_per_second > 0 THEN prompt_per_second END)",
    "tokens_per_second": "avg(CASE WHEN tokens_per_second > 0 THEN tokens_per_second END)",
    "duration_ms": "avg(duration_ms)",
    "first_token_ms": "avg(CASE WHEN first_token_ms >= 0 THEN first_token_ms END)",
    "queue_ms": "avg(queue_ms)",
    "max_queue_ms": "max(queue_ms)",
    "loads": "sum(load_ms > 0)",
    "load_ms": "avg(CASE WHEN load_ms > 0 THEN load_ms END)",
}
_COUNTS = frozenset(("requests", "errors", "input_tokens", "output_tokens", "cache_tokens", "loads"))


class Span(NamedTuple):
    """Which rows, and how they are put into buckets."""

    filter: Filter
    first: int  # number of the first bucket
    last: int
    width: float  # seconds


def read_span(query: str, now: float) -> Span:
    """What a query string asks for; `now` in seconds since 1970. Raises BadRequest."""
    given = Parameters(query)
    filter_ = read_filter(given)
    width = given.one("bucket", _width, "a duration of at least 1s, such as 5m")
    end = now if filter_.end is None else filter_.end
    start = end - DEFAULT_SPAN if filter_.start is None else filter_.start
    if start > end:
        raise BadRequest("start: expected a moment that is not after end")
    if width is None:
        wanted = (end - start) / DEFAULT_POINTS
        width = next((one for one in _WIDTHS if one >= wanted), math.ceil(wanted / 86_400) * 86_400)
    first, last = math.floor(start / width), math.floor(end / width)
    if last - first >= MOST_POINTS:
        raise BadRequest(f"bucket: expected one of which there are {MOST_POINTS} at most, got {last - first + 1}")
    return Span(filter_._replace(start=start, end=end), first, last, width)


def _width(text: str) -> float | None:
    seconds = seconds_of(text)
    return seconds if seconds is not None and seconds >= 1 else None


def series_of(connection: sqlite3.Connection, span: Span) -> dict[str, Any]:
    """A point for each bucket, the oldest first. A mean of nothing is null."""
    where = conditions_of(connection, span.filter._replace(start=None, end=None))
    points: dict[int, dict[str, Any]] = {}
    # One question for each bucket: to group all rows by their bucket SQLite would have to sort them.
    sql = (
        f"SELECT {', '.join(FIGURES.values())} FROM requests INDEXED BY requests_by_time"
        f" {where.sql or 'WHERE true'} AND timestamp >= ? AND timestamp <= ?"
    )
    for bucket in range(span.first, span.last + 1) if where.can_match else ():
        moments = _part_of(span, bucket)
        values = connection.execute(sql, (*where.values, *moments)).fetchone()
        if values[0]:
            points[bucket] = {name: _rounded(value) for name, value in zip(FIGURES, values, strict=True)}
    empty = {name: 0 if name in _COUNTS else None for name in FIGURES}
    return {
        "bucket_seconds": span.width,
        "start": text_of(span.first * span.width),
        "end": text_of((span.last + 1) * span.width),
        "data": [
            {"start": text_of(bucket * span.width), **points.get(bucket, empty)}
            for bucket in range(span.first, span.last + 1)
        ],
    }


def _part_of(span: Span, bucket: int) -> tuple[float, float]:
    """The first and the last moment of a bucket that are asked for."""
    first, end = bucket * span.width, math.nextafter((bucket + 1) * span.width, -math.inf)
    start, last = span.filter.start, span.filter.end
    return first if start is None else max(first, start), end if last is None else min(end, last)


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if isinstance(value, float) else value
