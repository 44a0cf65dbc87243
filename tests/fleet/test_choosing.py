"""Which place a request goes to, by what is known of all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.fleet.choosing import Place, failover, hash_order, place_of, spread, with_use
from llamaswap_lib.fleet.states import LLAMASWAP, OTHER, UNKNOWN, ModelThere, PeerState

NOWHERE = Place("", is_up=True, is_ready=False, is_warm=False, requests=0, busy_models=0, has_room=True)


def cold(target: str, busy_models: int = 0, *, has_room: bool = True) -> Place:
    return NOWHERE._replace(target=target, busy_models=busy_models, has_room=has_room)


def ready(target: str, requests: int = 0) -> Place:
    return NOWHERE._replace(target=target, is_ready=True, is_warm=True, requests=requests)


def starting(target: str, requests: int = 0) -> Place:
    return ready(target, requests)._replace(is_ready=False)


def names(places: list[Place]) -> str:
    return " ".join(place.target for place in places)


def test_a_model_that_runs_nowhere_is_loaded_on_the_first_box_that_is_least_busy() -> None:
    assert names(spread([cold("a"), cold("b")], 8)) == "a b"
    assert names(spread([cold("a", 2), cold("b", 1), cold("c", 1)], 8)) == "b a c"
    many = [cold(str(number), 1) for number in range(8)]
    assert spread([*many, cold("idle")], 8)[0].target == "0", "only the first eight of the order are asked"
    assert names(spread([cold("full", 3, has_room=False)], 8)) == "full", "where else could it go"


def test_where_it_is_ready_comes_first_and_of_these_the_least_busy() -> None:
    assert names(spread([cold("a"), ready("b", 3), ready("c", 2), starting("d")], 8)) == "c b d a"
    assert names(spread([ready("a", 8), starting("b", 1), cold("c")], 8)) == "b a c"


def test_one_box_more_is_taken_when_all_have_as_many_as_they_should_and_it_has_room() -> None:
    busy = [ready("a", 9), ready("b", 8)]
    assert spread([*busy, cold("c", 2)], 8)[0].target == "c"
    assert spread([*busy, cold("c", 2, has_room=False)], 8)[0].target == "b"
    assert spread(busy, 8)[0].target == "b"


def test_what_is_in_use_of_a_box_is_found_out_only_where_a_model_is_to_be_loaded() -> None:
    asked: list[str] = []

    def measured(place: Place) -> Place:
        asked.append(place.target)
        return place._replace(busy_models=9 - int(place.target))

    boxes = [cold(f"{number}") for number in range(9)]
    assert spread([*boxes, ready("a", 7)], 8, measured=measured)[0].target == "a"
    assert asked == []
    assert names(spread([*boxes, ready("a", 8)], 8, measured=measured)) == "7 a 0 1 2 3 4 5 6 8"
    assert asked == [f"{number}" for number in range(8)]


def test_one_that_is_out_is_asked_last_and_when_all_are_out_all_are() -> None:
    out = [place._replace(is_up=False) for place in (ready("a"), cold("b"))]
    assert names(spread([*out, cold("c")], 8)) == "c a b"
    assert names(failover([*out, cold("c")])) == "c a b"
    assert {place.target for place in spread(out, 8)} == {"a", "b"}
    assert names(failover(out)) == "a b"


@given(
    st.lists(
        st.builds(Place, st.text("ab"), *[st.booleans()] * 3, st.integers(0, 9), st.integers(0, 9), st.booleans()),
        min_size=1,
        unique_by=lambda place: place.target,
    ),
    st.integers(1, 9),
)
def test_every_place_is_asked_once_and_none_that_is_out_before_one_that_is_up(
    places: list[Place], spillover: int
) -> None:
    for chosen in (spread(places, spillover), failover(places)):
        assert sorted(chosen) == sorted(places)
        assert chosen[0].is_up or not any(place.is_up for place in places)


def test_the_hash_order_is_the_same_everywhere_and_moves_little() -> None:
    boxes = [f"box{number}" for number in range(10)]
    models = [f"model{number}" for number in range(500)]
    orders = {model: hash_order(model, boxes) for model in models}
    assert orders == {model: hash_order(model, reversed(boxes)) for model in models}
    homes = [order[0] for order in orders.values()]
    assert all(30 < homes.count(box) < 75 for box in boxes), {box: homes.count(box) for box in boxes}
    for model in models:
        assert hash_order(model, boxes[:-1]) == [box for box in orders[model] if box != "box9"]


# -- places --

STATE = PeerState(
    True,
    kind=LLAMASWAP,
    models={"m": ModelThere("ready", 2, 1), "idle": ModelThere("ready"), "new": ModelThere("starting", 0, 1)},
    most_models=3,
)


def test_a_place_is_what_the_peer_has_told_and_what_is_ours() -> None:
    place = with_use(place_of("box/m", "m", STATE, {"m": 1}), STATE, {"m": 1})
    assert place == Place("box/m", True, True, True, requests=3, busy_models=2, has_room=True)
    assert place_of("t", "m", STATE, {"m": 5}).requests == 5
    assert place_of("t", "new", STATE, {})[2:4] == (False, True)
    assert place_of("t", "far", STATE, {})[2:4] == (False, False)
    assert place_of("t", "far", STATE, {"far": 1})[2:4] == (False, True), "a request of ours has it loaded"
    far, full = place_of("t", "far", STATE, {"far": 1}), STATE._replace(has_swapped=True)
    assert with_use(far, full, {"far": 1}).has_room is False, "three are busy, and no more fit"
    assert with_use(far, STATE, {"far": 1}).has_room is True, "more were never seen, but one may fit"
    assert with_use(far, STATE, {"far": 1, "m2": 1}).has_room is False


def test_of_a_peer_of_which_nothing_is_known_the_best_is_thought() -> None:
    assert place_of("t", "m", UNKNOWN, {}) == cold("t")
    assert place_of("t", "m", PeerState(False), {}).is_up is False


def test_a_server_that_does_not_swap_has_all_its_models_ready() -> None:
    assert place_of("t", "m", PeerState(True, kind=OTHER), {"m": 4}) == ready("t", 4)
