"""The scheduler where models go though none asks for their room: who is asked, when, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Effect,
    OpenGate,
    PutToSleep,
    ShutIfIdle,
    StartProcess,
    StopProcess,
)
from llamaswap_lib.core.events import FellAsleep, TimePassed
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story


class Box:
    """A GPU of 24 GB that yields, of which 1 is kept free, and a story on it. Needs in GB; what runs holds them."""

    def __init__(self, needs: Mapping[str, int], **manners: Any) -> None:
        self.device = Device(24 * GB, GB, label="GPU 0", yields=True)
        self.grown: dict[str, dict[str, int]] = {}
        self.needs = {model: Need({"gpu": size * GB}, NeedSource.DECLARED) for model, size in needs.items()}
        self.held: dict[str, dict[str, int]] = {}
        self.policy = MemoryPolicy(self._memory, Manners(**manners))
        self.story = Story(max_wait=60.0, rules=self.policy.rules())

    def _memory(self) -> Memory:
        return Memory({"gpu": self.device}, self.needs, self.held, grown=self.grown)

    def use(self, others: int) -> list[Effect]:
        """Other programs take so much, and the scheduler is told that something has changed."""
        self.device = replace(self.device, others=others * GB)
        return self.story.tell(TimePassed())

    def deadline(self) -> float | None:
        return self.story.scheduler.next_deadline()


SAID = "to make room on GPU 0 for other programs, which use 10.0 GB"


def test_an_idle_model_goes_for_other_programs_and_comes_back_with_the_next_request() -> None:
    box = Box({"A": 10, "B": 10})
    a, b = box.story.load("A", 1), box.story.load("B", 2)
    assert box.use(3) == []
    (question,) = box.use(10)
    assert question == ShutIfIdle((a,))
    assert box.story.answer(ShutIfIdle((a,)), 0) == [StopProcess(a, "yield", SAID)]
    assert box.use(10) == []  # what it holds is about to be free
    assert box.story.exited(a) == [DropRun(a)]
    assert box.use(1) == []
    assert box.story.arrive(3, "A") == [StartProcess(3, "A")]
    assert box.story.states["B"] == "ready"
    assert b == 2


def test_what_sleeps_goes_for_other_programs_at_once() -> None:
    box = Box({"A": 10, "B": 20})
    box.held = {"A": {"gpu": 2 * GB}}
    box.story = Story(max_wait=60.0, specs={"A": ModelSpec(can_sleep=True)}, rules=box.policy.rules())
    a = box.story.load("A", 1)
    box.story.arrive(2, "B")
    assert box.story.answer(ShutIfIdle((a,)), 0) == [PutToSleep(a, "to make room for B")]
    assert box.story.tell(FellAsleep(a)) == [StartProcess(2, "B")]
    box.story.ready(2)
    assert box.use(2) == [StopProcess(a, "yield", SAID.replace("10.0", "2.0"))]
    assert box.story.states["B"] == "ready"


def test_the_gates_of_all_that_go_are_asked_at_once_and_one_that_is_busy_now_is_no_longer_among_them() -> None:
    box = Box({"A": 5, "B": 5, "C": 11})
    runs = [box.story.load(model, ticket) for ticket, model in enumerate("ABC", 1)]
    box.story.inside = {runs[2]: (1, 0.0)}
    question = ShutIfIdle((runs[0], runs[1]))
    assert box.use(10) == [question]
    assert box.story.answer(question, 1, 0) == [ShutIfIdle((runs[1],))]
    said = box.story.answer(ShutIfIdle((runs[1],)), 0)
    assert said[0] == StopProcess(runs[1], "yield", SAID)


def test_who_could_make_room_and_is_busy_is_watched_and_goes_once_it_is_idle() -> None:
    box = Box({"A": 20})
    a = box.story.load("A", 1)
    box.story.inside = {a: (1, 0.0)}
    assert box.use(10) == []
    assert box.story.watched == [a]
    box.story.inside = {a: (0, 5.0)}
    assert box.story.idle(a) == [ShutIfIdle((a,))]


def test_nobody_is_watched_while_there_is_room() -> None:
    box = Box({"A": 20})
    a = box.story.load("A", 1)
    box.story.inside = {a: (1, 0.0)}
    assert box.use(1) == []
    assert box.story.watched == []


def test_a_model_stays_for_its_time_and_is_looked_at_then() -> None:
    box = Box({"A": 20}, min_residency=10.0)
    a = box.story.load("A", 1)
    assert box.use(10) == []
    assert box.deadline() == 10.0
    assert box.story.wait_until(9.0) == []
    assert box.story.wait_until(10.0) == [ShutIfIdle((a,))]


def test_when_there_is_room_again_nobody_is_looked_at() -> None:
    box = Box({"A": 20}, min_residency=10.0)
    box.story.load("A", 1)
    box.use(10)
    assert box.use(0) == []
    assert box.deadline() is None


def test_idle_ones_go_for_one_that_has_grown() -> None:
    box = Box({"A": 12, "B": 8})
    a, b = box.story.load("A", 1), box.story.load("B", 2)
    box.story.inside = {a: (1, 0.0)}
    box.needs["A"] = Need({"gpu": 16 * GB}, NeedSource.DECLARED)
    assert box.use(0) == []  # it was let in so
    box.grown = {"A": {"gpu": 4 * GB}}
    assert box.use(0) == [ShutIfIdle((b,))]
    said = "to make room on GPU 0 for A, which has grown to 16.0 GB"
    assert box.story.answer(ShutIfIdle((b,)), 0) == [StopProcess(b, "growth", said)]


def test_one_that_was_sent_away_and_is_asked_for_at_once_waits_by_the_usual_rules() -> None:
    box = Box({"A": 12, "B": 8}, min_residency=10.0)
    a, b = box.story.load("A", 1), box.story.load("B", 2)
    box.story.wait_until(20.0)
    box.story.inside = {a: (1, 0.0)}
    box.needs["A"] = Need({"gpu": 16 * GB}, NeedSource.DECLARED)
    box.grown = {"A": {"gpu": 4 * GB}}
    box.use(0)
    box.story.answer(ShutIfIdle((b,)), 0)
    assert box.story.arrive(3, "B") == []
    assert box.story.exited(b) == [DropRun(b)]
    assert box.story.reasons[3] == "waiting for 1.0 GB on GPU 0, held by A: 1 request in progress"
    box.story.inside = {a: (0, 21.0)}
    question = ShutIfIdle((a,))
    assert box.story.idle(a) == [question]
    assert box.story.answer(question, 0) == [StopProcess(a, "swap", "to make room for B")]
    assert box.story.exited(a) == [DropRun(a), StartProcess(3, "B")]
    assert box.story.ready(3) == [Admit(3, 3), OpenGate(3)]


def test_one_that_is_waited_for_does_not_go_though_it_is_idle() -> None:
    class Named(GroupPolicy):
        def names(self, model: str) -> bool:
            return model in "AB"

    together = Named([Group("one", ("A",), exclusive=True), Group("two", ("B",), exclusive=False)])
    box = Box({"A": 10, "B": 10}, together=together)
    a, b = box.story.load("A", 1), 2
    assert box.story.arrive(2, "B")[0] == StartProcess(b, "B")
    box.story.ready(b)
    box.story.inside = {b: (1, 0.0)}
    box.story.arrive(3, "A")
    assert box.story.states == {"A": "ready", "B": "ready"}
    assert box.use(10) == []
    box.story.abandon(3)
    assert box.story.tell(TimePassed()) == [ShutIfIdle((a,))]
