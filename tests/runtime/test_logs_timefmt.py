"""Time stamps against what Go's time.Format gives for the same instants and zones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from llamaswap_lib.runtime.logs.logger import LAYOUTS, time_stamp

SetZone = Callable[[str], None]

# 2006-01-02 22:04:05.012340000 UTC
INSTANT = 1_136_239_445_012_340_000


@pytest.fixture
def set_zone() -> Iterator[SetZone]:
    """Sets this process's time zone, and puts the old one back."""
    before = os.environ.get("TZ")

    def set_to(zone: str) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    yield set_to
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def stamp(name: str, now_ns: int) -> str:
    render = time_stamp(name)
    assert render is not None
    return render(now_ns)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ansic", "Mon Jan  2 15:04:05 2006"),
        ("unixdate", "Mon Jan  2 15:04:05 MST 2006"),
        ("rubydate", "Mon Jan 02 15:04:05 -0700 2006"),
        ("rfc822", "02 Jan 06 15:04 MST"),
        ("rfc822z", "02 Jan 06 15:04 -0700"),
        ("rfc850", "Monday, 02-Jan-06 15:04:05 MST"),
        ("rfc1123", "Mon, 02 Jan 2006 15:04:05 MST"),
        ("rfc1123z", "Mon, 02 Jan 2006 15:04:05 -0700"),
        ("rfc3339", "2006-01-02T15:04:05-07:00"),
        ("rfc3339nano", "2006-01-02T15:04:05.01234-07:00"),
        ("kitchen", "3:04PM"),
        ("stamp", "Jan  2 15:04:05"),
        ("stampmilli", "Jan  2 15:04:05.012"),
        ("stampmicro", "Jan  2 15:04:05.012340"),
        ("stampnano", "Jan  2 15:04:05.012340000"),
    ],
)
def test_layouts_render_as_in_go(set_zone: SetZone, name: str, expected: str) -> None:
    set_zone("MST7")
    assert stamp(name, INSTANT) == expected
    assert stamp(name.upper(), INSTANT) == expected


def test_every_layout_is_in_the_table_above() -> None:
    assert len(LAYOUTS) == 15


@pytest.mark.parametrize(
    ("zone", "name", "expected"),
    [
        ("UTC0", "rfc3339", "2006-01-02T22:04:05Z"),
        ("UTC0", "rubydate", "Mon Jan 02 22:04:05 +0000 2006"),
        ("IST-5:30", "rfc3339", "2006-01-03T03:34:05+05:30"),
        ("IST-5:30", "rfc822z", "03 Jan 06 03:34 +0530"),
        ("NST3:30", "rfc3339", "2006-01-02T18:34:05-03:30"),
        ("UTC0", "kitchen", "10:04PM"),
        ("XXX-2", "kitchen", "12:04AM"),
        ("XXX10", "kitchen", "12:04PM"),
        ("XXX12", "kitchen", "10:04AM"),
    ],
)
def test_zones_and_half_hours(set_zone: SetZone, zone: str, name: str, expected: str) -> None:
    set_zone(zone)
    assert stamp(name, INSTANT) == expected


def test_nanoseconds_lose_trailing_zeros_and_a_bare_point_only_in_rfc3339nano(set_zone: SetZone) -> None:
    set_zone("UTC0")
    whole = INSTANT // 10**9 * 10**9
    assert stamp("rfc3339nano", whole) == "2006-01-02T22:04:05Z"
    assert stamp("rfc3339nano", whole + 1) == "2006-01-02T22:04:05.000000001Z"
    assert stamp("stampnano", whole) == "Jan  2 22:04:05.000000000"


def test_what_is_remembered_is_not_used_for_another_second(set_zone: SetZone) -> None:
    set_zone("UTC0")
    render = time_stamp("stampmilli")
    assert render is not None
    later = [render(INSTANT + offset_ms * 1_000_000) for offset_ms in (0, 900, 1000, 61_000, 0)]
    assert later == [
        "Jan  2 22:04:05.012",
        "Jan  2 22:04:05.912",
        "Jan  2 22:04:06.012",
        "Jan  2 22:05:06.012",
        "Jan  2 22:04:05.012",
    ]


@pytest.mark.parametrize("name", ["", "iso8601", "2006-01-02", "%Y"])
def test_unknown_names_are_no_stamp(name: str) -> None:
    assert time_stamp(name) is None
