"""Requests of one session go to one box: who agrees on it, who is moved, and that no box gets too many."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.fleet.choosing import Place, by_key, spread
from llamaswap_lib.fleet.states import LLAMASWAP, ModelThere, PeerState
from llamaswap_lib.fleet.strategies import Counts, Fleet, Target
from tests.fleet.test_choosing import cold, names, ready, starting

BOXES = [f"box{number}" for number in range(8)]
KEYS = [f"session {number}" for number in range(400)]
IDLE = dict.fromkeys(BOXES, 0)
LOADS = st.dictionaries(st.sampled_from(BOXES), st.integers(0, 40), min_size=1)


def most(requests: dict[str, int], few: int = 0) -> int:
    """How many a place may have when one more has come."""
    return max(few, math.ceil(1.25 * (sum(requests.values()) + 1) / len(requests)))


@given(st.text(), LOADS, st.integers(0, 5))
def test_no_place_gets_more_than_a_quarter_above_its_share(key: str, requests: dict[str, int], few: int) -> None:
    first = by_key(key, requests, few)[0]
    assert requests[first] + 1 <= most(requests, few)


@given(st.text(), LOADS, st.integers(0, 5))
def test_the_first_below_its_bound_gets_it_and_all_are_named(key: str, requests: dict[str, int], few: int) -> None:
    order = by_key(key, dict.fromkeys(requests, 0))
    below = [box for box in order if requests[box] < most(requests, few)]
    assert by_key(key, requests, few) == [*below, *(box for box in order if box not in below)]


@given(st.lists(st.tuples(st.sampled_from(KEYS[:9]), st.integers(0, 99)), max_size=200))
def test_the_bound_holds_whatever_comes_and_ends(events: list[tuple[str, int]]) -> None:
    inside: list[str] = []
    for key, number in events:
        if number < 40 and inside:
            inside.pop(number % len(inside))
            continue
        requests = {box: Counter(inside)[box] for box in BOXES[:4]}
        inside.append(by_key(key, requests)[0])
        assert Counter(inside)[inside[-1]] <= most(requests)


@given(st.permutations(BOXES), st.sampled_from(KEYS), st.integers(0, 30), st.integers(0, 30))
def test_fronts_with_other_loads_and_another_order_of_boxes_agree(
    boxes: list[str], key: str, one: int, other: int
) -> None:
    """As long as the box is not too busy for either."""
    assert by_key(key, dict.fromkeys(boxes, one))[0] == by_key(key, dict.fromkeys(BOXES, other))[0]


def test_sessions_are_shared_out_evenly() -> None:
    homes = Counter(by_key(key, IDLE)[0] for key in KEYS)
    assert all(25 < homes[box] < 80 for box in BOXES), homes


def test_a_box_that_goes_moves_what_it_had_and_gets_it_back() -> None:
    fewer = {box: 0 for box in BOXES if box != "box3"}
    for key in KEYS:
        before = by_key(key, IDLE)
        assert by_key(key, fewer)[0] == (before[1] if before[0] == "box3" else before[0])


# -- among places --

HOME, NEXT, OTHER = by_key("s", {"a": 0, "b": 0, "c": 0})


def chosen(*places: Place, spillover: int = 8, key: str = "s") -> str:
    return spread(places, spillover, key)[0].target


def test_its_place_gets_it_and_not_the_least_busy_one() -> None:
    assert chosen(ready(HOME, 3), ready(NEXT, 3), ready(OTHER, 2)) == HOME
    assert chosen(ready(HOME, 3), ready(NEXT, 3), ready(OTHER, 2), key="") == OTHER
    assert chosen(ready(HOME, 8), ready(NEXT, 7), ready(OTHER, 7)) == HOME, "a quarter above its share at most"


def test_beyond_its_bound_the_next_place_of_its_order_gets_it() -> None:
    assert chosen(ready(HOME, 4), ready(NEXT, 2), ready(OTHER, 1)) == NEXT
    assert names(spread([ready(HOME, 5), ready(NEXT, 0), ready(OTHER, 0)], 8, "s")) == f"{NEXT} {OTHER} {HOME}"


def test_a_few_requests_that_may_be_over_by_now_move_no_session() -> None:
    assert chosen(ready(HOME, 3), ready(NEXT), ready(OTHER)) == HOME, "half of the eight that it may have"
    assert chosen(ready(HOME, 4), ready(NEXT), ready(OTHER)) == NEXT
    assert chosen(ready(HOME, 1), ready(NEXT), ready(OTHER), spillover=2) == NEXT


def test_where_the_model_is_not_ready_nothing_goes_for_that_reason() -> None:
    assert chosen(cold(HOME), ready(NEXT), ready(OTHER)) == NEXT
    assert chosen(starting(HOME), ready(NEXT, 5), ready(OTHER, 5)) == NEXT
    assert chosen(ready(HOME)._replace(is_up=False), ready(NEXT), ready(OTHER)) == NEXT
    assert names(spread([cold("x"), cold("y")], 8, "s")) == "x y"


def test_one_box_more_is_taken_as_without_sessions() -> None:
    busy = [ready(HOME, 8), ready(NEXT, 8)]
    assert chosen(*busy, cold(OTHER)) == OTHER
    assert chosen(*busy, starting(OTHER, 2)) == OTHER
    assert chosen(*busy, cold(OTHER, has_room=False)) == HOME


STATES = st.sampled_from([(True, True), (False, True), (False, False)])  # ready, starting, cold
PLACES = st.builds(
    lambda target, state, *rest: Place(target, rest[0], *state, *rest[1:]),
    *(st.text("abc"), STATES, st.booleans(), st.integers(0, 9), st.integers(0, 9), st.booleans()),
)


@given(st.lists(PLACES, min_size=1, unique_by=lambda place: place.target), st.integers(1, 9))
def test_a_key_only_chooses_among_those_that_are_as_good(places: list[Place], spillover: int) -> None:
    plain, kept = spread(places, spillover), spread(places, spillover, "s")
    assert sorted(kept) == sorted(places)
    assert kept[0] == plain[0] or (kept[0].is_ready and plain[0].is_ready)
    assert kept[0].is_up == plain[0].is_up


class Front:
    """One that knows nothing of others: the requests that it has sent stay."""

    def __init__(self, sent: int) -> None:
        targets = [Target(f"{box}/m", box, "m") for box in BOXES]
        self._fleet = Fleet("m", targets, Counts(), "spread", 8)
        for _ in range(sent):
            self._fleet.begin({}, PEERS)

    def home(self, key: str, peers: dict[str, PeerState]) -> str:
        """Where a request with the key goes."""
        target = self._fleet.begin({}, peers, key)[0]
        self._fleet.free(target)
        return target


PEERS = {box: PeerState(True, kind=LLAMASWAP, models={"m": ModelThere("ready")}) for box in BOXES}


def test_fronts_send_a_session_to_the_same_box_whatever_else_they_have_sent() -> None:
    fronts = Front(0), Front(2 * len(BOXES)), Front(5 * len(BOXES))
    for key in KEYS:
        assert len({front.home(key, PEERS) for front in fronts}) == 1


def test_when_a_box_is_out_only_its_own_sessions_move() -> None:
    front, gone = Front(0), PEERS | {"box3": PeerState(False, kind=LLAMASWAP)}
    moved = [key for key in KEYS if front.home(key, gone) != front.home(key, PEERS)]
    assert moved == [key for key in KEYS if front.home(key, PEERS) == "box3/m"]
    assert len({front.home(key, gone) for key in moved}) > 4, "to all others"
