"""What a benchmark's figures come to."""

from __future__ import annotations

import pytest

from llamaswap_lib.benchmark.figures import Level, Sample, Swap, quantile, reading


def level(parallel: int, tokens: int, each: float, requests: int = 4) -> Level:
    """Requests of one second together, which had so many tokens in all."""
    return Level(parallel, 1.0, tuple(Sample(0.1, 1.0, tokens // requests, 9, each) for _ in range(requests)))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 3), (0.95, 5), (0.2, 1), (0.0, 1), (1.0, 5)], ids=str)
def test_a_quantile_is_one_of_the_values(share: float, expected: int) -> None:
    assert quantile([5, 1, 3, 2, 4], share) == expected
    assert quantile([], share) is None


def test_a_level_leaves_out_what_failed() -> None:
    found = Level(
        2, 2.0, (Sample(0.2, 1.0, 10, None, 12.0), Sample(error="too many"), Sample(0.4, 2.0, 30, None, 20.0))
    )
    assert (found.failed, found.together, found.each) == (1, 20.0, 12.0)
    assert (found.first(0.5), found.first(0.95)) == (0.2, 0.4)
    nothing = Level(1, 1.0, (Sample(error="too many"),))
    assert (nothing.together, nothing.each, nothing.first(0.5)) == (None, None, None)


def test_the_reading_says_what_several_at_a_time_bring() -> None:
    assert reading([level(1, 100, 100), level(2, 200, 100), level(4, 400, 100), level(8, 404, 50)]) == (
        "4 at a time get 4.0 times as many tokens as 1; more than 4 bring nothing."
    )
    assert reading([level(1, 100, 100), level(4, 300, 75)]) == (
        "4 at a time get 3.0 times as many tokens as 1, and each answer is 1.3 times as slow."
    )
    assert (
        reading([level(1, 100, 100), level(4, 100, 25)]) == "Several at a time bring nothing: 4 share what 1 has alone."
    )
    assert reading([level(1, 100, 100)]) == ""
    assert reading([]) == ""


def test_a_swap_is_the_sum_of_what_is_known() -> None:
    assert Swap("a", "", 1.0, 2.0, 0.5).total == 3.5
    assert Swap("a", "b", None, None, 0.5).total == 0.5
    assert Swap("a", "", 1.0, 2.0, None).total is None
