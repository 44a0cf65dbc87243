"""What errors tell the clients that get them: whether to ask again, when, and how long it really takes."""

from __future__ import annotations

import pytest

from llamaswap_lib.errors import BadGateway, HttpError, LoadFailed, ServiceUnavailable
from tools.error_reference import known_errors


@pytest.mark.parametrize("error", known_errors(), ids=lambda error: str(error.__name__))
def test_every_error_says_when_it_comes_and_never_asks_to_wait_for_more_than_two_seconds(
    error: type[HttpError],
) -> None:
    assert (error.__doc__ or "").strip()
    assert error.status in range(400, 600)
    assert error.should_retry in (True, False, None)
    for retry_in in (None, 0.01, 1.0, 1.2, 3.0, 60.0):
        told = HttpError.__init__  # every class is made the same way but for its message
        made = error.__new__(error)
        told(made, "why", retry_in=retry_in)
        assert int(made.headers.get("Retry-After", 0)) <= 2
        assert made.body()["error"].get("retry_in") == retry_in


def test_a_load_that_failed_is_not_to_be_asked_for_again_and_tells_the_true_time() -> None:
    error = LoadFailed("why", retry_in=32.00049)
    assert error.headers == {"x-should-retry": "false", "Retry-After": "2"}
    assert error.body()["error"]["retry_in"] == 32.0
    assert LoadFailed("why", retry_in=0.2).headers["Retry-After"] == "1"


def test_what_is_not_said_is_left_to_the_client() -> None:
    assert BadGateway("why").headers == {}
    assert "retry_in" not in BadGateway("why").body()["error"]


def test_headers_of_one_error_stand_beside_those_of_its_class() -> None:
    error = ServiceUnavailable("why", headers={"X-Odd": "1", "Retry-After": "2"})
    assert error.headers == {"x-should-retry": "true", "Retry-After": "2", "X-Odd": "1"}
