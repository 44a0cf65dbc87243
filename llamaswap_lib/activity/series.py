"""Figures over time, for plots: one point for each bucket of time.

Any thread, with a connection that `Store.reading` lends. SQLite adds up, or has done so when the rows were stored.
Buckets lie on whole multiples of their width since 1970, so that two questions about the same time get the same points.
Empty ones are told too. Raises BadRequest.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.errors import BadRequest

from .periods import ALL_MODELS, OF_PERIODS, OF_ROWS, PERIOD_SECONDS, SUMS, added_up, period_of
from .queries import conditions_of, numbers_of
from .query import Filter, Parameters, any_of, read_filter, seconds_of, text_of

MOST_POINTS = 2_000
DEFAULT_SPAN = 86_400.0  # seconds before `end`, where no start is given
DEFAULT_POINTS = 96  # at least about so many, where no bucket is given
_WIDTHS = (1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400)  # seconds, of which one is taken then


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
    sources = _Sources(connection, span)
    return {
        "bucket_seconds": span.width,
        "start": text_of(span.first * span.width),
        "end": text_of((span.last + 1) * span.width),
        "data": [
            {"start": text_of(bucket * span.width), **_point(sources.sums(*_part_of(span, bucket)))}
            for bucket in range(span.first, span.last + 1)
        ],
    }


def _part_of(span: Span, bucket: int) -> tuple[float, float]:
    """The first and the last moment of a bucket that are asked for."""
    first, last = bucket * span.width, _just_before((bucket + 1) * span.width)
    start, end = span.filter.start, span.filter.end
    return first if start is None else max(first, start), last if end is None else min(end, last)


def _just_before(moment: float) -> float:
    return math.nextafter(moment, -math.inf)


def _point(sums: Mapping[str, float]) -> dict[str, float | None]:
    def mean(of: str, count: str) -> float | None:
        return round(sums[of] / sums[count], 3) if sums[count] else None

    return {
        **{name: int(sums[name]) for name in ("requests", "errors", "input_tokens", "output_tokens", "cache_tokens")},
        "prompt_per_second": mean("prompt_speed", "prompt_speeds"),
        "tokens_per_second": mean("speed", "speeds"),
        "duration_ms": mean("duration_ms", "requests"),
        "first_token_ms": mean("first_token_ms", "first_tokens"),
        "queue_ms": mean("queue_ms", "requests"),
        "max_queue_ms": sums["max_queue_ms"] if sums["requests"] else None,
        "loads": int(sums["loads"]),
        "load_ms": mean("load_ms", "loads"),
    }


class _Sources:
    """Where the sums over some time come from: whole periods as far as they go, rows for the rest.

    Periods are of use where nothing but models is filtered by.
    """

    def __init__(self, connection: sqlite3.Connection, span: Span) -> None:
        self._ask = connection.execute
        filter_ = span.filter._replace(start=None, end=None)
        self._where = conditions_of(connection, filter_)
        # One question for each part: to group all rows by their bucket SQLite would have to sort them.
        self._of_rows = (
            f"SELECT {OF_ROWS} FROM requests INDEXED BY requests_by_time"
            f" {self._where.sql or 'WHERE true'} AND timestamp >= ? AND timestamp <= ?"
        )
        self._can_use_periods = filter_._replace(models=()) == Filter()
        self._models = numbers_of(connection, "model", filter_.models) if filter_.models else [ALL_MODELS]
        of_models = f"FROM periods WHERE {any_of('model', self._models)} AND period >= ? AND period < ?"
        self._of_periods = f"SELECT {OF_PERIODS} {of_models} AND is_whole"
        self._cut: dict[int, list[int]] = {}  # period -> the models that it had rows of which are removed
        if self._can_use_periods:
            moments = (span.first * span.width, (span.last + 1) * span.width + PERIOD_SECONDS)
            values = (*self._models, *map(period_of, moments))
            for period, model in self._ask(f"SELECT period, model {of_models} AND NOT is_whole", values):
                self._cut.setdefault(period, []).append(model)

    def sums(self, first: float, last: float) -> Mapping[str, float]:
        """From one moment to another, both in it."""
        if not self._where.can_match:
            return dict.fromkeys(SUMS, 0)
        return added_up([*self._parts(first, last)])

    def _parts(self, first: float, last: float) -> Iterator[Sequence[float | None]]:
        whole = range(-int(-first // PERIOD_SECONDS), period_of(math.nextafter(last, math.inf)))
        if not (self._can_use_periods and whole):
            yield self._sums_of_rows(first, last)
            return
        yield self._ask(self._of_periods, (*self._models, whole.start, whole.stop)).fetchone()
        for period in self._cut.keys() & whole if self._cut else ():
            begin = period * PERIOD_SECONDS
            for model in self._cut[period]:
                yield self._sums_of_rows(begin, _just_before(begin + PERIOD_SECONDS), model)
        begin, end = whole.start * PERIOD_SECONDS, whole.stop * PERIOD_SECONDS
        if first < begin:
            yield self._sums_of_rows(first, _just_before(begin))
        if last >= end:
            yield self._sums_of_rows(end, last)

    def _sums_of_rows(self, first: float, last: float, model: int = ALL_MODELS) -> Sequence[float | None]:
        of_model = "" if model == ALL_MODELS else f" AND +model = {model}"
        sums: Sequence[float | None] = self._ask(
            self._of_rows + of_model, (*self._where.values, first, last)
        ).fetchone()
        return sums
