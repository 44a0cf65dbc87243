"""Moments as RFC 3339 writes them."""

from __future__ import annotations

import pytest

from llamaswap_lib.wire.rfc3339 import moment_text, parse_moment

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", SECOND),
        ("2026-01-31T12:00:00Z", 1769860800 * SECOND),
        ("2026-01-31T13:30:00+01:30", 1769860800 * SECOND),
        ("2026-01-31T13:30:00 01:30", 1769860800 * SECOND),
        ("2026-01-31T04:00:00-08:00", 1769860800 * SECOND),
        ("2026-01-31 12:00:00.5Z", 1769860800 * SECOND + 500_000_000),
        ("2026-01-31T12:00:00.123456789Z", 1769860800 * SECOND + 123_456_789),
        ("2026-01-31T12:00:00.1234567899Z", 1769860800 * SECOND + 123_456_789),
        ("1969-12-31T23:59:59Z", -SECOND),
        ("2016-12-31T23:59:60Z", 1483228800 * SECOND),
    ],
)
def test_a_moment_is_read_exactly(text: str, nanoseconds: int) -> None:
    assert parse_moment(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "zz", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z"),
        *("2026-01-31T12:00Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+01"),
        *("٢٠٢٦-01-31T12:00:00Z", "2026-01-31T12:00:00Z\n", "0000-01-01T00:00:00Z", "1769860800"),
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a moment"):
        parse_moment(text)


@pytest.mark.parametrize("milliseconds", [0, 999, 1769860800123, 1769860800000])
def test_a_moment_that_was_written_is_read_as_the_same(milliseconds: int) -> None:
    assert parse_moment(moment_text(milliseconds)) == milliseconds * 10**6
    assert len(moment_text(milliseconds)) == len("2026-01-31T12:00:00.000Z")
