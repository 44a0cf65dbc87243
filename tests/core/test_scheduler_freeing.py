"""The scheduler and memory that a driver gives back late: a start waits until the device shows it, for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llamaswap_lib.core import effects
from llamaswap_lib.core.effects import DropRun, OpenGate, ShutIfIdle, StartProcess, WriteLog
from llamaswap_lib.core.events import PreloadRequested
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource, Reading
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.eviction.readings import is_shown
from tests.core.story import Story

CARD = Device(24 * GB, label="GPU 0")


class Card:
    """A GPU of 24 GB that is read when a test says so. Needs in GB, declared but where there is none."""

    def __init__(self, **needs: int | None) -> None:
        known = {model: size for model, size in needs.items() if size is not None}
        declared = {model: Need({"gpu": size * GB}, NeedSource.DECLARED) for model, size in known.items()}
        self.memory = Memory({"gpu": CARD}, declared)
        self.story = Story(max_wait=60.0, rules=MemoryPolicy(lambda: self.memory, Manners()).rules())

    def read(self, at: float, free: float) -> None:
        new = Reading(at, {"gpu": int(free * GB)})
        self.memory = replace(self.memory, readings=(*self.memory.readings[-1:], new))

    def look(self, at: float, free: float) -> list[effects.Effect]:
        """A reading, of which the scheduler is told."""
        self.read(at, free)
        return self.story.wait_until(at)

    def load(self, model: str, ticket: int, free: float) -> int:
        """It is loaded, and then so much is free."""
        run_id = self.story.load(model, ticket)
        for at in (-0.2, -0.1):
            self.read(at, free)
        return run_id


@pytest.fixture
def swap() -> Card:
    """A of 16 GB has gone for B of 12, and the card does not show it yet."""
    card = Card(A=16, B=12)
    a = card.load("A", 1, free=8)
    assert card.story.swap(a, 2, "B") == [DropRun(a)]
    return card


def test_a_start_waits_until_two_readings_show_the_room(swap: Card) -> None:
    assert swap.story.reasons[2] == "waiting for 12.0 GB on GPU 0 to become free, after the end of A"
    assert swap.look(0.1, free=8) == []
    assert swap.look(0.4, free=24) == []
    line = WriteLog("info", "B: waited 0.5 s for 12.0 GB on GPU 0 to become free after the end of A")
    assert swap.look(0.5, free=24) == [line, StartProcess(2, "B")]


def test_it_waits_while_the_readings_differ(swap: Card) -> None:
    for at, free in ((0.1, 13), (0.2, 16), (0.3, 20), (0.4, 23)):
        assert swap.look(at, free) == []
    assert swap.look(0.5, free=23.4)[-1] == StartProcess(2, "B")  # within 2 % of 24 GB


def test_it_waits_no_longer_than_five_seconds(swap: Card) -> None:
    assert swap.look(4.9, free=9) == []
    assert swap.story.scheduler.next_deadline() == 5.0
    said = "12.0 GB on GPU 0 did not become free within 5.0 s after the end of A; it is started all the same"
    assert swap.look(5.0, free=9) == [WriteLog("warn", f"B: {said}"), StartProcess(2, "B")]


def test_where_there_is_room_anyway_nobody_waits() -> None:
    card = Card(A=16, C=6)
    a = card.load("A", 1, free=8)
    card.story.exited(a)
    assert card.story.arrive(2, "C") == [StartProcess(2, "C")]


def test_nobody_waits_for_what_ended_long_ago(swap: Card) -> None:
    swap.story.abandon(2)
    swap.story.wait_until(6.0)
    assert swap.story.arrive(3, "B") == [StartProcess(2, "B")]


def test_a_device_that_nothing_reads_is_not_waited_for() -> None:
    card = Card(A=16, B=12)
    a = card.load("A", 1, free=8)
    card.memory = replace(card.memory, readings=(Reading(-0.1, {}),))
    assert card.story.swap(a, 2, "B")[-1] == StartProcess(2, "B")


def test_what_held_nothing_of_its_devices_is_not_waited_for() -> None:
    card = Card(A=16, B=12)
    ram = Device(64 * GB, label="RAM")
    needs = {"B": Need({"ram": 12 * GB}, NeedSource.DECLARED)}
    card.memory = replace(card.memory, devices={"gpu": CARD, "ram": ram}, needs={**card.memory.needs, **needs})
    a = card.load("A", 1, free=8)
    card.memory = replace(card.memory, readings=(Reading(-0.1, {"gpu": 8 * GB, "ram": GB}),))
    card.story.exited(a)
    assert card.story.arrive(2, "B") == [StartProcess(2, "B")]


def test_what_others_that_load_are_yet_to_take_is_not_counted_as_free() -> None:
    card = Card(A=8, B=8, C=10)
    a = card.load("A", 1, free=16)
    assert card.story.arrive(2, "B") == [StartProcess(2, "B")]
    card.story.exited(a)
    assert card.story.arrive(3, "C") == []
    for at in (0.1, 0.2):
        assert card.look(at, free=17) == []  # of which B takes 8
    card.look(0.3, free=24)
    assert card.look(0.4, free=24)[-1] == StartProcess(3, "C")


def test_one_of_unknown_need_waits_for_all_that_others_leave() -> None:
    card = Card(A=16, B=None)
    a = card.load("A", 1, free=8)
    assert card.story.swap(a, 2, "B") == [DropRun(a)]
    for at, free in ((0.1, 20), (0.2, 20), (0.3, 23.8)):
        assert card.look(at, free) == []
    assert card.look(0.4, free=23.8)[-1] == StartProcess(2, "B")


def test_who_waits_for_it_holds_its_place() -> None:
    card = Card(A=16, B=12, C=14)
    a = card.load("A", 1, free=8)
    card.story.swap(a, 2, "B")
    assert card.story.arrive(3, "C") == []
    assert card.story.reasons[3] == "after B"


def test_a_preload_waits_for_it_too() -> None:
    card = Card(A=16, B=12)
    a = card.load("A", 1, free=8)
    card.story.exited(a)
    assert card.story.tell(PreloadRequested(("B",))) == []
    assert card.story.scheduler.published().queue.freeing == ("B",)
    assert card.look(5.0, free=8)[-1] == StartProcess(2, "B")
    assert card.story.scheduler.published().queue.freeing == ()


def test_nobody_reads_closely_for_a_preload_while_others_are_served() -> None:
    card = Card(A=16, B=12, C=6)
    a = card.load("A", 1, free=8)
    card.story.exited(a)
    card.story.tell(PreloadRequested(("B",)))
    assert card.story.arrive(2, "C") == [StartProcess(2, "C")]
    assert card.story.scheduler.published().queue.freeing == ()
    card.story.now = 4.0
    assert card.story.ready(2)[-1] == OpenGate(2)
    assert card.story.scheduler.published().queue.freeing == ("B",)
    assert card.look(5.0, free=8)[-1] == StartProcess(3, "B")


def test_nobody_reads_closely_for_those_who_have_left(swap: Card) -> None:
    assert swap.story.scheduler.published().queue.freeing == ("B",)
    swap.story.abandon(2)
    assert swap.story.scheduler.published().queue.freeing == ()
    assert swap.story.scheduler.next_deadline() is None


def test_another_end_does_not_prolong_the_wait(swap: Card) -> None:
    swap.story.now = 3.0
    swap.memory = replace(swap.memory, needs={**swap.memory.needs, "C": Need({"gpu": GB}, NeedSource.DECLARED)})
    assert swap.story.arrive(3, "C") == [StartProcess(2, "C")]
    swap.story.now = 4.0
    swap.story.exited(2, "exited with code 1")
    assert swap.look(5.0, free=8)[-1] == StartProcess(3, "B")


def test_it_waits_anew_where_more_has_to_go() -> None:
    card = Card(A=10, B=12, C=10)
    a, c = card.load("A", 1, free=14), card.load("C", 2, free=4)
    card.story.inside = {c: (0, 5.0)}
    card.story.now = 6.0
    assert card.story.swap(a, 3, "B") == [DropRun(a)]
    card.memory = replace(card.memory, devices={"gpu": replace(CARD, others=4 * GB)})  # a game
    assert card.story.wait_until(7.0) == [ShutIfIdle((c,))]
    card.story.answer(ShutIfIdle((c,)), 0, since=5.0)
    card.story.now = 9.0
    card.story.exited(c)
    assert card.look(11.5, free=4) == []
    assert card.look(14.0, free=4)[-1] == StartProcess(3, "B")


def test_readings_from_before_the_end_do_not_count() -> None:
    card = Card(A=16, B=12)
    a = card.load("A", 1, free=24)  # of before it was loaded
    assert card.story.swap(a, 2, "B") == [DropRun(a)]
    assert card.look(0.1, free=24) == []
    assert card.look(0.2, free=24)[-1] == StartProcess(2, "B")


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [
        ((), 9, True),
        ((10,), 9, False),
        ((10, 10), 9, True),
        ((10, 8), 9, False),
        ((8, 10), 9, False),
        ((90, 92), 9, True),
        ((90, 93), 9, False),
    ],
)
def test_what_readings_show(free: tuple[int, ...], wanted: int, expected: bool) -> None:
    readings = tuple(Reading(1.0 + place, {"gpu": size}) for place, size in enumerate(free))
    memory = Memory({"gpu": Device(100)}, readings=readings)
    assert is_shown(memory, "gpu", wanted, 0.0) is expected
    assert is_shown(memory, "gpu", wanted, 5.0) is (not free)
