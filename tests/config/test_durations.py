"""Durations as a file writes them: each unit of Go counts, alone and with others."""

from __future__ import annotations

import pytest

from llamaswap_lib.config.load import load_text


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("1500ms", 1.5),
        ("90000000us", 90.0),
        ("90000000µs", 90.0),  # the micro sign
        ("90000000μs", 90.0),  # the Greek letter mu
        ("90000000000ns", 90.0),
        ("1h1m1s1ms1000us", 3661.002),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(written: str, seconds: float) -> None:
    config = load_text(f"models: {{m: {{cmd: 'server ${{PORT}}', ttl: {written}}}}}")
    assert config.models["m"].ttl == pytest.approx(seconds)
