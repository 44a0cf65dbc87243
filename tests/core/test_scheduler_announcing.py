"""Runs that say where they listen, once or again: looked for there, and moved while nobody enters."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    ProbeRun,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    WriteLog,
)
from llamaswap_lib.core.events import LoadTimedOut, ProcessReady, RequestArrived, RunAnnounced
from llamaswap_lib.core.plan import make_plan
from tests.core.story import Story, together

HERE, THERE = "http://node1:5800", "http://node2:5801"


def loaded() -> Story:
    """A is ready HERE."""
    story = Story(together)
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    assert story.tell(RunAnnounced(1, HERE)) == [ProbeRun(1, HERE)]
    assert story.tell(ProcessReady(1, HERE)) == [Admit(1, 1), OpenGate(1)]
    return story


def moving() -> Story:
    """A was ready HERE, and says that it is THERE."""
    story = loaded()
    moves = WriteLog("info", f"A: moves to {THERE}")
    assert story.tell(RunAnnounced(1, THERE)) == [moves, ShutGate(1), ProbeRun(1, THERE)]
    return story


def test_the_last_address_before_it_is_ready_counts() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.tell(RunAnnounced(1, HERE)) == [ProbeRun(1, HERE)]
    assert story.tell(RunAnnounced(1, THERE)) == [ProbeRun(1, THERE)]
    assert story.tell(ProcessReady(1, HERE)) == []
    assert story.tell(LoadTimedOut(1, "not ready", HERE)) == []
    assert story.tell(ProcessReady(1, THERE)) == [Admit(1, 1), OpenGate(1)]


def test_nobody_enters_a_run_that_moves_before_it_is_ready_there() -> None:
    story = moving()
    assert story.states == {"A": "ready"}
    assert [(view.state, view.phase, view.address) for view in story.scheduler.runs()] == [
        ("starting", "moving", THERE)
    ]
    assert story.arrive(2, "A") == []
    assert story.reasons == {2: "loading"}
    assert story.tell(ProcessReady(1, HERE)) == []
    ready = WriteLog("info", f"A: ready at {THERE}")
    assert story.tell(ProcessReady(1, THERE)) == [ready, Admit(2, 1), OpenGate(1)]


def test_a_load_of_a_model_that_moves_waits_for_it() -> None:
    plan = make_plan(moving().scheduler.published(), "A", {}, 0.0)
    assert [(wait.model, wait.kind) for wait in plan.waits_for] == [("A", "load")]


def test_a_request_that_was_lost_waits_for_the_run_that_has_moved() -> None:
    story = loaded()
    assert story.tell(RequestArrived(2, "A", lost_run=1)) == []
    assert story.tell(RunAnnounced(1, THERE))[1:] == [ShutGate(1), ProbeRun(1, THERE)]
    assert story.tell(ProcessReady(1, THERE))[1:] == [Admit(2, 1), OpenGate(1)]


def test_a_run_that_is_not_ready_where_it_has_moved_to_is_unloaded_and_backs_off() -> None:
    story = moving()
    story.arrive(2, "A")
    question = ShutGates((1,))
    assert story.tell(LoadTimedOut(1, "not ready", THERE)) == [
        WriteLog("error", "A: could not be loaded: not ready; not tried again for 1 s"),
        Refuse(2, Fault.LOAD_FAILED, "model A could not be loaded: not ready", 1.0),
        question,
    ]
    assert story.states == {"A": "unloading"}
    story.answer(question, 0)
    assert story.exited(1) == [DropRun(1)]
    assert story.arrive(3, "A") != [StartProcess(2, "A")]


def test_a_run_that_moves_makes_way_for_another_model() -> None:
    story = Story()
    story.arrive(1, "A")
    story.tell(RunAnnounced(1, HERE))
    story.tell(ProcessReady(1, HERE))
    story.tell(RunAnnounced(1, THERE))
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]


def test_a_run_that_is_ending_is_not_looked_for() -> None:
    story = loaded()
    story.exited(1)
    assert story.tell(RunAnnounced(1, THERE)) == []
