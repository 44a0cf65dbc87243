"""Which models have grown: more than they were let in with, while less than the reserve is left."""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.core.eviction.devices import Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.growth import Growth, Standing


class Box:
    """A device of 24 with a reserve of 2, in small numbers."""

    def __init__(self, **needs: int) -> None:
        self.needs = {model: Need({"gpu": size}, NeedSource.MEASURED) for model, size in needs.items()}
        self.growth = Growth()
        self.others = 0

    def note(self, held: Mapping[str, int], loading: str = "", first_run: int = 1, asleep: str = "") -> dict[str, int]:
        """What each has grown by. Runs are numbered in the order of `held`."""
        memory = Memory(
            {"gpu": Device(24, 2, self.others)}, self.needs, {model: {"gpu": size} for model, size in held.items()}
        )
        numbered = enumerate(held, first_run)
        runs = {model: Standing(number, model not in loading, model in asleep) for number, model in numbered}
        return {model: sizes["gpu"] for model, sizes in self.growth.note(memory, runs).items()}


def test_what_is_more_than_it_was_let_in_with_counts_once_the_reserve_is_not_left() -> None:
    box = Box(A=10, B=8)
    assert box.note({"A": 10, "B": 8}) == {}
    assert box.note({"A": 12, "B": 8}) == {}  # 4 are left
    assert box.note({"A": 15, "B": 8}) == {"A": 3}
    box.needs["A"] = Need({"gpu": 15}, NeedSource.MEASURED)  # it is learned at once
    assert box.note({"A": 15, "B": 8}) == {"A": 3}


def test_what_sleeps_has_not_grown_whatever_it_holds_and_is_as_before_when_it_is_awake() -> None:
    box = Box(A=10, B=8)
    assert box.note({"A": 10, "B": 8}) == {}
    assert box.note({"A": 15, "B": 8}, asleep="A") == {}
    assert box.note({"A": 15, "B": 8}) == {"A": 5}


def test_what_has_room_again_is_as_it_should_be() -> None:
    box = Box(A=10, B=8)
    box.note({"A": 10, "B": 8})
    assert box.note({"A": 16, "B": 8}) == {"A": 6}
    assert box.note({"A": 16}) == {}
    box.others = 8
    assert box.note({"A": 16}) == {}  # others take the reserve now
    assert box.note({"A": 17}) == {"A": 1}


def test_within_its_need_a_model_does_not_grow() -> None:
    box = Box(A=16, B=8)
    assert box.note({"A": 4, "B": 8}) == {}
    assert box.note({"A": 16, "B": 8}) == {}


def test_one_of_unknown_need_is_let_in_with_what_it_holds_when_it_is_ready() -> None:
    box = Box(B=8)
    assert box.note({"A": 3, "B": 8}, loading="A") == {}
    assert box.note({"A": 16, "B": 8}) == {}
    box.needs["A"] = Need({"gpu": 16}, NeedSource.MEASURED)
    assert box.note({"A": 17, "B": 8}) == {"A": 1}


def test_the_next_run_is_let_in_with_what_was_learned() -> None:
    box = Box(A=10, B=8)
    box.note({"A": 10, "B": 8})
    assert box.note({"A": 16, "B": 8}) == {"A": 6}
    box.needs["A"] = Need({"gpu": 16}, NeedSource.MEASURED)
    assert box.note({"A": 16, "B": 8}, first_run=3) == {}
