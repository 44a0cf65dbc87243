"""Nobody goes for a model that cannot be started: whether it can is asked before, and what comes of the answer."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
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
from llamaswap_lib.core.events import LaunchChecked, PreloadRequested
from tests.core.story import Story, rules, together

MISSING = "No such file or directory: '/no/such/program'"
FAILED = [
    WriteLog("error", f"B: could not be loaded: could not start: {MISSING}; not tried again for 1 s"),
    Refuse(2, Fault.LOAD_FAILED, f"model B could not be loaded: could not start: {MISSING}", 1.0),
]


def test_an_idle_model_is_not_stopped_for_one_that_cannot_be_started() -> None:
    story = Story()
    story.load("A", 1)
    story.problems["B"] = MISSING
    assert story.arrive(2, "B") == FAILED
    assert story.states == {"A": "ready"}
    assert story.swaps == []


def test_a_load_that_failed_before_anybody_went_is_backed_off_like_any_other() -> None:
    story = Story()
    story.load("A", 1)
    story.problems["B"] = MISSING
    story.arrive(2, "B")
    story.now = 0.25
    [refusal] = story.arrive(3, "B")
    assert isinstance(refusal, Refuse)
    assert (refusal.fault, refusal.retry_after) == (Fault.BACKING_OFF, 0.75)
    assert story.launch_checks == ["B"]
    del story.problems["B"]
    story.now = 1.0
    assert story.arrive(4, "B") == [ShutIfIdle((1,))]


def test_everybody_who_waits_for_it_is_told() -> None:
    story = Story()
    story.load("A", 1)
    question = story.arrive(2, "B")[-1]
    assert isinstance(question, ShutIfIdle)
    assert story.answer(question, 1) == []
    assert story.arrive(3, "B") == []
    story.problems["B"] = MISSING
    refused = [effect for effect in story.idle(1) if isinstance(effect, Refuse)]
    assert [(refusal.ticket, refusal.fault) for refusal in refused] == [(2, Fault.LOAD_FAILED), (3, Fault.LOAD_FAILED)]
    assert story.states == {"A": "ready"}


def test_it_is_told_at_once_also_while_the_model_in_the_way_is_busy_for_somebody_else() -> None:
    story = Story()
    story.load("A", 1)
    question = story.arrive(2, "C")[-1]
    assert isinstance(question, ShutIfIdle)
    assert story.answer(question, 1) == []  # A is watched from here on: nothing is asked of its gate until it says so
    story.problems["B"] = MISSING
    [_, refusal] = story.arrive(3, "B")
    assert isinstance(refusal, Refuse)
    assert (refusal.ticket, refusal.fault) == (3, Fault.LOAD_FAILED)


def test_while_it_waits_it_is_not_looked_at_again_until_somebody_is_to_go() -> None:
    story = Story()
    story.load("A", 1)
    question = story.arrive(2, "B")[-1]
    assert isinstance(question, ShutIfIdle)
    story.answer(question, 1)
    for ticket in range(3, 9):
        story.arrive(ticket, "B")
    assert story.launch_checks == ["B"]
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert story.launch_checks == ["B", "B"]


def test_a_request_that_asks_when_nobody_waits_any_more_is_looked_at_anew() -> None:
    story = Story()
    story.load("A", 1)
    question = story.arrive(2, "C")[-1]
    assert isinstance(question, ShutIfIdle)
    story.answer(question, 1)
    story.arrive(3, "B")
    story.abandon(3)
    story.problems["B"] = MISSING
    [_, refusal] = story.arrive(4, "B")
    assert isinstance(refusal, Refuse)


def test_one_that_waited_too_long_shuts_nobody_if_it_cannot_be_started_by_then() -> None:
    story = Story(max_wait=5.0)
    story.load("A", 1)
    question = story.arrive(2, "B")[-1]
    assert isinstance(question, ShutIfIdle)
    story.answer(question, 1)
    story.problems["B"] = MISSING
    assert story.wait_until(5.0) == FAILED
    assert story.states == {"A": "ready"}


def test_gates_that_were_shut_open_again_when_it_turns_out_that_it_cannot_be_started() -> None:
    story = Story(max_wait=5.0)
    story.load("A", 1)
    question = story.arrive(2, "B")[-1]
    assert isinstance(question, ShutIfIdle)
    story.answer(question, 1)
    [shut] = story.wait_until(5.0)
    assert isinstance(shut, ShutGates)
    assert story.answer(shut, 1) == []
    assert story.states == {"A": "draining"}
    story.problems["B"] = MISSING
    assert story.drained(1) == [*FAILED, OpenGate(1)]


def test_a_load_that_nobody_waits_for_is_not_stopped_for_it_either() -> None:
    story = Story()
    story.arrive(1, "A")
    story.abandon(1)
    story.problems["B"] = MISSING
    assert story.arrive(2, "B") == FAILED
    assert story.states == {"A": "starting"}
    assert story.arrive(3, "C") == [StopProcess(1, "swap", "to make room for C")]


def test_one_that_is_there_may_make_room_though_it_could_not_be_started_again() -> None:
    story = Story(rules(A="B"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.ready(2)
    assert story.states == {"A": "ready", "B": "ready"}
    story.problems["A"] = MISSING
    question = story.arrive(3, "A")[-1]
    assert question == ShutIfIdle((2,))
    assert story.launch_checks == []


def test_it_is_told_at_once_also_while_another_model_loads() -> None:
    story = Story()
    story.arrive(1, "A")
    story.problems["B"] = MISSING
    assert story.arrive(2, "B") == FAILED
    assert story.states == {"A": "starting"}


def test_a_load_that_nobody_waits_for_any_more_is_looked_at_again_before_it_is_stopped() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.arrive(2, "B") == []  # A loads for somebody
    story.problems["B"] = MISSING
    [left, *failed] = story.abandon(1)
    assert left == Refuse(1, Fault.ABANDONED, "the client left")
    assert failed == FAILED
    assert story.states == {"A": "starting"}


def test_what_has_to_evict_nobody_is_left_to_its_own_start() -> None:
    story = Story(together)
    story.problems["B"] = MISSING
    story.load("A", 1)
    assert story.arrive(2, "B") == [StartProcess(2, "B")]
    assert story.launch_checks == []


def test_a_model_that_was_stopped_already_is_not_brought_back_by_a_look_that_fails_later() -> None:
    """Of two that must go, one is stopped, and then it turns out: the other one stays."""
    story = Story(max_wait=5.0, evict=lambda target, running: set(running) - {target} if target == "C" else ())
    story.load("A", 1)
    story.load("B", 2)
    question = story.arrive(3, "C")[-1]
    assert question == ShutIfIdle((1, 2))
    assert isinstance(question, ShutIfIdle)
    story.answer(question, 0, 1)
    [shut] = story.wait_until(5.0)
    assert isinstance(shut, ShutGates)
    assert StopProcess(1, "swap", "to make room for C") in story.answer(shut, 0, 1)
    story.problems["C"] = MISSING
    effects = story.drained(2)
    assert [type(effect) for effect in effects] == [WriteLog, Refuse, OpenGate]
    assert story.states == {"A": "stopping", "B": "ready"}


def test_a_preload_that_cannot_be_started_disturbs_nobody() -> None:
    story = Story()
    story.load("A", 1)
    story.problems["B"] = MISSING
    [report] = story.tell(PreloadRequested(("B",)))
    assert isinstance(report, WriteLog)
    assert story.states == {"A": "ready"}


def test_a_late_answer_about_a_model_that_nobody_waits_for_only_counts_as_a_failed_load() -> None:
    story = Story()
    story.load("A", 1)
    assert story.tell(LaunchChecked("B", "")) == []
    assert story.arrive(2, "A") == [Admit(2, 1)]
