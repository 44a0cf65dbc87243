"""How figures are written for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.client import words


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (1024, "1.0 KB"), (10_240, "10 KB"),
        (999.6 * 1024, "1.0 MB"), (812 << 20, "812 MB"), (9.96 * (1 << 30), "10 GB"), (4.2 * (1 << 30), "4.2 GB"),
        (1 << 50, "1024 TB"),
    ],
)  # fmt: skip
def test_sizes(count: float | None, written: str) -> None:
    assert words.size(count) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "-"), (0, "0.0 s"), (0.84, "0.8 s"), (9.96, "10 s"), (59.4, "59 s"), (59.7, "1 min"), (170, "3 min"),
        (3599, "1 h"), (7500, "2 h 5 min"), (86_399, "1 d"), (4 * 86_400, "4 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, written: str) -> None:
    assert words.duration(seconds) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "-"),
        (7, "7"),
        (7.0, "7"),
        (1.234, "1.23"),
        (9.999, "10.0"),
        (12.44, "12.4"),
        (99.96, "100"),
        (1234, "1,234"),
    ],
)
def test_numbers(value: float | None, written: str) -> None:
    assert words.number(value) == written


def test_things_that_are_counted() -> None:
    assert words.counted(1, "model") == "1 model"
    assert words.counted(1200, "model") == "1,200 models"
    assert words.counted(2, "entry", "entries") == "2 entries"


@given(st.floats(0, 1e15))
def test_no_size_or_number_is_longer_than_its_column_expects(count: float) -> None:
    assert len(words.size(count).split()[0]) <= 4
    assert len(words.duration(count).split()[0]) <= 11
