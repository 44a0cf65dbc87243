"""Loads that fail, processes that crash, facts that come late, policies that fail."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    Refuse,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.events import LoadTimedOut, UnloadRequested
from tests.core.story import Story, together


def test_an_exit_while_loading_fails_all_who_wait_for_that_model() -> None:
    story = Story(together)
    story.arrive(1, "A")
    story.arrive(2, "A")
    story.arrive(3, "B")
    message = "model A could not be loaded: exited with code 3"
    assert story.exited(1, "exited with code 3") == [
        DropRun(1),
        WriteLog("error", "A: could not be loaded: exited with code 3; not tried again for 1 s"),
        Refuse(1, Fault.LOAD_FAILED, message, 1.0),
        Refuse(2, Fault.LOAD_FAILED, message, 1.0),
    ]
    assert story.reasons == {3: "loading"}


def test_a_request_some_time_after_a_failed_load_tries_anew() -> None:
    story = Story()
    story.arrive(1, "A")
    story.exited(1)
    story.now = 1.0
    assert story.arrive(2, "A") == [StartProcess(2, "A")]


def test_a_load_that_takes_too_long_is_refused_and_stopped_and_later_ones_wait_for_the_exit() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.tell(LoadTimedOut(1, "not ready after 15 s")) == [
        WriteLog("error", "A: could not be loaded: not ready after 15 s; not tried again for 1 s"),
        Refuse(1, Fault.LOAD_FAILED, "model A could not be loaded: not ready after 15 s", 1.0),
        StopProcess(1, "load timeout", "it did not become ready in time"),
    ]
    story.now = 1.0
    assert story.arrive(2, "A") == []
    assert story.reasons == {2: "waiting for A to stop"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]


def test_an_exit_after_we_said_stop_is_no_failed_load() -> None:
    story = Story()
    story.arrive(1, "A")
    story.tell(UnloadRequested(9, ("A",)))
    orders = story.exited(1, "killed by SIGTERM")
    assert not any(isinstance(order, Refuse | WriteLog) for order in orders)
    assert orders[-1] == StartProcess(2, "A")


def test_a_crash_fails_no_request_that_waits() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert story.exited(1, "killed by SIGSEGV") == [
        DropRun(1),
        WriteLog("warn", "A: killed by SIGSEGV while it was ready"),
        StartProcess(2, "B"),
    ]


def test_a_model_that_crashed_is_started_for_the_next_request() -> None:
    story = Story()
    story.load("A", 1)
    story.exited(1)
    assert story.arrive(2, "A") == [StartProcess(2, "A")]


def test_a_request_that_waits_at_a_draining_model_that_crashes_is_not_failed() -> None:
    story = Story(max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1,)), 1)
    story.arrive(3, "A")
    orders = story.exited(1)
    assert not any(isinstance(order, Refuse) for order in orders)
    assert orders[-1] == StartProcess(2, "B")
    assert story.ready(2)[0] == Admit(2, 2)


def test_late_facts_about_a_dead_run_are_dropped() -> None:
    story = Story()
    story.load("A", 1)
    story.exited(1)
    assert story.ready(1) == []
    assert story.exited(1) == []
    assert story.idle(1) == []
    assert story.drained(1) == []
    assert story.tell(LoadTimedOut(1, "late")) == []


def test_a_run_that_is_told_to_stop_is_not_revived_by_its_late_readiness() -> None:
    story = Story()
    story.arrive(1, "A")
    story.tell(UnloadRequested(9, ("A",)))
    assert story.ready(1) == []
    assert story.tell(LoadTimedOut(1, "late")) == []
    assert story.states == {"A": "stopping"}


def test_a_late_notice_of_a_client_that_left_is_dropped() -> None:
    story = Story()
    story.load("A", 1)
    assert story.abandon(1) == []
    assert story.abandon(99) == []


def test_a_ticket_that_is_abandoned_is_answered() -> None:
    story = Story()
    story.arrive(1, "A")
    story.arrive(2, "A")
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left")]
    assert story.ready(1) == [Admit(1, 1), OpenGate(1)]


def test_a_policy_that_fails_counts_as_all_of_them_and_is_reported() -> None:
    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        raise ZeroDivisionError(target)

    story = Story(evict)
    story.load("A", 1)
    report, *_, question = story.arrive(2, "B")
    assert isinstance(report, WriteLog)
    assert report.level == "error"
    assert "ZeroDivisionError: B" in report.message
    assert question == ShutIfIdle((1,))


def test_strangers_and_the_target_itself_in_a_policys_answer_are_ignored() -> None:
    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        return ["nobody", target, "A", "F"]

    story = Story(evict)
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]


def test_a_policy_is_not_asked_where_there_is_nobody_to_evict() -> None:
    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        raise AssertionError(running)

    story = Story(evict)
    story.load("A", 1)
    assert story.arrive(2, "A") == [Admit(2, 1)]


@pytest.mark.parametrize("made", [list, set, tuple, frozenset, dict.fromkeys])
def test_the_answer_of_a_policy_may_be_any_collection(made: Callable[[str], Collection[str]]) -> None:
    def evict(target: str, running: tuple[str, ...]) -> Collection[str]:
        return made("A")

    story = Story(evict)
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
