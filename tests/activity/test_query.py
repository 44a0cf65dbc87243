"""Parameters of questions about rows: what is understood, and what is refused with its name."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.activity.query import Filter, Query, Statuses, moment_of, read_query, seconds_of, text_of
from llamaswap_lib.errors import BadRequest


def test_nothing_asked_for_is_the_newest_page() -> None:
    assert read_query("") == read_query("?") == Query(Filter(), 1, 25, "id", True, "json")


def test_everything_can_be_asked_for_at_once() -> None:
    query = read_query(
        "?model=a&model=org%2Fb&page=2&limit=999&sort=gen_speed&order=asc&start=2026-01-31T12:00:00Z"
        "&end=2026-02-01T00:00:00.5%2B02:00&min_id=3&max_id=9&status=200&status=4xx&status=!404&path=/v1/x&session=s+1"
        "&key=k&q=Gemma&ended=client_left&ended=cancelled&min_duration=1m30s&start_id=9&nonsense"
    )
    assert query == Query(
        Filter(
            models=("a", "org/b"),
            statuses=(Statuses(200, 200, False), Statuses(400, 499, False), Statuses(404, 404, True)),
            paths=("/v1/x",),
            sessions=("s 1",),
            keys=("k",),
            endings=("client_left", "cancelled"),
            text="Gemma",
            min_duration_ms=90_000.0,
            start=1_769_860_800.0,
            end=1_769_896_800.5,
            min_id=3,
            max_id=9,
        ),
        2,
        999,
        "tokens_per_second",
        False,
    )


def test_what_is_empty_counts_as_not_there() -> None:
    assert read_query("model=&page=&limit=&sort=&order=&start=&min_id=&status=&q=&format=") == Query()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: expected an integer from 1 to 999, got '0'"),
        ("limit=1000", "limit: expected an integer from 1 to 999, got '1000'"),
        ("limit=1e2", "limit: expected an integer from 1 to 999, got '1e2'"),
        ("page=0", "page: expected an integer >= 1, got '0'"),
        ("page=-1", "page: expected an integer >= 1, got '-1'"),
        ("page=%D9%A3", "page: expected an integer >= 1, got '٣'"),
        ("page=" + "9" * 5_000, "page: expected an integer >= 1, got '9999"),
        ("min_id=0", "min_id: expected an integer >= 1, got '0'"),
        ("max_id=x", "max_id: expected an integer >= 1, got 'x'"),
        ("min_id=99999999999999999999", "min_id: expected an integer >= 1"),
        ("min_id=5&max_id=2", "min_id: expected one that is <= max_id"),
        ("sort=zz", "sort: expected one of id, time, model, "),
        ("order=up", "order: expected asc or desc, got 'up'"),
        ("start=zz", "start: expected a moment in RFC 3339 such as 2026-01-31T12:00:00Z, got 'zz'"),
        ("end=2026-01-31", "end: expected a moment in RFC 3339"),
        ("end=2026-02-30T00:00:00Z", "end: expected a moment in RFC 3339"),
        ("start=2026-01-31T12:00:00Z&end=2026-01-31T11:00:00Z", "start: expected a moment that is not after end"),
        ("status=20", "status: expected a status such as 200, 4xx or !200, got '20'"),
        ("status=!!200", "status: expected a status such as 200, 4xx or !200"),
        ("ended=well", "ended: expected one of complete, client_left, "),
        ("min_duration=soon", "min_duration: expected a duration such as 500ms, 2s or 1m30s, got 'soon'"),
        ("format=xml", "format: expected json, csv or jsonl, got 'xml'"),
        ("format=csv&sort=time", "sort: expected id for the format csv, or none"),
        ("model=a&" * 201, "model: expected 200 values at most, got 201"),
        ("order=" + "x" * 1_000, "order: expected asc or desc, got 'xxx"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(query: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_query(query)
    assert caught.value.message.startswith(message)
    assert len(caught.value.message) < 300


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(timezone.utc))  # noqa: DTZ001


@given(MOMENTS, st.integers(-1439, 1439))
def test_moments_of_any_offset_are_read(moment: datetime, minutes: int) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    written = moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    found = moment_of(written)
    assert found is not None
    assert found == pytest.approx(moment.timestamp(), abs=1e-4)
    assert moment_of(text_of(moment.timestamp())) == pytest.approx(moment.timestamp(), abs=2e-3)


@given(st.text(max_size=40))
def test_any_text_is_a_moment_and_a_duration_or_none(text: str) -> None:
    assert moment_of(text) is None or "T" in text.upper()
    assert seconds_of(text) is None or text[0].isdigit()


def test_a_plus_that_was_not_encoded_comes_as_a_blank_and_is_understood() -> None:
    assert moment_of("2026-01-31T12:00:00 02:00") == moment_of("2026-01-31T10:00:00Z")


def test_a_timestamp_that_no_clock_has_is_shown_all_the_same() -> None:
    assert text_of(1e300) == text_of(0) == "1970-01-01T00:00:00.000Z"
