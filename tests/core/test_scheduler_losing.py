"""Runs on other machines whose server cannot be reached: who waits, who is tried again, and when a run is lost."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    AbortRequests,
    Admit,
    DropRun,
    Fault,
    LookForLoss,
    OpenGate,
    ProbeRun,
    PutToSleep,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WatchForLoss,
    WriteLog,
)
from llamaswap_lib.core.events import (
    FellAsleep,
    LeaderExited,
    ModelsChanged,
    ProcessReady,
    RequestArrived,
    RunAnnounced,
    RunLost,
    RunReached,
    RunUnreachable,
)
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, together

NO_ANSWER = "no answer from http://node1:5801 for 10 s"
ELSEWHERE = ModelSpec(lost_after=10.0)


def loaded(spec: ModelSpec = ELSEWHERE) -> Story:
    """A serves elsewhere."""
    story = Story(together, specs={"A": spec})
    story.arrive(1, "A")
    watched = [WatchForLoss(1)] if spec.lost_after else []
    assert story.ready(1) == [*watched, Admit(1, 1), OpenGate(1)]
    return story


def doubted(*, was_sent: bool = False) -> Story:
    """Request 2 got no answer from it."""
    story = loaded()
    assert story.tell(RequestArrived(2, "A", 1, was_sent)) == [ShutGate(1), LookForLoss(1)]
    return story


def test_while_a_server_is_looked_for_nobody_enters_and_who_lost_it_waits() -> None:
    story = doubted()
    assert story.arrive(3, "A") == []
    assert story.wait_until(9.0) == []
    assert story.scheduler.next_deadline() is None
    assert story.reasons == {3: "its server cannot be reached: waiting for it to answer, or to be lost"}
    assert [(view.state, view.phase) for view in story.scheduler.runs()] == [("ready", "unreachable")]


def test_a_server_that_is_reached_again_is_asked_what_it_cannot_have_got() -> None:
    story = doubted()
    story.arrive(3, "A")
    story.now = 9.0
    assert story.tell(RunReached(1)) == [Admit(3, 1), Admit(2, 1), OpenGate(1)]


def test_a_request_that_may_have_been_sent_is_not_sent_to_the_same_server_again() -> None:
    story = doubted(was_sent=True)
    assert story.tell(RunReached(1)) == [OpenGate(1)]
    assert story.wait_until(2.0) == [Refuse(2, Fault.NOT_DEAD, "the run lives on")]


def test_a_request_that_lost_a_server_which_is_found_late_is_answered_then() -> None:
    story = doubted(was_sent=True)
    story.now = 5.0
    assert story.tell(RunReached(1)) == [Refuse(2, Fault.NOT_DEAD, "the run lives on"), OpenGate(1)]


def test_a_lost_run_is_stopped_and_who_had_no_answer_is_tried_on_the_next_one() -> None:
    story = doubted(was_sent=True)
    story.arrive(3, "A")
    said = f"lost: {NO_ANSWER}"
    assert story.tell(RunLost(1, NO_ANSWER)) == [
        WriteLog("warn", f"A: {said}"),
        AbortRequests(1),
        StopProcess(1, "lost", said),
    ]
    assert story.tell(RequestArrived(4, "A", 1)) == []  # it was inside
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]
    assert story.ready(2) == [WatchForLoss(2), *(Admit(ticket, 2) for ticket in (3, 2, 4)), OpenGate(2)]


def test_a_run_whose_command_here_exits_is_over_for_those_inside_though_its_server_is_silent() -> None:
    """A cluster gives up a machine: nothing closes the connections to it."""
    story = loaded()
    ended = WriteLog("warn", "A: exited with code 0 while it was ready")
    assert story.tell(LeaderExited(1, "exited with code 0")) == [ended, AbortRequests(1), ShutGate(1)]
    assert story.tell(RequestArrived(2, "A", 1)) == []
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]
    assert story.ready(2) == [WatchForLoss(2), Admit(2, 2), OpenGate(2)]


def test_a_run_whose_command_exits_on_this_machine_has_its_connections_closed_by_the_system() -> None:
    story = loaded(ModelSpec())
    assert AbortRequests(1) not in story.tell(LeaderExited(1, "exited with code 0"))


def test_a_silent_server_that_cannot_be_reached_is_waited_for_and_may_come_back() -> None:
    story = loaded()
    assert story.tell(RunUnreachable(1)) == [ShutGate(1), LookForLoss(1)]
    assert story.tell(RunUnreachable(1)) == []
    assert story.arrive(2, "A") == []
    assert story.tell(RunReached(1)) == [Admit(2, 1), OpenGate(1)]


def test_two_requests_that_lose_a_server_have_it_looked_for_once() -> None:
    story = doubted()
    assert story.tell(RequestArrived(3, "A", 1)) == []


def test_a_server_on_this_machine_or_of_a_model_without_a_bound_is_not_looked_for() -> None:
    for spec, is_here in ((ModelSpec(lost_after=10.0, is_announced=True), True), (ModelSpec(is_announced=True), False)):
        story = Story(together, specs={"A": spec})
        story.arrive(1, "A")
        assert story.tell(RunAnnounced(1, "there", is_here)) == [ProbeRun(1, "there")]
        assert story.tell(ProcessReady(1, "there")) == [Admit(1, 1), OpenGate(1)]
        assert story.tell(RequestArrived(2, "A", 1)) == []
        assert story.wait_until(2.0) == [Refuse(2, Fault.NOT_DEAD, "the run lives on")]


def test_a_run_that_says_where_it_is_now_is_looked_for_no_more() -> None:
    story = doubted()
    moved = story.tell(RunAnnounced(1, "there"))
    assert moved == [WriteLog("info", "A: moves to there"), ProbeRun(1, "there")]
    assert story.tell(RunLost(1, NO_ANSWER)) == []
    assert story.tell(ProcessReady(1, "there"))[1:] == [WatchForLoss(1), Admit(2, 1), OpenGate(1)]


def test_a_changed_time_counts_at_once() -> None:
    story = doubted()
    longer = {"A": ModelSpec(lost_after=60.0)}
    assert story.tell(ModelsChanged(longer, frozenset(), Rules(together), 0.0, {})) == [WatchForLoss(1), LookForLoss(1)]
    never = {"A": ModelSpec()}
    assert story.tell(ModelsChanged(never, frozenset(), Rules(together), 0.0, {})) == [WatchForLoss(1), OpenGate(1)]
    assert story.wait_until(2.0) == [Refuse(2, Fault.NOT_DEAD, "the run lives on")]


def test_a_run_that_was_retired_and_is_out_of_reach_is_lost_too() -> None:
    story = loaded()
    assert story.tell(ModelsChanged({"B": ModelSpec()}, frozenset(), Rules(together), 0.0, {})) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.tell(RunUnreachable(1)) == [LookForLoss(1)]
    assert [type(effect) for effect in story.tell(RunLost(1, NO_ANSWER))] == [WriteLog, AbortRequests, StopProcess]


def test_a_run_that_is_out_of_reach_is_stopped_though_it_could_sleep_and_who_lost_it_is_tried_on_the_next_one() -> None:
    story = Story(specs={"A": ModelSpec(lost_after=10.0, can_sleep=True)})
    story.arrive(1, "A")
    story.ready(1)
    assert story.tell(RequestArrived(2, "A", 1)) == [ShutGate(1), LookForLoss(1)]
    assert story.arrive(3, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert [swap.sleepers for swap in story.swaps] == [()]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]
    assert story.ready(2)[0] == Admit(3, 2)
    assert 2 in story.reasons


def test_who_lost_a_sleeper_that_its_ttl_ends_is_in_the_queue_at_once() -> None:
    story = Story(specs={"A": ModelSpec(can_sleep=True, ttl=1.0)})
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [PutToSleep(1, "to make room for B")]
    assert story.tell(FellAsleep(1)) == [StartProcess(2, "B")]
    assert story.tell(RequestArrived(3, "A", 1)) == []  # it had closed the connection
    assert StopProcess(1, "ttl", "its ttl is over, and it sleeps") in story.wait_until(1.0)
    assert set(story.reasons) == {2, 3}


def test_a_run_that_was_found_silent_just_before_its_time_was_changed_is_looked_for_all_the_same() -> None:
    story = loaded()
    longer = {"A": ModelSpec(lost_after=60.0)}
    assert story.tell(ModelsChanged(longer, frozenset(), Rules(together), 0.0, {})) == [WatchForLoss(1)]
    assert story.tell(RunUnreachable(1)) == [ShutGate(1), LookForLoss(1)]  # from who was told to end
    assert story.tell(RunReached(1)) == [OpenGate(1)]
