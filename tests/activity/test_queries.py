"""Pages, facets, series and exports agree with what plain Python makes of the same rows."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.activity.database import open_memory, select_rows
from llamaswap_lib.activity.export import PIECE_ROWS, described, json_of, pieces_of
from llamaswap_lib.activity.facets import FACETS, facets_of
from llamaswap_lib.activity.queries import known_total, page_of
from llamaswap_lib.activity.query import SORTS, Filter, Query, Statuses, read_query, text_of
from llamaswap_lib.activity.row import Row
from llamaswap_lib.activity.series import Span, read_span, series_of
from llamaswap_lib.activity.stats import stats_of
from llamaswap_lib.activity.store import Store, StoreSettings
from llamaswap_lib.errors import BadRequest, ServiceUnavailable
from tests.activity.rows import BEGIN, row

MODELS, PATHS = ("a", "b%c", "Gemma_3", "x\0after"), ("/v1/x", "/v1/y_z")
SESSIONS, KEYS, ERRORS = ("", "s1", "s2"), ("", "k1", "k2"), ("", "it broke", "100% gemma\\lost")
STATUSES, ENDINGS = (200, 404, 429, 502), ("complete", "client_left", "refused")

ROWS = st.lists(
    st.builds(
        row,
        timestamp=st.integers(0, 40).map(lambda number: BEGIN + number * 30),
        model=st.sampled_from(MODELS),
        path=st.sampled_from(PATHS),
        status=st.sampled_from(STATUSES),
        ended=st.sampled_from(ENDINGS),
        session=st.sampled_from(SESSIONS),
        key=st.sampled_from(KEYS),
        error=st.sampled_from(ERRORS),
        content_type=st.sampled_from(["", "application/json", "text/event-stream"]),
        duration_ms=st.integers(0, 4).map(lambda number: number * 500),
        input_tokens=st.integers(-1, 3),
        output_tokens=st.integers(-1, 3),
        cache_tokens=st.integers(-1, 3),
        draft_tokens=st.integers(-1, 3),
        prompt_per_second=st.sampled_from([-1.0, 0.0, 10.0, 10.01, 250.5]),
        tokens_per_second=st.one_of(st.sampled_from([-1.0, 0.0]), st.floats(0.1, 300)),
        queue_ms=st.integers(0, 3),
        load_ms=st.sampled_from([0, 0, 4000]),
    ),
    max_size=30,
)


def some(values: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from([*filter(None, values), "unknown"]), max_size=2, unique=True).map(tuple)


MOMENTS = st.one_of(st.none(), st.integers(-1, 41).map(lambda number: BEGIN + number * 30))
IDS = st.one_of(st.none(), st.integers(1, 35))
FILTERS = st.builds(
    Filter,
    models=some(MODELS),
    statuses=st.lists(
        st.sampled_from([Statuses(200, 200, False), Statuses(400, 499, False), Statuses(200, 299, True)]), max_size=2
    ).map(tuple),
    paths=some(PATHS),
    sessions=some(SESSIONS),
    keys=some(KEYS),
    endings=some(ENDINGS),
    text=st.sampled_from(["", "", "", "gemma", "GEMMA", "%", "_", "\\", "x", "broke", "nowhere", "\0", "AFTER"]),
    min_duration_ms=st.one_of(st.none(), st.sampled_from([0.0, 500.0, 700.5])),
    start=MOMENTS,
    end=MOMENTS,
    min_id=IDS,
    max_id=IDS,
)
# Few at a time, so that rows are found; and all that there is at times.
FEW_FILTERS = FILTERS.flatmap(
    lambda full: st.sets(st.sampled_from(Filter._fields), max_size=2).map(
        lambda names: Filter(**{name: getattr(full, name) for name in names})
    )
)
QUERIES = st.builds(
    Query,
    filter=st.one_of(FEW_FILTERS, FEW_FILTERS, FILTERS),
    page=st.integers(1, 4),
    limit=st.sampled_from([1, 3, 7, 25]),
    sort=st.sampled_from([*SORTS.values()]),
    is_descending=st.booleans(),
)


def matches(one: Row, filter_: Filter) -> bool:
    included = [statuses for statuses in filter_.statuses if not statuses.is_excluded]
    excluded = [statuses for statuses in filter_.statuses if statuses.is_excluded]
    text = filter_.text.lower()
    return all(
        (
            not filter_.models or one.model in filter_.models,
            not filter_.paths or one.path in filter_.paths,
            not filter_.sessions or one.session in filter_.sessions,
            not filter_.keys or one.key in filter_.keys,
            not filter_.endings or one.ended in filter_.endings,
            not included or any(part.lowest <= one.status <= part.highest for part in included),
            not any(part.lowest <= one.status <= part.highest for part in excluded),
            not text or any(text in part.lower() for part in (one.model, one.path, one.error)),
            filter_.min_duration_ms is None or one.duration_ms >= filter_.min_duration_ms,
            filter_.start is None or one.timestamp >= filter_.start,
            filter_.end is None or one.timestamp <= filter_.end,
            filter_.min_id is None or one.id >= filter_.min_id,
            filter_.max_id is None or one.id <= filter_.max_id,
        )
    )


@contextmanager
def stored(rows: Sequence[Row], removed: int = 0) -> Iterator[tuple[Any, list[Row]]]:
    """A connection to a database with these rows, of which the oldest are gone; and those that are left."""
    database = open_memory()
    try:
        if rows:
            database.insert(rows)
        database.remove_oldest(removed)
        yield database.connection, select_rows(database.connection, "ORDER BY id")
    finally:
        database.close()


@given(ROWS, st.integers(0, 3), QUERIES)
def test_a_page_has_the_rows_that_are_meant_in_order(rows: list[Row], removed: int, query: Query) -> None:
    with stored(rows, removed) as (connection, left):
        found = page_of(connection, query)
        meant = [one for one in left if matches(one, query.filter)]
        meant.sort(key=lambda one: (getattr(one, query.sort), one.id), reverse=query.is_descending)
        begin = (query.page - 1) * query.limit
        assert found.total == len(meant)
        assert [*found.rows] == meant[begin : begin + query.limit]


@given(ROWS, FEW_FILTERS)
def test_a_total_that_is_known_is_that_of_the_rows(rows: list[Row], filter_: Filter) -> None:
    with stored(rows) as (connection, left):
        known = known_total(connection, filter_)
        assert known is None or known == sum(matches(one, filter_) for one in left)


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("\0", ["x\0After"]),
        ("\0AFTER", ["x\0After"]),
        ("after", ["x\0After"]),
        ("x\0b", []),
        ("\x01", []),
        ("%", ["b%"]),
    ],
)
def test_text_with_control_characters_is_found_where_it_is(text: str, models: list[str]) -> None:
    with stored([row(model=model) for model in ("x\0After", "x", "b%")]) as (connection, _):
        assert [one.model for one in page_of(connection, Query(Filter(text=text))).rows] == models


def test_ids_with_a_gap_are_counted() -> None:
    with stored([row(), row(id=5), row(id=9), row()]) as (connection, _):
        page = page_of(connection, Query(Filter(min_id=2, max_id=9)))
        assert ([one.id for one in page.rows], page.total) == ([9, 5], 2)


@given(ROWS, st.integers(0, 3))
def test_facets_have_the_values_of_the_rows(rows: list[Row], removed: int) -> None:
    with stored(rows, removed) as (connection, left):
        found = facets_of(connection)
        assert found.pop("capped") is False
        assert list(found) == [*FACETS] == ["model", "status", "path", "key", "session", "ended"]
        assert found == {column: counted_values(left, column) for column in FACETS}


def counted_values(rows: Sequence[Row], column: str) -> list[dict[str, object]]:
    counts = Counter(value for one in rows if (value := getattr(one, column)) != "")
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"value": value, "count": count} for value, count in ordered]


@given(ROWS, st.one_of(FEW_FILTERS, FILTERS), st.integers(0, 9))
def test_a_facet_counts_the_rows_that_the_other_filters_mean(rows: list[Row], filter_: Filter, removed: int) -> None:
    with stored(rows, removed) as (connection, left):
        found = facets_of(connection, filter_)
        assert found.pop("capped") is False
        for column, own in FACETS.items():
            others = Filter(**{**filter_._asdict(), own: ()})
            assert found[column] == counted_values([one for one in left if matches(one, others)], column)


def test_beyond_a_number_of_rows_the_newest_are_counted_and_that_is_told() -> None:
    rows = [row(model=model, session="s") for model in "abbccc"]
    with stored(rows) as (connection, _):
        filter_ = Filter(sessions=("s",))
        assert facets_of(connection, filter_, 6)["capped"] is False
        found = facets_of(connection, filter_, 3)
        assert found["capped"] is True
        assert found["model"][0] == {"value": "c", "count": 3}
        assert found["session"] == [{"value": "s", "count": 6}]  # which needs no counting


# -- sums and histograms --


def plain_histogram(speeds: list[float]) -> dict[str, Any] | None:
    speeds = sorted(speed for speed in speeds if speed > 0)
    if not speeds:
        return None

    def percentile(share: float) -> float:
        place = share * (len(speeds) - 1)
        lower, upper = speeds[math.floor(place)], speeds[math.ceil(place)]
        return lower + (place - math.floor(place)) * (upper - lower)

    found: dict[str, Any] = {"min": speeds[0], "max": speeds[-1], "p50": percentile(0.5)}
    found |= {"p95": percentile(0.95), "p99": percentile(0.99)}
    if speeds[0] == speeds[-1]:
        return {**found, "bins": [len(speeds)], "binSize": 0}
    count = min(20, max(5, math.ceil(math.log2(len(speeds))) + 1))
    width = (speeds[-1] - speeds[0]) / count
    bins = [0] * count
    for speed in speeds:
        edges = [number for number in range(1, count) if speed >= speeds[0] + width * number]
        bins[len(edges)] += 1
    return {**found, "bins": bins, "binSize": width}


SPEEDS = st.one_of(st.sampled_from([-1.0, 0.0, 30.0]), st.floats(29.99, 30.01), st.floats(0.001, 1e6))


@given(st.lists(st.tuples(st.sampled_from("ab"), SPEEDS, SPEEDS, st.integers(-1, 9)), max_size=80))
def test_stats_are_those_of_the_rows(given_rows: list[tuple[str, float, float, int]]) -> None:
    rows = [
        row(model=model, prompt_per_second=prompt, tokens_per_second=speed, input_tokens=tokens, cache_tokens=-tokens)
        for model, prompt, speed, tokens in given_rows
    ]
    with stored(rows) as (connection, left):
        for model in ("", "a", "b", "unknown"):
            meant = [one for one in left if model in ("", one.model)]
            found = stats_of(connection, model)
            assert found.pop("total_requests") == len(meant)
            assert found.pop("total_input_tokens") == sum(max(0, one.input_tokens) for one in meant)
            assert found.pop("total_output_tokens") == sum(max(0, one.output_tokens) for one in meant)
            assert found.pop("total_cache_tokens") == sum(max(0, one.cache_tokens) for one in meant)
            expected = {
                "prompt_histogram": plain_histogram([one.prompt_per_second for one in meant]),
                "gen_histogram": plain_histogram([one.tokens_per_second for one in meant]),
            }
            for name, histogram in expected.items():
                assert (found[name] is None) == (histogram is None)
                if histogram is not None:
                    assert found[name].pop("bins") == histogram.pop("bins")
                    assert found[name] == pytest.approx(histogram, rel=1e-9)


def test_one_speed_alone_is_one_bin() -> None:
    with stored([row(prompt_per_second=70.0)]) as (connection, _):
        assert stats_of(connection)["prompt_histogram"] == {
            "bins": [1], "min": 70, "max": 70, "binSize": 0, "p50": 70, "p95": 70, "p99": 70,
        }  # fmt: skip


# -- series --


ONE_OR_NO_MODEL = some(MODELS).map(lambda models: Filter(models=models))  # asked for often, and known by periods


@given(
    ROWS,
    st.one_of(FEW_FILTERS, ONE_OR_NO_MODEL),
    st.sampled_from([30.0, 60.0, 300.0, 600.0, 700.0, 900.0]),
    st.integers(-20, 20),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 0.9]),
)
def test_points_are_made_of_the_rows_of_their_time(
    rows: list[Row], filter_: Filter, width: float, begin: int, length: int, cut: float
) -> None:
    first = math.floor((BEGIN + begin * 30) / width)
    start, end = (first + cut) * width, (first + length) * width + width / 2
    span = Span(filter_._replace(start=start, end=end), first, first + length, width)
    with stored(rows) as (connection, left):
        found = series_of(connection, span)
        assert len(found["data"]) == length + 1
        for number, point in enumerate(found["data"], first):
            meant = [one for one in left if matches(one, span.filter) and math.floor(one.timestamp / width) == number]
            assert point["start"] == text_of(number * width)
            assert point["requests"] == len(meant)
            assert point["errors"] == sum(one.status >= 400 for one in meant)
            assert type(point["output_tokens"]) is int
            assert point["output_tokens"] == sum(max(0, one.output_tokens) for one in meant)
            assert point["loads"] == sum(one.load_ms > 0 for one in meant)
            speeds = [one.tokens_per_second for one in meant if one.tokens_per_second > 0]
            assert point["tokens_per_second"] == (
                pytest.approx(sum(speeds) / len(speeds), abs=0.001) if speeds else None
            )
            waits = [one.queue_ms for one in meant]
            assert point["queue_ms"] == (pytest.approx(sum(waits) / len(waits), abs=0.001) if waits else None)
            assert point["max_queue_ms"] == max(waits, default=None)


def test_without_a_bucket_the_last_day_has_about_a_hundred_points() -> None:
    span = read_span("", BEGIN)
    assert (span.width, span.last - span.first + 1) == (900, 97)
    year = read_span("start=2020-01-01T00:00:00Z&end=2026-01-01T00:00:00Z", BEGIN)
    assert year.width % 86_400 == 0
    assert 50 < year.last - year.first < 100


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("bucket=1", None),
        ("bucket=5m&model=a", None),
        ("bucket=0", "bucket: expected a duration of at least 1s, such as 5m, got '0'"),
        ("bucket=500ms", "bucket: expected a duration of at least 1s"),
        ("bucket=week", "bucket: expected a duration of at least 1s"),
        ("bucket=1s&start=2020-01-01T00:00:00Z", "bucket: expected one of which there are 2000 at most"),
        ("start=2040-01-01T00:00:00Z", "start: expected a moment that is not after end"),
    ],
)
def test_buckets_are_checked(query: str, message: str | None) -> None:
    if message is None or query == "bucket=1":
        end = "&start=2026-01-01T00:00:00Z&end=2026-01-01T00:10:00Z"
        assert read_span(query + end, BEGIN).width in (1, 300)
        return
    with pytest.raises(BadRequest) as caught:
        read_span(query, BEGIN)
    assert caught.value.message.startswith(message)


# -- exports --


@pytest.mark.parametrize("count", [0, 1, PIECE_ROWS, PIECE_ROWS + 1, 3 * PIECE_ROWS])
def test_a_long_answer_is_the_same_in_json_whatever_its_length(count: int) -> None:
    answer = {"data": [{"number": number, "text": 'ä"\ud800'} for number in range(count)], "page": 1}
    assert json_of(answer) == json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


@contextmanager
def filled(rows: Sequence[Row]) -> Iterator[Store]:
    store = Store(StoreSettings(max_rows_in_memory=10_000))
    store.open()
    try:
        store.write(rows)
        yield store
    finally:
        store.close()


def exported(store: Store, query: str) -> bytes:
    return b"".join(pieces_of(store, read_query(query), lambda number: number == 2))


def test_an_export_has_every_row_once_and_is_read_in_pieces() -> None:
    with filled([row(model=f"m{number}") for number in range(3 * PIECE_ROWS + 1)]) as store:
        query = read_query("format=jsonl")
        pieces = []
        for piece in pieces_of(store, query, lambda _: False):
            pieces.append(piece)
            store.write([row(model="later")])
        lines = b"".join(pieces).splitlines()
        assert len(pieces) == 4
        assert [json.loads(line)["model"] for line in lines] == [f"m{n}" for n in range(3 * PIECE_ROWS, -1, -1)]
        ascending = [
            json.loads(line)["id"] for line in exported(store, "format=jsonl&order=asc&max_id=250").splitlines()
        ]
        assert ascending == [*range(1, 251)]
        assert exported(store, "format=jsonl&model=unknown") == b""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_that_cannot_be_read_says_so_before_anything_else(form: str) -> None:
    with filled([row()]) as store:
        store.close()
        with pytest.raises(ServiceUnavailable):
            next(pieces_of(store, read_query(f"format={form}"), lambda _: False))


def test_a_line_of_json_is_the_row_as_a_page_has_it() -> None:
    with filled([row(model="a", selector="s", error="no"), row(priority=None)]) as store:
        with store.reading() as connection:
            (second, first) = select_rows(connection, "ORDER BY id DESC")
        lines = exported(store, "format=jsonl").splitlines()
        assert [json.loads(line) for line in lines] == [
            described(second, has_capture=True),
            described(first, has_capture=False),
        ]
        assert json.loads(lines[1])["metadata"] == {"fifo_priority": "0", "selector": "s"}
        assert "metadata" not in json.loads(lines[0])


def test_csv_has_a_line_of_names_and_the_same_columns_in_each_line() -> None:
    odd = 'a "quoted", name\nof two lines'
    with filled([row(model=odd, error="it broke"), row(priority=None, model="=1+1", session="-x", key="ok")]) as store:
        lines = [*csv.DictReader(io.StringIO(exported(store, "format=csv").decode(), newline=""))]
        assert [line["model"] for line in lines] == ["'=1+1", odd]
        assert (lines[0]["session"], lines[0]["key"], lines[0]["fifo_priority"]) == ("'-x", "ok", "")
        assert (lines[1]["error_msg"], lines[1]["fifo_priority"], lines[1]["cache_tokens"]) == ("it broke", "0", "0")
        assert all(None not in line and None not in line.values() for line in lines)
    with filled([row(priority="-5")]) as store:
        assert b",-5," in exported(store, "format=csv")
        assert (
            exported(store, "format=csv&model=unknown").splitlines() == exported(store, "format=csv").splitlines()[:1]
        )
