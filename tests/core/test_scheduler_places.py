"""The scheduler and the GPUs that are chosen: where a model starts, and that it stays there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    PutToSleep,
    Refuse,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WakeUp,
)
from llamaswap_lib.core.events import FellAsleep, ModelsChanged, PreloadRequested
from llamaswap_lib.core.eviction import Placement
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Movable, NeedSource
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.plan import make_plan
from llamaswap_lib.core.scheduler import Scheduler
from tests.core.story import Story

FIRST, SECOND = Placement(("g0",), "GPU 0"), Placement(("g1",), "GPU 1")


class Rig:
    """GPUs of 48 and 24 GB, and a story on them. Sizes in GB."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.devices = {"g0": Device(48 * GB, label="GPU 0"), "g1": Device(24 * GB, label="GPU 1")}
        self.movable = {
            model: Movable(("g0", "g1"), 0, size * GB, NeedSource.DECLARED) for model, size in sizes.items()
        }
        self.policy = MemoryPolicy(lambda: Memory(self.devices, {}, movable=self.movable), Manners())
        self.story = Story(max_wait=60.0, rules=self.policy.rules())
        self.runs = 0

    def load(self, model: str, placement: Placement) -> int:
        self.runs += 1
        ticket = 100 + self.runs
        assert self.story.arrive(ticket, model) == [StartProcess(self.runs, model, placement)]
        assert self.story.ready(self.runs) == [Admit(ticket, self.runs), OpenGate(self.runs)]
        return self.runs

    @property
    def gpus(self) -> dict[str, tuple[str, ...]]:
        return {view.model: view.gpus for view in self.story.scheduler.runs()}


def test_each_model_starts_where_it_fits_best_and_is_shown_there() -> None:
    rig = Rig({"A": 20, "B": 20, "C": 20})
    rig.load("A", SECOND)
    rig.load("B", FIRST)
    rig.load("C", FIRST)
    assert rig.gpus == {"A": ("g1",), "B": ("g0",), "C": ("g0",)}


def test_a_model_that_sleeps_is_woken_where_it_is_and_others_go_for_it_there() -> None:
    rig = Rig({"A": 20, "B": 30, "C": 22})
    rig.story = Story(max_wait=60.0, specs={"A": ModelSpec(can_sleep=True)}, rules=rig.policy.rules())
    a = rig.load("A", SECOND)
    assert rig.load("B", FIRST) == 2
    assert rig.story.arrive(2, "C") == [ShutIfIdle((a,))]
    assert rig.story.answer(ShutIfIdle((a,)), 0) == [PutToSleep(a, "to make room for C")]
    assert rig.story.tell(FellAsleep(a)) == [StartProcess(3, "C", SECOND)]
    rig.story.ready(3)
    assert rig.story.arrive(3, "A") == [ShutIfIdle((3,))]  # B would cost as much, and is elsewhere
    assert rig.story.answer(ShutIfIdle((3,)), 0) == [StopProcess(3, "swap", "to make room for A")]
    assert rig.story.exited(3) == [DropRun(3), WakeUp(a)]
    assert rig.gpus["A"] == ("g1",)


def asleep_on_the_second(others: int) -> Rig:
    """A sleeps on GPU 1, of which other programs now use 10 GB; of GPU 0 they use so many. Another request waits."""
    rig = Rig({"A": 20, "B": 22})
    rig.story = Story(max_wait=60.0, specs={"A": ModelSpec(can_sleep=True)}, rules=rig.policy.rules())
    a = rig.load("A", SECOND)
    rig.devices["g0"] = Device(48 * GB, others=40 * GB, label="GPU 0")
    assert rig.story.arrive(2, "B") == [ShutIfIdle((a,))]
    rig.story.answer(ShutIfIdle((a,)), 0)
    assert rig.story.tell(FellAsleep(a)) == [StartProcess(2, "B", SECOND)]
    rig.story.exited(2)
    rig.devices["g0"] = Device(48 * GB, others=others * GB, label="GPU 0")
    rig.devices["g1"] = Device(24 * GB, others=10 * GB, label="GPU 1")
    rig.story.now = 100.0
    assert rig.story.arrive(3, "A") == []
    return rig


def test_a_sleeper_without_room_where_it_is_is_stopped_and_started_where_there_is_room() -> None:
    rig = asleep_on_the_second(0)
    assert rig.story.wait_until(105.0) == [StopProcess(1, "swap", "there is no room for it where it sleeps")]
    assert rig.story.reasons == {3: "waiting for A to stop"}
    assert rig.story.exited(1) == [DropRun(1), StartProcess(3, "A", FIRST)]


def test_a_sleeper_for_which_there_is_room_nowhere_sleeps_on_and_who_waits_is_told_at_once() -> None:
    rig = asleep_on_the_second(40)
    [refusal] = rig.story.wait_until(105.0)
    assert isinstance(refusal, Refuse)
    assert (refusal.ticket, refusal.fault) == (3, Fault.SHORTAGE)
    assert rig.story.states == {"A": "sleeping"}


def test_a_model_does_not_start_where_one_in_front_is_to_be() -> None:
    rig = Rig({"A": 30, "B": 40, "C": 10})
    a = rig.load("A", FIRST)
    assert rig.story.arrive(2, "B") == [ShutIfIdle((a,))]
    assert rig.story.answer(ShutIfIdle((a,)), 0) == [StopProcess(a, "swap", "to make room for B")]
    assert rig.story.arrive(3, "C") == [StartProcess(2, "C", SECOND)]  # on GPU 0 less would be left
    assert rig.story.exited(a) == [DropRun(a), StartProcess(3, "B", FIRST)]


def test_what_fits_only_where_one_in_front_is_to_be_waits_for_it() -> None:
    rig = Rig({"A": 30, "B": 40, "C": 10, "D": 20})
    rig.load("D", SECOND)
    a = rig.load("A", FIRST)
    rig.story.arrive(2, "B")
    rig.story.answer(ShutIfIdle((a,)), 0)
    assert rig.story.arrive(3, "C") == []
    assert rig.story.exited(a)[1] == StartProcess(3, "B", FIRST)


def test_a_model_that_runs_is_not_moved_and_counts_where_it_is() -> None:
    rig = Rig({"A": 20, "B": 20, "C": 40})
    a = rig.load("A", SECOND)
    rig.load("B", FIRST)
    (question,) = rig.story.arrive(3, "C")
    assert question == ShutIfIdle((2,))
    rig.story.answer(question, 0)
    assert rig.story.exited(2)[1] == StartProcess(3, "C", FIRST)
    assert rig.gpus["A"] == ("g1",)
    assert a == 1


def test_one_that_is_preloaded_gets_its_gpus_too() -> None:
    rig = Rig({"A": 20})
    assert rig.story.tell(PreloadRequested(("A",)))[-1] == StartProcess(1, "A", SECOND)


def test_the_choice_goes_on_with_the_run_where_another_scheduler_takes_over() -> None:
    rig = Rig({"A": 20, "B": 20})
    rig.load("A", SECOND)
    state = rig.story.scheduler.hand_over()
    models = dict.fromkeys("AB", ModelSpec())
    rules = rig.policy.rules()
    rig.story.scheduler = Scheduler(models, rules.evict, 60.0, rules=rules)
    rig.story.tell(replace(ModelsChanged(models, frozenset(), rules, 60.0, {}), state=state))
    assert rig.gpus == {"A": ("g1",)}
    assert rig.story.arrive(2, "B") == [StartProcess(2, "B", FIRST)]


def test_a_plan_tells_who_would_go_wherever_it_would_be() -> None:
    rig = Rig({"A": 20, "B": 40, "C": 30})
    rig.load("A", SECOND)
    rig.load("B", FIRST)
    plan = make_plan(rig.story.scheduler.published(), "C", {}, 100.0)
    assert [(victim.model, victim.reason) for victim in plan.evicts or ()] == [("B", "holds 40.0 GB on GPU 0")]
    assert plan.why.room == "22.0 GB on GPU 0"


def test_what_is_named_and_not_there_is_refused() -> None:
    rig = Rig({})
    rig.movable["A"] = Movable((), 1, fault="gpus names 7, which is not there; there are 0 (g0), 1 (g1)")
    said = "model A: gpus names 7, which is not there; there are 0 (g0), 1 (g1)"
    assert rig.story.arrive(1, "A") == [Refuse(1, Fault.NEVER_FITS, said)]
