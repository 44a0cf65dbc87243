"""Runs that say where they listen: queued until then, looked for there, and moved while nobody enters."""

from __future__ import annotations

import math

from llamaswap_lib.core.effects import (
    Admit,
    BeginChecks,
    DropRun,
    EndChecks,
    Fault,
    OpenGate,
    ProbeRun,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import (
    LoadTimedOut,
    ModelsChanged,
    PreloadRequested,
    ProcessReady,
    RequestArrived,
    RunAnnounced,
    RunQueued,
    RunSilent,
)
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.core.plan import make_plan
from llamaswap_lib.core.world import CHECK_AFTER
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


def test_to_say_the_same_again_gives_no_more_time() -> None:
    story = Story()
    story.arrive(1, "A")
    story.tell(RunAnnounced(1, HERE))
    assert story.tell(RunAnnounced(1, HERE)) == []
    story.tell(ProcessReady(1, HERE))
    moves = WriteLog("info", f"A: moves to {HERE}")  # it may have been started anew there
    assert story.tell(RunAnnounced(1, HERE)) == [moves, ShutGate(1), ProbeRun(1, HERE)]
    assert story.tell(RunAnnounced(1, HERE)) == []


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


def test_a_run_that_moves_while_it_is_checked_is_checked_anew_where_it_is() -> None:
    story = Story(max_wait=60.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(CHECK_AFTER)
    story.tell(RunSilent(1, 0.0, "has not answered its check", "it had answered before"))
    moves = WriteLog("info", f"A: moves to {THERE}")
    effects = story.scheduler.handle(RunAnnounced(1, THERE), story.now)
    assert effects == [moves, ShutGate(1), EndChecks(1), ProbeRun(1, THERE), BeginChecks(1)]
    assert story.reasons == {2: "waiting for A: 1 request in progress"}


def test_a_run_that_is_ending_is_not_looked_for() -> None:
    story = loaded()
    story.exited(1)
    assert story.tell(RunAnnounced(1, THERE)) == []


def queued(timeout: float = 0.0) -> Story:
    """A is queued, and request 1 waits for it."""
    story = Story(specs={"A": ModelSpec(is_announced=True, queue_timeout=timeout)})
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    return story


def test_a_queued_run_says_what_it_waits_for_until_it_says_where_it_listens() -> None:
    story = queued()
    assert story.reasons == {1: "queued"}
    assert story.tell(RunQueued(1, "job 31, Resources")) == []
    assert story.reasons == {1: "queued: job 31, Resources"}
    assert [(view.phase, view.reason) for view in story.scheduler.runs()] == [("queued", "job 31, Resources")]
    assert [view.loading_since for view in story.scheduler.runs()] == [math.inf]
    story.now = 3.0
    story.tell(RunAnnounced(1, HERE))
    assert [view.loading_since for view in story.scheduler.runs()] == [3.0]
    assert story.reasons == {1: "loading"}
    story.tell(RunQueued(1, "too late"))
    assert [(view.phase, view.reason) for view in story.scheduler.runs()] == [("", "")]


def test_a_queued_run_is_withdrawn_when_nobody_waits_for_it_any_more() -> None:
    story = queued()
    story.arrive(2, "A")
    assert story.abandon(1) == [Refuse(1, Fault.ABANDONED, "the client left")]
    stop = StopProcess(1, "withdrawn", "it is queued, and nobody waits for it any more")
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left"), stop]


def test_a_run_that_has_said_where_it_listens_loads_on_for_nobody() -> None:
    story = queued()
    story.tell(RunAnnounced(1, HERE))
    assert story.abandon(1) == [Refuse(1, Fault.ABANDONED, "the client left")]


def test_a_preloaded_run_is_queued_for_nobody() -> None:
    story = Story(specs={"A": ModelSpec(is_announced=True)})
    story.tell(PreloadRequested(("A",)))
    assert story.wait_until(1.0) == []
    assert story.arrive(1, "A") == []
    assert story.abandon(1) == [Refuse(1, Fault.ABANDONED, "the client left")]


def test_a_preloaded_run_that_is_queued_does_not_hold_up_the_next() -> None:
    story = Story(together, specs={"A": ModelSpec(is_announced=True)})
    starts = [effect for effect in story.tell(PreloadRequested(("A", "B", "C"))) if isinstance(effect, StartProcess)]
    assert starts == [StartProcess(1, "A"), StartProcess(2, "B")]
    assert story.tell(RunAnnounced(1, HERE)) == [ProbeRun(1, HERE)]
    assert story.ready(2) == [OpenGate(2)]
    assert story.tell(ProcessReady(1, HERE))[:1] == [WriteLog("info", "C: preloading")]


def test_a_changed_queue_timeout_counts_from_the_start() -> None:
    story = queued(5.0)
    longer = {"A": ModelSpec(is_announced=True, queue_timeout=9.0)}
    story.now = 4.0
    assert story.tell(ModelsChanged(longer, frozenset(), Rules(together), 0.0, {})) == []
    assert story.scheduler.next_deadline() == 9.0
    unbounded = {"A": ModelSpec(is_announced=True)}
    assert story.tell(ModelsChanged(unbounded, frozenset(), Rules(together), 0.0, {})) == []
    assert story.wait_until(100.0) == []


def test_a_run_that_is_queued_for_too_long_is_withdrawn_and_the_next_request_starts_another() -> None:
    story = queued(5.0)
    story.tell(RunQueued(1, "job 31"))
    assert story.scheduler.next_deadline() == 5.0
    assert story.wait_until(5.0) == [
        WriteLog("warn", "A: was queued for 5 s: job 31; it is withdrawn (queueTimeout)"),
        Refuse(1, Fault.QUEUE_TIMEOUT, "model A was queued for 5 s: job 31 (queueTimeout)", 5.0),
        StopProcess(1, "queue timeout", "it was queued for too long"),
    ]
    assert story.arrive(2, "A") == []
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]


def test_the_time_to_be_queued_ends_with_the_announcement_and_does_not_count_as_loading() -> None:
    story = queued(5.0)
    story.now = 4.0
    story.tell(RunAnnounced(1, HERE))
    assert story.wait_until(6.0) == []
    story.tell(ProcessReady(1, HERE))
    assert story.scheduler.queue().load_times == {"A": 2.0}
