"""The scheduler of a process that goes on with the runs of another one, before it has read how much memory is free."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llamaswap_lib.core.effects import Effect, Fault, OpenGate, Refuse, ShutIfIdle, StartProcess, WriteLog
from llamaswap_lib.core.events import ModelsChanged, PreloadRequested
from llamaswap_lib.core.eviction import Placement
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Movable, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.scheduler import Scheduler
from tests.core.story import Story

SIZES = {"A": 16, "B": 12, "C": 2}


class Heir:
    """A of 16 GB and C of 2 run on a GPU of 24, and are taken over; B of 12 is waited for."""

    def __init__(self) -> None:
        devices = {"gpu": Device(24 * GB, label="GPU 0")}
        moves = {model: Movable(("gpu",), 0, size * GB, NeedSource.DECLARED) for model, size in SIZES.items()}
        needs = {model: one.need_on(("gpu",), devices) for model, one in moves.items()}
        self.read = Memory(devices, needs, movable=moves)
        self.memory = self.read
        self.models = dict.fromkeys("ABC", ModelSpec())
        self.story = self.begin()
        for ticket, model in enumerate("AC", 1):
            self.story.arrive(ticket, model)
            self.story.ready(ticket)
        self.story.inside = {1: (1, 0.0), 2: (0, 0.0)}
        self.story.arrive(3, "B")

    def begin(self) -> Story:
        policy = MemoryPolicy(lambda: self.memory, Manners())
        story = Story()
        self.rules = policy.rules()
        story.scheduler = Scheduler(self.models, self.rules.evict, 60.0, rules=self.rules)
        return story

    def take_over(self) -> list[Effect]:
        state, inside = self.story.scheduler.hand_over(), self.story.inside
        self.memory = Memory(is_read=False)
        self.story = self.begin()
        self.story.inside = inside
        return self.story.tell(ModelsChanged(self.models, frozenset(), self.rules, 60.0, {}, state=state))

    def look(self) -> list[Effect]:
        self.memory = self.read
        return self.story.wait_until(self.story.now)


@pytest.fixture
def heir() -> Heir:
    return Heir()


def test_nobody_goes_before_the_memory_was_read(heir: Heir) -> None:
    heir.story.inside = {1: (0, 0.0), 2: (0, 0.0)}
    assert heir.take_over() == [OpenGate(1), OpenGate(2)]
    assert heir.look() == [ShutIfIdle((1,))]  # A alone


def test_nobody_starts_before_the_gpus_are_known(heir: Heir) -> None:
    heir.read = replace(heir.read, devices={"gpu": Device(40 * GB, label="GPU 0")})
    assert heir.take_over() == [OpenGate(1), OpenGate(2)]
    assert heir.look() == [StartProcess(3, "B", Placement(("gpu",), "GPU 0"))]


def test_who_waits_is_told_if_it_is_never_read(heir: Heir) -> None:
    heir.take_over()
    said = "model B: how much memory is free was not read yet"
    assert heir.story.wait_until(5.0) == [Refuse(3, Fault.SHORTAGE, said)]


def test_a_preload_waits_for_it(heir: Heir) -> None:
    heir.take_over()
    heir.story.abandon(3)
    assert heir.story.tell(PreloadRequested(("B",))) == []
    assert heir.look() == [WriteLog("warn", "B: not preloaded, it cannot run together with A")]
