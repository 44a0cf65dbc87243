"""What looks and requests change in what is known of a peer."""

from __future__ import annotations

import json

import pytest

from llamaswap_lib.fleet.offers import Offer
from llamaswap_lib.fleet.states import (
    LLAMASWAP,
    OTHER,
    UNKNOWN,
    ModelThere,
    PeerState,
    after_failure,
    after_list,
    after_refusal,
    after_success,
    described,
    read,
)

UP = after_success(UNKNOWN, 10.0, LLAMASWAP, {"m": ModelThere("ready", 2, 1)})


@pytest.mark.parametrize("name", ["never looked at", "up", "out", "with a list", "with an empty list"])
def test_what_is_known_is_told_to_another_process(name: str) -> None:
    offers = (Offer("m", "", {"description": "\u00e9"}, 4096), Offer("other", "m", {}, 4096))
    state = {
        "never looked at": UNKNOWN,
        "up": UP,
        "out": failed(UP, 3),
        "with a list": after_list(UP, offers),
        "with an empty list": after_list(UP, ()),
    }[name]
    assert read(json.loads(json.dumps(described(state)))) == state


def failed(state: PeerState, times: int) -> PeerState:
    for number in range(times):
        state = after_failure(state, 20.0 + number, f"error {number}")
    return state


def test_a_peer_is_usable_until_looks_say_otherwise() -> None:
    assert (UNKNOWN.is_up, UNKNOWN.is_usable) == (None, True)
    assert (UP.is_up, UP.is_usable, UP.since, UP.pause) == (True, True, 10.0, 1.0)


def test_two_failures_in_a_row_and_it_is_out() -> None:
    once, twice = failed(UP, 1), failed(UP, 2)
    assert (once.is_up, once.since, once.models, once.last_error) == (True, 10.0, UP.models, "error 0")
    assert (twice.is_up, twice.since, dict(twice.models), twice.last_error) == (False, 21.0, {}, "error 1")
    again = failed(after_success(once, 30.0, LLAMASWAP, {}), 1)
    assert again.is_up, "the success in between counts"


def test_a_peer_that_was_never_seen_is_out_after_two_failures_as_well() -> None:
    assert [failed(UNKNOWN, times).is_up for times in (1, 2, 3)] == [None, False, False]


def test_looks_at_one_that_is_out_are_ever_rarer() -> None:
    assert [failed(UP, times).pause for times in range(1, 9)] == [1.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert failed(UP, 2000).pause == 15.0


def test_one_success_and_it_is_in_again() -> None:
    back = after_success(failed(UP, 7), 99.0, LLAMASWAP, {})
    assert (back.is_up, back.since, back.failures, back.pause) == (True, 99.0, 0, 1.0)
    assert back.last_error == "error 6"


def test_one_refused_connection_of_a_request_and_it_is_out() -> None:
    out = after_refusal(UP, 50.0, "refused")
    assert (out.is_up, out.since, out.last_error, dict(out.models)) == (False, 50.0, "refused", {})
    assert [out.pause, *(failed(out, times).pause for times in (1, 2, 3, 4, 5, 6))] == [1, 1, 1, 2, 4, 8, 15]
    assert after_refusal(out, 60.0, "more") == out, "the first one says since when"


def test_another_server_is_looked_at_less_often_while_it_is_well() -> None:
    other = after_success(UNKNOWN, 1.0, OTHER, {})
    assert [other.pause, failed(other, 1).pause, failed(other, 2).pause] == [10.0, 1.0, 1.0]


def test_how_many_models_ran_there_at_once_is_remembered() -> None:
    two = after_success(UP, 11.0, LLAMASWAP, {name: ModelThere("ready") for name in "ab"})
    assert [UP.most_models, two.most_models, after_success(two, 12.0, LLAMASWAP, {}).most_models] == [1, 2, 2]


def seen_one_after_another(*looks: str) -> PeerState:
    """After a look a second, each with a letter for a model; a small one is on its way out."""
    state = UNKNOWN
    for number, look in enumerate(looks):
        models = {name.upper(): ModelThere("stopping" if name.islower() else "ready") for name in look}
        state = after_success(state, float(number), LLAMASWAP, models)
    return state


@pytest.mark.parametrize(
    ("looks", "most", "is_full"),
    [
        (["", "A", "AB"], 2, False),
        (["A", "B"], 1, True),
        (["A", "a", "", "B"], 1, True),
        (["A", "", *[""] * 5, "B"], 1, False),
        (["AB", "Ab", "AC"], 2, True),
        (["A", "B", "BC"], 2, False),
        (["AB", "aB", "B"], 2, False),
        (["A", "aB"], 1, True),
    ],
)
def test_a_box_is_full_once_a_model_went_when_another_came(looks: list[str], most: int, is_full: bool) -> None:
    state = seen_one_after_another(*looks)
    assert (state.most_models, state.has_swapped) == (most, is_full)


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_an_endless_error_is_cut(length: int) -> None:
    assert len(after_failure(UP, 1.0, "x" * length).last_error) == 200
