"""Models that keep failing, runs that hang up on requests, and leaders that exit before their group."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    KillProcess,
    OpenGate,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    Unloaded,
    WriteLog,
)
from llamaswap_lib.core.events import (
    LeaderExited,
    LoadDemanded,
    RequestArrived,
    ShutdownRequested,
    UnloadRequested,
)
from tests.core.story import Story, together

LIVES = "the run lives on"


def crash_early(story: Story, run_id: int, ticket: int) -> None:
    """A is started for `ticket`, ready at once, and dies."""
    assert story.arrive(ticket, "A") == [StartProcess(run_id, "A")]
    story.ready(run_id)
    story.exited(run_id, "killed by SIGSEGV")


# -- backing off --


def test_a_model_whose_load_failed_is_refused_at_once_until_its_time_has_come() -> None:
    story = Story(together)
    story.arrive(1, "A")
    story.exited(1, "exited with code 3")
    story.now = 0.4
    message = "model A could not be loaded: exited with code 3; next try in 1 s"
    assert story.arrive(2, "A") == [Refuse(2, Fault.BACKING_OFF, message, 0.6)]
    assert story.arrive(3, "B") == [StartProcess(2, "B")]
    story.now = 1.0
    assert story.arrive(4, "A") == [StartProcess(3, "A")]
    assert story.exited(3)[2:] == [Refuse(4, Fault.LOAD_FAILED, "model A could not be loaded: exited with code 0", 2.0)]


def test_a_backoff_needs_no_deadline_of_its_own() -> None:
    story = Story()
    story.arrive(1, "A")
    story.exited(1)
    assert story.scheduler.next_deadline() is None


def test_a_load_by_hand_is_tried_at_once() -> None:
    story = Story()
    story.arrive(1, "A")
    story.exited(1)
    story.tell(LoadDemanded("A"))
    assert story.arrive(2, "A") == [StartProcess(2, "A")]


def test_an_unload_ends_a_backoff_of_those_it_names() -> None:
    story = Story(together)
    for run_id, model in enumerate("ABC", 1):
        story.arrive(run_id, model)
        story.exited(run_id)
    assert story.tell(UnloadRequested(9, ("A",))) == [Unloaded(9)]
    assert story.arrive(11, "A") == [StartProcess(4, "A")]
    assert isinstance(story.arrive(12, "B")[0], Refuse)
    story.tell(UnloadRequested(10, None))
    assert story.arrive(13, "B") == [StartProcess(5, "B")]


def test_a_model_that_dies_once_after_it_was_ready_is_started_at_once() -> None:
    story = Story()
    crash_early(story, 1, 1)
    assert story.arrive(2, "A") == [StartProcess(2, "A")]


def test_a_model_that_dies_again_and_again_after_it_was_ready_backs_off() -> None:
    story = Story()
    crash_early(story, 1, 1)
    crash_early(story, 2, 2)
    message = "model A keeps dying: killed by SIGSEGV 0.0 s after it was ready; next try in 1 s"
    assert story.arrive(3, "A") == [Refuse(3, Fault.BACKING_OFF, message, 1.0)]
    story.now = 1.0
    crash_early(story, 3, 4)
    assert story.arrive(5, "A")[0] == Refuse(5, Fault.BACKING_OFF, message.replace("in 1 s", "in 2 s"), 2.0)


def test_a_model_that_served_for_a_while_before_each_crash_does_not_back_off() -> None:
    story = Story()
    for run_id in range(1, 6):
        assert story.arrive(run_id, "A") == [StartProcess(run_id, "A")]
        story.ready(run_id)
        story.now += 5.0
        story.exited(run_id)


def test_a_model_that_was_stopped_in_between_does_not_back_off() -> None:
    story = Story()
    crash_early(story, 1, 1)
    story.arrive(2, "A")
    story.ready(2)
    assert story.arrive(3, "B") == [ShutIfIdle((2,))]
    story.answer(ShutIfIdle((2,)), 0)
    story.exited(2)
    story.exited(3)
    story.now = 1.0
    crash_early(story, 4, 4)
    assert story.arrive(5, "A") == [StartProcess(5, "A")]


def test_a_request_that_waits_for_a_model_that_keeps_dying_is_refused_with_it() -> None:
    story = Story(max_wait=1.0)
    crash_early(story, 1, 1)
    assert story.arrive(2, "A") == [StartProcess(2, "A")]
    story.ready(2)
    story.arrive(3, "B")
    story.answer(ShutIfIdle((2,)), 1)
    story.wait_until(1.0)
    story.answer(ShutGates((2,)), 1)
    assert story.arrive(4, "A") == []
    orders = story.exited(2)
    message = "model A keeps dying: exited with code 0 1.0 s after it was ready; next try in 1 s"
    assert orders == [
        DropRun(2),
        WriteLog("warn", "A: exited with code 0 while it was draining"),
        WriteLog("error", "A: keeps dying, not tried again for 1 s"),
        Refuse(4, Fault.BACKING_OFF, message, 1.0),
        StartProcess(3, "B"),
    ]


# -- runs that hang up --


def test_a_request_that_lost_a_run_that_has_exited_waits_for_the_next_like_everybody() -> None:
    story = Story()
    story.load("A", 1)
    story.exited(1)
    assert story.tell(RequestArrived(2, "A", 1)) == [StartProcess(2, "A")]
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]


def test_a_request_that_lost_a_run_that_is_not_known_to_have_exited_is_not_let_in_again() -> None:
    story = Story()
    story.load("A", 1)
    assert story.tell(RequestArrived(2, "A", 1)) == []
    assert story.arrive(3, "A") == [Admit(3, 1)]
    assert story.exited(1)[-1] == StartProcess(2, "A")
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]


def test_a_request_that_lost_a_run_that_lives_is_told_so_in_time() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", 1))
    story.wait_until(0.5)
    story.tell(RequestArrived(3, "A", 1))
    assert story.scheduler.next_deadline() == 2.0
    assert story.wait_until(2.0) == [Refuse(2, Fault.NOT_DEAD, LIVES)]
    assert story.wait_until(2.5) == [Refuse(3, Fault.NOT_DEAD, LIVES)]
    assert story.scheduler.next_deadline() is None
    assert story.states == {"A": "ready"}


def test_a_request_that_lost_an_earlier_run_is_let_in_to_the_one_that_runs_now() -> None:
    story = Story()
    story.load("A", 1)
    story.exited(1)
    story.arrive(2, "A")
    story.ready(2)
    assert story.tell(RequestArrived(3, "A", 1)) == [Admit(3, 2)]


def test_a_request_that_was_inside_when_an_unload_ran_out_of_time_is_not_tried_again() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(UnloadRequested(9, ("A",)))
    story.answer(ShutGates((1,)), 1)
    assert story.wait_until(10.0) == [StopProcess(1, "unload", "unloaded, its time to finish is over")]
    assert story.tell(RequestArrived(2, "A", 1)) == [Refuse(2, Fault.NOT_DEAD, "the run was stopped")]
    story.exited(1)
    assert story.tell(RequestArrived(3, "A", 1)) == [Refuse(3, Fault.NOT_DEAD, "the run was stopped")]
    assert story.arrive(4, "A") == [StartProcess(2, "A")]


def test_a_request_that_lost_a_run_that_is_stopped_as_empty_waits_for_the_next() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", 1))
    story.arrive(3, "B")
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]
    assert story.reasons == {3: "loading", 2: "B is loading for others"}


def test_a_request_that_lost_a_run_and_leaves_is_answered() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", 1))
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left")]
    assert story.scheduler.next_deadline() is None


def test_a_request_that_lost_a_run_is_refused_at_the_shutdown() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", 1))
    closing = "the server is shutting down"
    assert story.tell(ShutdownRequested(9, 5.0))[0] == Refuse(2, Fault.SHUTTING_DOWN, closing)


def test_a_request_that_lost_its_run_to_a_model_that_keeps_dying_is_refused() -> None:
    story = Story()
    crash_early(story, 1, 1)
    story.arrive(2, "A")
    story.ready(2)
    story.tell(RequestArrived(3, "A", 2))
    refusal = story.exited(2)[-1]
    assert isinstance(refusal, Refuse)
    assert (refusal.ticket, refusal.fault, refusal.retry_after) == (3, Fault.BACKING_OFF, 1.0)


# -- leaders --


def test_a_run_without_its_leader_is_shut_and_the_next_waits_for_its_end() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(RequestArrived(2, "A", 1))
    told = WriteLog("warn", "A: killed by SIGKILL while it was ready")
    assert story.tell(LeaderExited(1, "killed by SIGKILL")) == [told, ShutGate(1)]
    assert story.states == {"A": "stopping"}
    assert story.arrive(3, "A") == []
    assert story.reasons == {2: "waiting for A to stop", 3: "waiting for A to stop"}
    assert story.exited(1, "killed by SIGKILL") == [DropRun(1), StartProcess(2, "A")]


def test_processes_that_outlive_their_leader_are_killed_after_the_unload_timeout() -> None:
    story = Story()
    story.load("A", 1)
    story.tell(LeaderExited(1, "killed by SIGKILL"))
    assert story.wait_until(10.0) == [KillProcess(1)]


def test_a_load_fails_when_what_it_said_last_has_been_read() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.tell(LeaderExited(1, "exited with code 3")) == []
    assert story.states == {"A": "starting"}
    assert story.exited(1, "exited with code 3")[-1] == Refuse(
        1, Fault.LOAD_FAILED, "model A could not be loaded: exited with code 3", 1.0
    )


def test_a_leader_that_was_told_to_end_is_no_crash() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.tell(LeaderExited(1, "exited with code 0")) == []


def test_a_load_that_our_own_machine_could_not_begin_is_no_fault_of_the_model() -> None:
    story = Story()
    for ticket in (1, 2, 3):  # however often
        story.arrive(ticket, "A")
        assert story.exited(ticket, "could not start: can't start new thread", is_shortage=True) == [
            DropRun(ticket),
            WriteLog(
                "error",
                "A: could not be loaded, because resources are short: could not start: can't start new thread",
            ),
            Refuse(ticket, Fault.SHORTAGE, "model A could not be loaded: could not start: can't start new thread"),
        ]
    assert not story.scheduler.failing()
    assert story.arrive(4, "A") == [StartProcess(4, "A")]


def test_a_shortage_while_others_fail_to_load_ends_no_back_off() -> None:
    story = Story()
    story.arrive(1, "A")
    story.exited(1, "exited with code 3")
    story.now = 1.0
    story.arrive(2, "A")
    story.exited(2, is_shortage=True)
    story.arrive(3, "A")
    assert story.exited(3, "exited with code 3")[-1].retry_after == 2.0  # type: ignore[union-attr]
