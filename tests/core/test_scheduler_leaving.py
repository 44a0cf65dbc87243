"""Unload, ttl and shutdown."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    KillProcess,
    OpenGate,
    Refuse,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    Unloaded,
)
from llamaswap_lib.core.events import GatesAnswered, ShutdownRequested, UnloadRequested
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, together

SHORT = {model: ModelSpec(unload_timeout=4.0) for model in "ABC"}
CLOSING = "the server is shutting down"


def test_an_unload_of_nothing_is_answered_at_once() -> None:
    story = Story()
    assert story.tell(UnloadRequested(9, None)) == [Unloaded(9)]
    assert story.tell(UnloadRequested(10, ("A", "no such model"))) == [Unloaded(10)]


def test_an_idle_model_is_unloaded_and_the_unload_is_answered_when_it_has_exited() -> None:
    story = Story()
    story.load("A", 1)
    assert story.tell(UnloadRequested(9, ("A",))) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "unload", "unloaded")]
    assert story.exited(1) == [DropRun(1), Unloaded(9)]


def test_a_busy_model_finishes_before_it_is_unloaded() -> None:
    story = Story(specs=SHORT)
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.states == {"A": "unloading"}
    assert story.scheduler.runs()[0].state == "stopping"
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "unload", "unloaded")]


def test_an_unload_stops_a_busy_model_when_its_time_is_over_and_kills_it_after_as_much_again() -> None:
    story = Story(specs=SHORT)
    story.load("A", 1)
    story.now = 10.0
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 1)
    assert story.scheduler.next_deadline() == 14.0
    assert story.wait_until(14.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]
    assert story.scheduler.next_deadline() == 18.0
    assert story.wait_until(18.0) == [KillProcess(1)]
    assert story.scheduler.next_deadline() is None
    assert story.exited(1) == [DropRun(1), Unloaded(9)]


def test_an_unload_without_time_shuts_the_gate_before_it_stops() -> None:
    story = Story(specs={"A": ModelSpec(unload_timeout=0.0)})
    story.load("A", 1)
    assert story.tell(UnloadRequested(9, ("A",))) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 2)[0] == StopProcess(1, "unload", "unloaded, its time to finish is over")


def test_an_unload_waits_for_every_run_it_named_and_for_no_other() -> None:
    story = Story(together)
    for ticket, model in enumerate("ABC", 1):
        story.load(model, ticket)
    assert story.tell(UnloadRequested(9, ("A", "B"))) == [ShutGates((1, 2))]
    story.answer(ShutGates((1, 2)), 0, 0)
    assert story.exited(1) == [DropRun(1)]
    assert story.exited(2) == [DropRun(2), Unloaded(9)]
    assert story.states == {"C": "ready"}


def test_queued_request_survives_unload_of_another_model() -> None:
    story = Story(together)
    story.load("A", 1)
    story.arrive(2, "B")
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 0)
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]


def test_an_unload_of_a_loading_model_stops_it_and_its_waiters_load_it_again() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.tell(UnloadRequested(9, ("A",))) == [StopProcess(1, "unload", "unloaded while it was loading")]
    assert story.exited(1) == [DropRun(1), Unloaded(9), StartProcess(2, "A")]
    assert story.ready(2) == [Admit(1, 2), OpenGate(2)]


def test_a_request_for_a_model_that_is_unloading_waits_and_loads_it_again() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 1)
    assert story.arrive(2, "A") == []
    story.drained(1)
    story.answer(ShutGates((1,)), 0)
    assert story.exited(1) == [DropRun(1), Unloaded(9), StartProcess(2, "A")]


def test_a_second_unload_does_not_give_more_time() -> None:
    story = Story(specs=SHORT)
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 1)
    story.now = 2.0
    story.tell(UnloadRequested(10, None))
    assert story.scheduler.next_deadline() == 4.0


def test_two_unloads_of_one_run_are_both_answered() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 0)
    assert story.tell(UnloadRequested(10, None)) == []
    assert story.exited(1) == [DropRun(1), Unloaded(9), Unloaded(10)]


def test_an_unload_whose_client_left_is_answered_and_goes_on() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 0)
    assert story.abandon(9) == [Unloaded(9)]
    assert story.states == {"A": "stopping"}
    assert story.exited(1) == [DropRun(1)]


def test_an_idle_model_is_stopped_when_its_ttl_is_over() -> None:
    story = Story(specs={"A": ModelSpec(ttl=10.0)})
    story.load("A", 1)
    assert story.scheduler.next_deadline() == 10.0
    assert story.wait_until(10.0) == [ShutIfIdle((1,), 10.0)]
    assert story.answer(ShutIfIdle((1,), 10.0), 0, since=0.0) == [StopProcess(1, "ttl", "its ttl is over")]


def test_the_ttl_counts_from_the_end_of_the_last_request() -> None:
    story = Story(specs={"A": ModelSpec(ttl=10.0)})
    story.load("A", 1)
    story.wait_until(10.0)
    assert story.answer(ShutIfIdle((1,), 10.0), 0, since=7.5) == []
    assert story.scheduler.next_deadline() == 17.5
    assert story.wait_until(17.5) == [ShutIfIdle((1,), 10.0)]


def test_a_busy_model_is_looked_at_again_after_a_whole_ttl() -> None:
    story = Story(specs={"A": ModelSpec(ttl=10.0)})
    story.load("A", 1)
    story.wait_until(10.0)
    assert story.answer(ShutIfIdle((1,), 10.0), 1) == []
    assert story.scheduler.next_deadline() == 20.0


def test_a_model_without_ttl_stays() -> None:
    story = Story()
    story.load("A", 1)
    assert story.scheduler.next_deadline() is None


def test_shutdown_refuses_who_waits_and_who_comes() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert story.tell(ShutdownRequested(9, 5.0)) == [Refuse(2, Fault.SHUTTING_DOWN, CLOSING), ShutGates((1,))]
    story.answer(ShutGates((1,)), 1)
    assert story.arrive(3, "A") == [Refuse(3, Fault.SHUTTING_DOWN, CLOSING)]


def test_shutdown_gives_requests_in_progress_a_grace() -> None:
    story = Story(specs=SHORT)
    story.load("A", 1)
    story.tell(ShutdownRequested(9, 5.0))
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.scheduler.next_deadline() == 5.0
    assert story.wait_until(5.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]
    assert story.wait_until(9.0) == [KillProcess(1)]
    assert story.exited(1) == [DropRun(1), Unloaded(9)]


def test_shutdown_stops_loads_and_is_answered_when_all_have_exited() -> None:
    story = Story(together)
    story.load("A", 1)
    story.arrive(2, "B")
    orders = story.tell(ShutdownRequested(9, 5.0))
    assert orders == [
        Refuse(2, Fault.SHUTTING_DOWN, CLOSING),
        StopProcess(2, "unload", "unloaded while it was loading"),
        ShutGates((1,)),
    ]
    assert story.tell(GatesAnswered(ShutGates((1,)), True, {1: (0, 0.0)})) == [StopProcess(1, "unload", "unloaded")]
    assert story.exited(2) == [DropRun(2)]
    assert story.exited(1) == [DropRun(1), Unloaded(9)]


def test_a_shutdown_with_no_model_running_is_answered_at_once() -> None:
    assert Story().tell(ShutdownRequested(9, 5.0)) == [Unloaded(9)]
