"""The queue as people see it: places, reasons, and estimates from the loads that were seen."""

from __future__ import annotations

import pytest

from llamaswap_lib.core.effects import DropRun, ShutGates, ShutIfIdle, StartProcess, Unloaded
from llamaswap_lib.core.events import UnloadRequested
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.snapshot import Reason
from tests.core.story import Story, rules


def estimates(story: Story) -> dict[int, float | None]:
    return {view.ticket: view.estimate for view in story.scheduler.snapshot().queue}


def load_for(story: Story, model: str, ticket: int, seconds: float) -> None:
    """It is loaded, which takes that long, serves for a while, and ends."""
    [start] = story.arrive(ticket, model)
    assert isinstance(start, StartProcess)
    story.now += seconds
    story.ready(start.run_id)
    story.now += 60.0
    story.exited(start.run_id, "killed by SIGKILL")


def test_without_a_load_seen_there_is_no_estimate() -> None:
    story = Story()
    story.arrive(1, "A")
    assert estimates(story) == {1: None}


def test_the_estimate_of_a_load_is_what_is_left_of_it() -> None:
    story = Story()
    load_for(story, "A", 1, 8.0)
    story.arrive(2, "A")
    assert estimates(story) == {2: 8.0}
    story.wait_until(story.now + 3.0)
    story.arrive(3, "A")
    assert estimates(story) == {2: 5.0, 3: 5.0}
    story.wait_until(story.now + 9.0)
    assert estimates(story) == {2: 0.0, 3: 0.0}


def test_later_loads_count_more() -> None:
    story = Story()
    load_for(story, "A", 1, 8.0)
    load_for(story, "A", 2, 4.0)
    story.arrive(3, "A")
    assert estimates(story) == {3: 6.0}


def test_the_estimate_of_a_second_load_includes_the_first() -> None:
    story = Story()
    load_for(story, "A", 1, 8.0)
    load_for(story, "B", 2, 5.0)
    story.arrive(3, "A")
    story.now += 2.0
    story.arrive(4, "B")
    story.arrive(5, "C")
    assert story.reasons == {3: "loading", 4: "A is loading for others", 5: "A is loading for others"}
    assert estimates(story) == {3: 6.0, 4: 11.0, 5: None}


def test_a_request_that_waits_for_requests_in_progress_knows_only_its_own_load() -> None:
    story = Story()
    load_for(story, "B", 1, 5.0)
    story.arrive(2, "A")
    story.now += 1.0
    story.ready(2)
    story.arrive(3, "B")
    story.answer(ShutIfIdle((2,)), 2)
    assert story.reasons == {3: "waiting for A: 2 requests in progress"}
    assert estimates(story) == {3: 5.0}


def test_the_estimate_for_a_model_that_is_stopped_and_loaded_again_holds_both_loads() -> None:
    story = Story(max_wait=10.0)
    load_for(story, "B", 1, 5.0)
    story.arrive(2, "A")
    story.now += 1.0
    story.ready(2)
    story.arrive(3, "B")
    story.answer(ShutIfIdle((2,)), 1)
    story.wait_until(story.now + 10.0)
    story.answer(ShutGates((2,)), 1)
    story.arrive(4, "A")
    assert story.reasons == {3: "waiting for A: 1 request in progress", 4: "after B"}
    assert estimates(story) == {3: 5.0, 4: 6.0}


def test_the_estimate_for_a_loaded_model_that_waits_for_others_to_stop_holds_no_load() -> None:
    story = Story(rules(A="B"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.ready(2)
    assert story.arrive(3, "A") == [ShutIfIdle((2,))]
    story.answer(ShutIfIdle((2,)), 1)
    assert estimates(story) == {3: 0.0}


def test_a_request_that_has_joined_a_load_stands_before_a_higher_priority() -> None:
    story = Story(specs={"B": ModelSpec(priority=9)})
    story.arrive(1, "A")
    story.arrive(2, "B")
    story.arrive(3, "A")
    queue = story.scheduler.snapshot().queue
    assert [(view.place, view.ticket) for view in queue] == [(1, 1), (2, 3), (3, 2)]


def test_the_queue_is_what_it_was_when_it_was_taken() -> None:
    story = Story()
    story.arrive(1, "A")
    queue = story.scheduler.queue()
    story.ready(1)
    assert [ticket.ticket for tickets in queue.tickets for ticket in tickets] == [1]
    assert queue.load_times == {}
    assert [*story.scheduler.queue().models] == []


def test_reasons_stay_while_a_question_is_open() -> None:
    story = Story(rules(A="B", B="A", D="C"))
    story.load("A", 1)
    story.load("C", 2)
    story.arrive(3, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.arrive(4, "D")
    story.answer(ShutIfIdle((2,)), 2)
    before = story.reasons
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert (
        story.reasons
        == before
        == {3: "waiting for A: 1 request in progress", 4: "waiting for C: 2 requests in progress"}
    )


def test_a_request_that_waits_for_exits_waits_for_those_who_leave() -> None:
    def fits_two(target: str, running: tuple[str, ...]) -> list[str]:
        others = sorted(model for model in running if model != target)
        return others[: max(0, len(others) - 1)]

    story = Story(fits_two)
    story.load("A", 1)
    story.load("B", 2)
    story.tell(UnloadRequested(3, ("B",)))
    story.answer(ShutGates((2,)), 0)
    story.arrive(4, "C")
    assert story.reasons == {4: "waiting for B to stop"}  # A stays, though of the three it would have to go
    assert story.exited(2)[:3] == [DropRun(2), Unloaded(3), StartProcess(3, "C")]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason("loading"), "loading"),
        (Reason("busy", ("A",), 1), "waiting for A: 1 request in progress"),
        (Reason("busy", ("A", "B"), 3), "waiting for A, B: 3 requests in progress"),
        (Reason("loading for others", ("A",)), "A is loading for others"),
        (Reason("loading for others", ("A", "B")), "A, B are loading for others"),
        (Reason("stopping", ("A",)), "waiting for A to stop"),
        (Reason("after", ("A",)), "after A"),
    ],
)
def test_reasons_read_as_sentences(reason: Reason, text: str) -> None:
    assert reason.text(0.0) == text
