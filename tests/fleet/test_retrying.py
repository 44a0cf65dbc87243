"""When a request is sent to another box, and how often that may be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from llamaswap_lib.fleet.retrying import ALWAYS, WINDOW, RetryBudget, says_no

NOT_LOADED = {"retry-after": "2", "x-should-retry": "false"}


@pytest.mark.parametrize(
    ("status", "fields", "is_no"),
    [
        (503, {}, True),
        (429, {}, True),
        (502, NOT_LOADED, True),
        (507, NOT_LOADED, True),
        (502, {}, False),
        (502, {"retry-after": "2"}, False),
        (507, {"x-should-retry": "false"}, False),
        (200, NOT_LOADED, False),
        (500, NOT_LOADED, False),
        (504, NOT_LOADED, False),
        (404, {}, False),
        (508, {"x-should-retry": "false"}, False),
    ],
)
def test_what_says_that_another_box_may_be_asked(status: int, fields: Mapping[str, str], is_no: bool) -> None:
    assert says_no(status, fields) is is_no


def test_at_most_a_fifth_of_the_requests_are_retries_but_for_a_few() -> None:
    budget = RetryBudget()
    for number in range(100):
        budget.note_request(1.0 + number / 100)
    taken = 0
    while budget.has_room(2.0):
        budget.note_retry(2.0)
        taken += 1
    assert taken == 20
    assert not budget.has_room(2.0 + WINDOW - 0.01)
    few = RetryBudget()
    few.note_request(1.0)
    for _ in range(ALWAYS):
        assert few.has_room(1.0)
        few.note_retry(1.0)
    assert not few.has_room(1.0)
    assert few.has_room(1.0 + WINDOW)


def test_what_is_retried_in_any_case_counts() -> None:
    budget = RetryBudget()
    for _ in range(ALWAYS):
        budget.note_retry(1.0)
    assert not budget.has_room(1.0)
