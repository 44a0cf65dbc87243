"""What a change of priorities means for those who wait already, for those who come, and for a swap that has begun."""

from __future__ import annotations

from collections.abc import Mapping

from llamaswap_lib.core.effects import Admit, DropRun, ShutGates, ShutIfIdle, StartProcess, StopProcess
from llamaswap_lib.core.events import ModelsChanged
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, one_place


def change(priorities: Mapping[str, int], max_wait: float = 0.0) -> ModelsChanged:
    """The same models and rules; a model that is not named has priority 0."""
    models = {model: ModelSpec(priority=priorities.get(model, 0)) for model in "ABCDEF"}
    return ModelsChanged(models, frozenset(), Rules(one_place), max_wait, {})


def behind_a_busy_model(story: Story, *models: str) -> None:
    """A is loaded and busy; a ticket waits for each of `models`, numbered from 2."""
    story.load("A", 1)
    story.arrive(2, models[0])
    story.answer(ShutIfIdle((1,)), 1)
    for ticket, model in enumerate(models[1:], 3):
        story.arrive(ticket, model)


def places(story: Story) -> list[str]:
    return [view.model for view in story.scheduler.snapshot().queue]


def end_of_business(story: Story) -> str:
    """A is idle; for whom it stops."""
    assert story.idle(1) == [ShutIfIdle((1,))]
    (stop,) = story.answer(ShutIfIdle((1,)), 0)
    assert isinstance(stop, StopProcess)
    return stop.reason.removeprefix("to make room for ")


def test_those_who_wait_already_are_served_by_the_new_priorities() -> None:
    story = Story(specs={"B": ModelSpec(priority=5)})
    behind_a_busy_model(story, "B", "C", "D")
    assert places(story) == ["B", "C", "D"]
    assert story.tell(change({"C": 1, "D": 2})) == []
    assert places(story) == ["D", "C", "B"]
    assert end_of_business(story) == "D"


def test_those_who_come_later_are_served_by_the_new_priorities() -> None:
    story = Story()
    behind_a_busy_model(story, "B")
    story.tell(change({"C": 1}))
    story.arrive(3, "C")
    assert end_of_business(story) == "C"


def test_a_model_that_is_not_named_has_no_priority_any_more() -> None:
    story = Story(specs={"C": ModelSpec(priority=5), "D": ModelSpec(priority=-5)})
    behind_a_busy_model(story, "D", "B", "C")
    assert places(story) == ["C", "B", "D"]
    story.tell(change({}))
    assert places(story) == ["D", "B", "C"]


def test_the_last_change_counts() -> None:
    story = Story()
    behind_a_busy_model(story, "B", "C", "D")
    story.tell(change({"D": 1}))
    story.tell(change({"C": 1}))
    assert places(story) == ["C", "B", "D"]


def test_a_swap_that_has_begun_is_not_overtaken() -> None:
    story = Story()
    behind_a_busy_model(story, "B", "C")
    assert end_of_business(story) == "B"
    assert story.tell(change({"C": 9, "B": -9})) == []
    assert places(story) == ["B", "C"]
    assert story.reasons == {2: "waiting for A to stop", 3: "after B"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]


def test_a_request_that_joined_a_load_is_served_by_it() -> None:
    story = Story()
    story.load("A", 1)
    story.swap(1, 2, "B")
    story.arrive(3, "C")
    story.arrive(4, "B")
    assert story.tell(change({"C": 9})) == []
    assert story.ready(2)[:2] == [Admit(2, 2), Admit(4, 2)]


def test_past_max_wait_no_change_makes_a_difference() -> None:
    story = Story(max_wait=10.0)
    behind_a_busy_model(story, "B")
    story.now = 5.0
    story.arrive(3, "C")
    assert story.wait_until(10.0) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.tell(change({"C": 9}, 10.0)) == []
    assert places(story) == ["B", "C"]
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]


def test_a_change_does_not_make_a_wait_longer() -> None:
    story = Story(max_wait=10.0)
    behind_a_busy_model(story, "B")
    story.now = 9.0
    story.tell(change({"B": -9}, 10.0))
    assert story.scheduler.next_deadline() == 10.0
    assert story.wait_until(10.0) == [ShutGates((1,))]


def test_a_change_of_priorities_stops_no_model() -> None:
    story = Story()
    behind_a_busy_model(story, "B")
    assert story.tell(change({"B": 99})) == []
    assert story.states == {"A": "ready"}
    assert story.reasons == {2: "waiting for A: 1 request in progress"}


def test_priorities_changed_while_no_request_waits_count_later() -> None:
    story = Story()
    assert story.tell(change({"C": 1})) == []
    behind_a_busy_model(story, "B", "C")
    assert places(story) == ["C", "B"]
