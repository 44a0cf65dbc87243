"""Runs that hang: who is looked at, what is said of it, and when one is stopped with requests inside."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    AbortRequests,
    Admit,
    Fault,
    OpenGate,
    Refuse,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import RequestArrived, RunAnswered, RunSilent
from llamaswap_lib.core.world import CHECK_AFTER
from tests.core.story import Story, rules

CHECK, STOPPED = "has not answered its check", "its processes are stopped"


def busy_in_front(max_wait: float = 60.0) -> Story:
    """A is run 1 and has a request inside; ticket 2 waits for B since 0."""
    story = Story(max_wait=max_wait)
    assert story.load("A", 1) == 1
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 1) == []
    return story


def overdue() -> Story:
    """The same at 60, when ticket 2 is overdue and the gate of A is shut."""
    story = busy_in_front()
    story.wait_until(CHECK_AFTER)
    assert story.wait_until(60.0) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    return story


def test_a_busy_run_is_looked_at_when_somebody_has_waited_for_it_for_a_second() -> None:
    story = busy_in_front()
    assert story.checked == set()
    assert story.scheduler.next_deadline() == CHECK_AFTER
    story.wait_until(CHECK_AFTER)
    assert story.checked == {1}
    assert story.scheduler.next_deadline() == 60.0


def test_the_request_that_has_waited_longest_decides_when_that_is() -> None:
    story = Story(rules(B="A", C="A"), max_wait=60.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.now = 0.9
    story.arrive(3, "C")
    story.wait_until(CHECK_AFTER)
    assert story.checked == {1}


def test_a_busy_run_is_not_watched_when_no_request_waits_any_more() -> None:
    story = busy_in_front()
    story.wait_until(CHECK_AFTER)
    story.abandon(2)
    assert story.checked == set()


def test_a_run_that_ends_is_not_looked_at_any_more() -> None:
    story = busy_in_front()
    story.wait_until(CHECK_AFTER)
    assert story.exited(1)[-1] == StartProcess(2, "B")
    assert story.checked == set()


def test_each_silence_is_logged_once_and_shown_to_those_who_wait() -> None:
    story = busy_in_front()
    story.wait_until(CHECK_AFTER)
    story.now = 12.0
    told = [WriteLog("warn", "A: has not answered its check for 10 s, and requests wait for it to stop")]
    assert story.tell(RunSilent(1, 2.0, CHECK)) == told
    assert story.reasons == {2: "waiting for A: 1 request in progress, A has not answered its check for 10 s"}
    story.now = 27.0
    assert story.reasons[2].endswith("for 10 s")
    assert story.tell(RunSilent(1, 2.0, CHECK, STOPPED)) == []
    assert story.reasons[2].endswith("for 20 s")
    assert story.tell(RunAnswered(1)) == []
    assert story.reasons == {2: "waiting for A: 1 request in progress"}
    story.now = 40.0
    assert story.tell(RunSilent(1, 30.0, CHECK)) == told


def test_a_silence_that_proves_nothing_changes_nothing() -> None:
    story = overdue()
    [report] = story.tell(RunSilent(1, 30.0, CHECK))
    assert isinstance(report, WriteLog)
    assert story.states == {"A": "draining"}


def test_a_run_that_hangs_is_stopped_when_a_request_has_waited_longer_than_max_wait() -> None:
    story = overdue()
    why = "it has not answered its check for 30 s, no byte has moved, and its processes are stopped"
    silence = story.tell(RunSilent(1, 30.0, CHECK, STOPPED))
    assert silence[1:] == [
        WriteLog("warn", f"A: hangs: {why}"),
        AbortRequests(1),
        StopProcess(1, "hang", "it hangs and B has waited for too long"),
    ]
    assert [swap.model for swap in story.swaps] == ["B"]
    assert story.checked == set()
    assert story.reasons == {2: "waiting for A to stop"}
    message = f"the server of A hangs: {why}; it was stopped for B"
    assert story.tell(RequestArrived(3, "A", lost_run=1)) == [Refuse(3, Fault.HUNG, message)]


def test_a_run_that_hangs_before_anybody_is_overdue_is_stopped_when_somebody_is() -> None:
    story = busy_in_front()
    story.wait_until(CHECK_AFTER)
    story.now = 40.0
    story.tell(RunSilent(1, 10.0, CHECK, STOPPED))
    assert story.states == {"A": "ready"}
    assert story.wait_until(60.0) == [ShutGates((1,))]
    assert StopProcess(1, "hang", "it hangs and B has waited for too long") in story.answer(ShutGates((1,)), 1)


def test_without_max_wait_nobody_is_overdue_and_nothing_is_stopped() -> None:
    story = busy_in_front(max_wait=0.0)
    story.wait_until(CHECK_AFTER)
    story.now = 1000.0
    story.tell(RunSilent(1, 10.0, CHECK, STOPPED))
    assert story.wait_until(2000.0) == []
    assert story.states == {"A": "ready"}


def test_a_late_report_of_a_silence_is_dropped() -> None:
    story = busy_in_front()
    assert story.tell(RunSilent(1, 0.0, CHECK, STOPPED)) == []
    story.wait_until(CHECK_AFTER)
    assert story.wait_until(60.0) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []


def test_the_swap_that_ended_it_goes_first_even_if_another_has_waited_longer() -> None:
    """It has begun: a request that comes in front by age would find the place already cleared for B."""
    story = overdue()
    story.tell(RunSilent(1, 30.0, CHECK, STOPPED))
    assert repr(story.scheduler).count("B:1!") == 1
    assert story.exited(1)[-1] == StartProcess(2, "B")
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]
