"""The scheduler and models whose servers can sleep: who sleeps, who is woken, and who is stopped after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Effect,
    Fault,
    OpenGate,
    PutToSleep,
    Refuse,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    Unloaded,
    WakeUp,
    WriteLog,
)
from llamaswap_lib.core.events import (
    FellAsleep,
    LoadTimedOut,
    ModelsChanged,
    ProcessReady,
    ShutdownRequested,
    SleepFailed,
    UnloadRequested,
    WakeFailed,
)
from llamaswap_lib.core.eviction import Rules, RunningModel
from llamaswap_lib.core.eviction.devices import GB, Device, Memory, Need, NeedSource, Reading
from llamaswap_lib.core.eviction.manners import Manners
from llamaswap_lib.core.eviction.memory import MemoryPolicy
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.plan import make_plan
from llamaswap_lib.core.scheduler import Scheduler
from tests.core.story import Story, one_place

CAN_SLEEP = ModelSpec(can_sleep=True)
A, B = 1, 2  # run ids


def phases(story: Story) -> dict[str, tuple[str, str]]:
    return {run.model: (run.state, run.phase) for run in story.scheduler.runs()}


def put_to_sleep(story: Story, run_id: int, ticket: int, model: str) -> None:
    """`model` is asked for, and the idle run falls asleep for it."""
    question = ShutIfIdle((run_id,))
    assert story.arrive(ticket, model) == [question]
    assert story.answer(question, 0) == [PutToSleep(run_id, f"to make room for {model}")]


@pytest.fixture
def story() -> Story:
    """One model at a time. A, which can sleep, does; B runs."""
    story = Story(specs={"A": CAN_SLEEP})
    story.load("A", 1)
    put_to_sleep(story, A, 2, "B")
    assert story.tell(FellAsleep(A)) == [StartProcess(B, "B")]
    assert story.ready(B) == [Admit(2, B), OpenGate(B)]
    return story


def test_a_model_that_can_sleep_does_in_place_of_a_stop() -> None:
    story = Story(specs={"A": CAN_SLEEP})
    story.load("A", 1)
    put_to_sleep(story, A, 2, "B")
    assert phases(story) == {"A": ("stopping", "sleeping")}
    assert story.reasons[2] == "waiting for A to fall asleep"
    assert [(swap.evicted, swap.sleepers) for swap in story.swaps] == [(("A",), ("A",))]
    assert story.tell(FellAsleep(A)) == [StartProcess(B, "B")]
    assert phases(story) == {"A": ("stopped", "sleeping"), "B": ("starting", "")}


def test_who_waits_for_one_that_stops_and_one_that_falls_asleep_waits_for_both_to_stop() -> None:
    story = Story(specs={"A": CAN_SLEEP}, rules=Rules(lambda target, running: set(running) if target == "C" else ()))
    story.load("A", 1)
    story.load("B", 2)
    question = ShutIfIdle((A, B))
    assert story.arrive(3, "C") == [question]
    story.answer(question, 0, 0)
    assert story.reasons[3] == "waiting for A, B to stop"
    story.exited(B)
    assert story.reasons[3] == "waiting for A to fall asleep"


def test_it_is_woken_when_it_is_asked_for_and_that_is_a_load(story: Story) -> None:
    question = ShutIfIdle((B,))
    assert story.arrive(3, "A") == [question]
    assert story.launch_checks == ["B"]  # nothing is started for A
    assert story.answer(question, 0) == [StopProcess(B, "swap", "to make room for A")]
    assert story.exited(B) == [DropRun(B), WakeUp(A)]
    assert phases(story) == {"A": ("starting", "waking")}
    assert story.reasons[3] == "loading"
    assert story.ready(A) == [Admit(3, A), OpenGate(A)]
    assert phases(story) == {"A": ("ready", "")}


def test_how_long_a_wake_takes_is_told_by_those_before(story: Story) -> None:
    story.now = 10.0
    story.swap(B, 3, "A")
    assert [view.estimate for view in story.scheduler.snapshot().queue] == [None]  # it was never woken
    story.now = 14.0
    story.ready(A)
    put_to_sleep(story, A, 4, "B")
    story.tell(FellAsleep(A))
    story.ready(3)
    story.swap(3, 5, "A")
    story.wait_until(15.0)
    assert [view.estimate for view in story.scheduler.snapshot().queue] == [3.0]


def test_a_plan_counts_with_a_wake_for_one_that_would_sleep() -> None:
    seen: list[Mapping[str, RunningModel]] = []

    def still(views: Mapping[str, RunningModel]) -> Rules:
        seen.append(views)
        return Rules(one_place)

    story = Story(specs={"A": CAN_SLEEP}, rules=Rules(one_place, still=still))
    story.arrive(1, "A")
    story.now = 8.0  # its load takes so long
    story.ready(A)
    put_to_sleep(story, A, 2, "B")
    story.tell(FellAsleep(A))
    story.ready(B)
    story.swap(B, 3, "A")
    story.now = 9.0  # and its wake one second
    story.ready(A)
    make_plan(story.scheduler.published(), "B", {}, story.now)
    assert seen[-1]["A"].load_seconds == 1.0


def test_one_that_does_not_fall_asleep_is_stopped() -> None:
    story = Story(specs={"A": CAN_SLEEP})
    story.load("A", 1)
    put_to_sleep(story, A, 2, "B")
    assert story.tell(SleepFailed(A, "it answered 404")) == [
        WriteLog("warn", "A: could not be put to sleep: it answered 404"),
        StopProcess(A, "swap", "it did not fall asleep"),
    ]
    assert story.exited(A) == [DropRun(A), StartProcess(B, "B")]


@pytest.mark.parametrize(
    ("failure", "said", "why"),
    [
        (WakeFailed(A, "it answered 500"), "it did not wake: it answered 500", "it did not wake"),
        (LoadTimedOut(A, "not ready after 9 s"), "not ready after 9 s", "it did not become ready in time"),
    ],
)
def test_one_that_does_not_wake_is_a_load_that_failed_and_is_stopped(
    story: Story, failure: WakeFailed | LoadTimedOut, said: str, why: str
) -> None:
    story.swap(B, 3, "A")
    assert story.tell(failure) == [
        WriteLog("error", f"A: could not be loaded: {said}; not tried again for 1 s"),
        Refuse(3, Fault.LOAD_FAILED, f"model A could not be loaded: {said}", 1.0),
        StopProcess(A, "load timeout", why),
    ]
    assert story.exited(A) == [DropRun(A)]
    story.now += 1.0
    assert story.arrive(4, "A") == [StartProcess(3, "A")]


def test_the_end_of_one_that_wakes_is_a_load_that_failed(story: Story) -> None:
    story.swap(B, 3, "A")
    assert Refuse(3, Fault.LOAD_FAILED, "model A could not be loaded: killed", 1.0) in story.exited(A, "killed")


def test_the_end_of_one_that_sleeps_fails_nobody(story: Story) -> None:
    said = [WriteLog("warn", "A: killed while it was sleeping")]
    assert [each for each in story.exited(A, "killed") if each != DropRun(A)] == said
    assert story.states == {"B": "ready"}


@pytest.mark.parametrize("word", ["falling asleep", "sleeping", "waking"])
def test_an_unload_and_the_end_of_the_server_stop_it_at_once(word: str) -> None:
    for event in (UnloadRequested(9, ("A",)), ShutdownRequested(9, 30.0)):
        story = Story(specs={"A": CAN_SLEEP})
        story.load("A", 1)
        put_to_sleep(story, A, 2, "B")
        story.abandon(2)
        if word != "falling asleep":
            story.tell(FellAsleep(A))
        if word == "waking":
            assert story.arrive(3, "A") == [WakeUp(A)]
            story.abandon(3)
        assert story.states == {"A": word}
        assert StopProcess(A, "unload", f"unloaded while it was {word}") in story.tell(event)
        assert story.exited(A) == [DropRun(A), Unloaded(9)]


def test_the_ttl_goes_on_while_it_sleeps() -> None:
    story = Story(specs={"A": replace(CAN_SLEEP, ttl=10.0)})
    story.load("A", 1)
    story.now = 4.0
    question = ShutIfIdle((A,))
    assert story.arrive(2, "B") == [question]
    assert story.answer(question, 0, since=3.0) == [PutToSleep(A, "to make room for B")]
    story.tell(FellAsleep(A))
    assert story.scheduler.next_deadline() == 13.0
    assert story.wait_until(12.9) == []
    assert story.wait_until(13.0) == [StopProcess(A, "ttl", "its ttl is over, and it sleeps")]


def test_a_ttl_stops_a_model_that_is_awake_and_puts_it_nowhere() -> None:
    story = Story(specs={"A": replace(CAN_SLEEP, ttl=10.0)})
    story.load("A", 1)
    question = story.wait_until(10.0)
    assert question == [ShutIfIdle((A,), 10.0)]
    assert story.answer(ShutIfIdle((A,), 10.0), 0) == [StopProcess(A, "ttl", "its ttl is over")]


@pytest.mark.parametrize("replaced", [frozenset({"A"}), frozenset[str]()])
def test_a_change_of_its_configuration_stops_it_and_another_change_does_not(
    story: Story, replaced: frozenset[str]
) -> None:
    models = {"A": CAN_SLEEP, "B": ModelSpec()}
    effects = story.tell(ModelsChanged(models, replaced, Rules(one_place), 0.0, {}))
    stop = StopProcess(A, "reload", "the configuration has changed")
    assert (stop in effects) is bool(replaced)


@pytest.mark.parametrize("word", ["falling asleep", "sleeping", "waking"])
def test_another_process_goes_on_with_it(word: str) -> None:
    story = Story(specs={"A": CAN_SLEEP})
    story.load("A", 1)
    put_to_sleep(story, A, 2, "B")
    story.abandon(2)
    if word != "falling asleep":
        story.tell(FellAsleep(A))
    if word == "waking":
        story.arrive(3, "A")
    change = ModelsChanged({"A": CAN_SLEEP}, frozenset(), Rules(one_place), 0.0, {}, state=story.scheduler.hand_over())
    other = Scheduler({"A": CAN_SLEEP}, one_place, 0.0)
    orders: list[Effect] = other.handle(change, 1.0)
    told = {"falling asleep": [PutToSleep(A, "as it was told before")], "sleeping": [], "waking": [WakeUp(A)]}
    assert orders == told[word]
    if word == "waking":
        assert other.handle(ProcessReady(A), 2.0) == [Admit(3, A), OpenGate(A)]


# -- by memory --


class Card:
    """A GPU of 24 GB, of which A needs 16 and B and C what a test says; A can sleep. `held` in GB, as it is read."""

    def __init__(self, **needs: int) -> None:
        declared = {model: Need({"gpu": size * GB}, NeedSource.DECLARED) for model, size in {"A": 16, **needs}.items()}
        self.memory = Memory({"gpu": Device(24 * GB, label="GPU 0")}, declared)
        policy = MemoryPolicy(lambda: self.memory, Manners())
        self.story = Story(max_wait=60.0, specs={"A": CAN_SLEEP}, rules=policy.rules())

    def read(self, at: float, **held: float) -> list[Effect]:
        """Two readings alike, of which the scheduler is told."""
        free = 24 - sum(held.values())
        readings = tuple(Reading(moment, {"gpu": int(free * GB)}) for moment in (at - 0.1, at))
        sizes = {model: {"gpu": int(size * GB)} for model, size in held.items()}
        self.memory = replace(self.memory, readings=readings, held=sizes)
        return self.story.wait_until(at)

    def sleep(self) -> None:
        """A makes room for B, and sleeps."""
        self.story.load("A", 1)
        self.read(0.5, A=16)
        put_to_sleep(self.story, A, 2, "B")


def test_what_a_sleeper_holds_is_judged_by_what_is_read_once_it_sleeps() -> None:
    card = Card(B=22)
    card.sleep()
    assert card.story.tell(FellAsleep(A)) == []  # the last reading is of before
    assert card.story.reasons[2] == "waiting for 22.0 GB on GPU 0 to become free, after the end of A"
    assert card.read(1.0, A=1)[-1] == StartProcess(B, "B")


def test_a_sleeper_that_holds_what_another_one_needs_is_stopped() -> None:
    card = Card(B=22)
    card.sleep()
    card.story.tell(FellAsleep(A))
    assert card.read(1.0, A=3) == [StopProcess(A, "swap", "it sleeps, and holds memory that B needs")]
    assert card.story.reasons[2].endswith("held by A: stopping") or card.story.reasons[2] == "waiting for A to stop"
    card.story.exited(A)
    assert card.read(2.0)[-1] == StartProcess(B, "B")


def test_a_sleeper_that_holds_nothing_that_is_needed_sleeps_on() -> None:
    card = Card(B=18)
    card.sleep()
    card.story.tell(FellAsleep(A))
    assert card.read(1.0, A=3)[-1] == StartProcess(B, "B")
    assert card.story.states["A"] == "sleeping"


def test_as_few_sleepers_as_will_do_are_stopped() -> None:
    card = Card(B=18, C=23)
    card.story = Story(
        max_wait=60.0,
        specs={"A": CAN_SLEEP, "B": CAN_SLEEP},
        rules=MemoryPolicy(lambda: card.memory, Manners()).rules(),
    )
    card.sleep()
    card.story.tell(FellAsleep(A))
    card.read(1.0, A=0.5)
    card.story.ready(B)
    card.read(1.5, A=0.5, B=18)
    put_to_sleep(card.story, B, 3, "C")
    card.story.tell(FellAsleep(B))
    assert card.read(2.0, A=0.5, B=1.5) == [StopProcess(B, "swap", "it sleeps, and holds memory that C needs")]


def test_a_model_that_is_woken_counts_with_what_it_needs() -> None:
    card = Card(B=12, C=6)
    card.sleep()
    card.story.tell(FellAsleep(A))
    card.read(1.0, A=1)
    card.story.ready(B)
    card.read(30.0, A=1, B=12)
    assert card.story.swap(B, 3, "A") == [DropRun(B)]
    assert card.read(31.0, A=1)[-1] == WakeUp(A)
    assert card.story.arrive(4, "C") == [StartProcess(3, "C")]
    assert card.story.arrive(5, "D") == []  # of unknown need: it waits for both
    card.read(32.0, A=4, C=6)
    assert card.story.states == {"A": "waking", "C": "starting"}


def test_a_model_in_front_that_is_to_be_woken_keeps_its_room() -> None:
    """A waits to be woken, with a place; C, which would fit beside what A holds asleep, does not take that room."""
    card = Card(B=20, C=10)
    card.sleep()
    card.story.tell(FellAsleep(A))
    card.read(1.0, A=1)
    card.story.ready(B)
    card.read(30.0, A=1, B=20)
    question = ShutIfIdle((B,))
    assert card.story.arrive(3, "A") == [question]
    assert card.story.answer(question, 0) == [StopProcess(B, "swap", "to make room for A")]
    assert card.story.arrive(4, "C") == []
    assert card.story.reasons[4] == "after A"
    card.story.exited(B)
    assert card.read(31.0, A=1)[-1] == WakeUp(A)


def test_a_sleeper_for_which_there_is_no_room_sleeps_on_where_a_new_run_would_get_no_more() -> None:
    card = Card(B=22)
    card.sleep()
    card.story.tell(FellAsleep(A))
    card.read(1.0, A=1)
    card.story.exited(B)
    used = {"gpu": Device(24 * GB, others=10 * GB, label="GPU 0")}
    card.memory = replace(card.memory, devices=used)
    card.read(30.0, A=1)
    assert card.story.arrive(3, "A") == []
    [refusal] = card.story.wait_until(35.0)
    assert isinstance(refusal, Refuse)
    assert refusal.fault is Fault.SHORTAGE
    assert card.story.states == {"A": "sleeping"}


def test_what_it_holds_asleep_need_not_become_free_for_its_wake() -> None:
    card = Card(A=23, B=20)
    card.sleep()
    card.story.tell(FellAsleep(A))
    card.read(1.0, A=2)
    card.story.ready(B)
    card.read(30.0, A=2, B=20)
    assert card.story.swap(B, 3, "A") == [DropRun(B)]
    assert card.read(30.4, A=2, B=20) == []
    assert card.read(31.0, A=2)[-1] == WakeUp(A)
