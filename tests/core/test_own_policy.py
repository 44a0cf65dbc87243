"""Policies of users' own: what they are shown, what they may answer, second thoughts and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import pytest

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    OpenGate,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
    WriteLog,
)
from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.own import OwnPolicy, PolicyFailedError
from tests.core.story import Story

Answer = Collection[str] | Sequence[Collection[str]]


class Scripted:
    """Says what `answer` says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, Sequence[RunningModel]], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[RunningModel, ...]]] = []

    def evict(self, target: str, running: Sequence[RunningModel]) -> Answer:
        self.asked.append((target, tuple(running)))
        answer: Answer = self.answer(target, running)
        return answer


def saying(answer: object) -> Scripted:
    return Scripted(lambda _target, _running: answer)


class Idlest:
    """One place less than there are models: who has been idle longest makes room."""

    def __init__(self, places: int) -> None:
        self.places = places

    def evict(self, target: str, running: Sequence[RunningModel]) -> list[str]:
        others = sorted((one for one in running if one.model != target), key=lambda one: -one.idle_seconds)
        return [one.model for one in others[: max(0, len(others) + 1 - self.places)]]


def stands_never(_target: str) -> bool:
    return False


def unseen(model: str) -> RunningModel:
    return RunningModel(model, "ready")


# -- what it is shown --


def test_it_is_shown_state_idle_time_places_in_use_and_load_time() -> None:
    policy = saying(())
    story = Story(policy=policy)
    story.arrive(1, "A")
    story.now = 3.0
    story.ready(1)
    story.now, story.inside = 10.0, {1: (0, 6.0)}
    story.arrive(2, "B")
    assert policy.asked[-1] == ("A", (RunningModel("A", "ready", 4.0, 0, 3.0, 7.0), RunningModel("B", "starting")))
    story.now, story.inside = 11.0, {1: (2, 6.0)}
    story.arrive(3, "C")
    views = dict(policy.asked)["C"]
    assert views[:2] == (RunningModel("A", "ready", 0.0, 2, 3.0, 8.0), RunningModel("B", "starting"))


def test_a_model_that_nobody_has_entered_is_idle_since_it_was_ready() -> None:
    policy = saying(())
    story = Story(policy=policy)
    story.arrive(1, "A")
    story.now = 30.0
    story.ready(1)
    story.now, story.inside = 31.0, {1: (0, 0.0)}  # its gate is as old as its process
    story.arrive(2, "B")
    assert dict(policy.asked)["B"][0].idle_seconds == 1.0


def test_it_is_shown_who_is_on_the_way_out() -> None:
    policy = Idlest(1)
    asked = Scripted(policy.evict)
    story = Story(policy=asked)
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert story.reasons == {2: "waiting for A to stop"}
    story.now = 7.0
    story.abandon(2)
    story.arrive(3, "C")
    assert asked.asked[-1] == ("C", (RunningModel("A", "stopping", load_seconds=0.0),))
    assert story.reasons == {3: "waiting for A to stop"}


def test_when_a_model_is_ready_it_is_shown_how_busy_the_others_are_by_then() -> None:
    policy = saying(())
    story = Story(policy=policy)
    story.load("A", 1)
    story.arrive(2, "B")
    policy.asked.clear()
    story.now, story.inside = 10.0, {1: (2, 9.0)}
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]
    assert {running[0] for _, running in policy.asked} == {RunningModel("A", "ready", 0.0, 2, 0.0, 10.0)}
    story.arrive(3, "C")
    policy.asked.clear()
    story.now, story.inside = 20.0, {1: (0, 15.0), 2: (0, 12.0)}
    story.ready(3)
    assert {running[0].idle_seconds for _, running in policy.asked} == {5.0}


def test_a_request_that_is_let_in_counts_at_once() -> None:
    policy = Scripted(Idlest(1).evict)
    story = Story(policy=policy)
    story.arrive(1, "A")
    story.arrive(2, "A")
    story.arrive(3, "B")
    policy.asked.clear()
    assert story.ready(1)[:2] == [Admit(1, 1), Admit(2, 1)]
    assert policy.asked == [("B", (RunningModel("A", "ready", in_flight=2, load_seconds=0.0),))]


def test_it_is_told_anew_whenever_something_happens() -> None:
    story = Story(policy=Idlest(2))
    story.load("A", 1)
    story.load("B", 2)
    story.now, story.inside = 10.0, {1: (0, 9.0), 2: (0, 8.0)}
    assert story.arrive(3, "C") == [ShutIfIdle((2,))]
    assert story.answer(ShutIfIdle((2,)), 1) == []  # somebody was quicker
    story.now, story.inside = 11.0, {1: (0, 9.0), 2: (1, 8.0)}
    assert story.arrive(4, "D") == [ShutIfIdle((1,))]
    assert story.watched == [2]


def test_the_end_of_any_request_may_change_the_policys_answer_while_a_request_waits() -> None:
    story = Story(policy=Idlest(2))
    story.load("A", 1)
    story.load("B", 2)
    story.inside = {1: (1, 0.0), 2: (1, 0.0)}
    assert story.arrive(3, "C") == []
    assert story.watched == [1, 2]
    assert story.reasons == {3: "waiting for A: 1 request in progress"}
    story.now, story.inside = 5.0, {1: (1, 0.0), 2: (0, 4.0)}
    assert story.idle(2) == [ShutIfIdle((2,))]


def test_nobody_is_watched_while_nobody_waits() -> None:
    story = Story(policy=Idlest(2))
    story.load("A", 1)
    story.inside = {1: (1, 0.0)}
    story.wait_until(5.0)
    assert story.watched == []


# -- what it may answer --


@pytest.mark.parametrize("answer", [["A"], ("A",), {"A"}, frozenset("A"), {"A": 1}.keys(), ["A", "A", "nobody", "C"]])
def test_names_in_any_list_or_set_are_an_answer(answer: object) -> None:
    story = Story(policy=saying(answer))
    story.load("A", 1)
    assert story.arrive(2, "C") == [ShutIfIdle((1,))]


@pytest.mark.parametrize("answer", [[], (), set(), [[]], [(), ["A"]]])
def test_a_policy_may_answer_that_no_model_must_go(answer: object) -> None:
    story = Story(policy=saying(answer))
    story.load("A", 1)
    assert story.arrive(2, "C") == [StartProcess(2, "C")]


@pytest.mark.parametrize(
    ("in_flight", "chosen"),
    [
        ({"A": 0, "B": 0, "C": 0}, {"A"}),
        ({"A": 1, "B": 0, "C": 0}, {"B", "C"}),
        ({"A": 1, "B": 0, "C": 1}, {"A"}),
        ({"A": 2, "B": 1, "C": 0}, {"A"}),
    ],
)
def test_of_several_choices_the_first_that_is_idle_counts_else_the_first(
    in_flight: dict[str, int], chosen: set[str]
) -> None:
    own = OwnPolicy(saying([["A"], ("B", "C")]))
    own.observe(lambda model: RunningModel(model, "ready", 0.0, in_flight[model]), stands_never)
    assert set(own.evict("D", ("A", "B", "C"))) == chosen


@pytest.mark.parametrize("first", [["nobody", "A"], ["D", "A"], ("A",)])
def test_in_a_choice_too_strangers_and_the_target_are_ignored(first: object) -> None:
    own = OwnPolicy(saying([first, ["B"]]))
    own.observe(lambda model: RunningModel(model, "ready", in_flight=int(model in "CD")), stands_never)
    assert set(own.evict("D", ("A", "B", "D"))) == {"A"}


def test_a_model_that_is_loading_is_not_idle_and_one_that_is_leaving_is() -> None:
    own = OwnPolicy(saying([["A"], ["B"]]))
    own.observe(lambda model: RunningModel(model, {"A": "starting", "B": "stopping"}[model]), stands_never)
    assert set(own.evict("C", ("A", "B"))) == {"B"}


@pytest.mark.parametrize(
    "answer", [None, "A", b"A", 7, [1], [["A"], "B"], [["A"], [2]], {"A": 1}, [None], {("A",)}, range(2**62)]
)
def test_anything_else_is_refused_by_name_and_everybody_goes(answer: object) -> None:
    own = OwnPolicy(saying(answer))
    with pytest.raises(PolicyFailedError, match="TypeError: expected names of models, or a list of choices of names"):
        own.evict("C", ("A", "B"))
    assert own.evict("C", ("A", "B")) == ("A", "B")


def test_an_answer_that_the_policy_goes_on_changing_is_not_changed() -> None:
    names = ["A"]
    own = OwnPolicy(saying(names))
    own.evict("C", ("A", "B"))
    names.append("B")
    assert own.evict("C", ("A", "B")) == ("A",)


# -- second thoughts --


def test_within_one_decision_an_answer_stands() -> None:
    answers = iter([["A"], ["B"]])
    own = OwnPolicy(Scripted(lambda _target, _running: next(answers)))
    assert own.evict("C", ("A", "B")) == own.evict("C", ("B", "A")) == ("A",)
    own.observe(unseen, stands_never)
    assert own.evict("C", ("A", "B")) == ("B",)


class Fickle:
    """Of A and B it wants gone who was not asked for last."""

    def __init__(self) -> None:
        self.victim = "A"

    def evict(self, target: str, running: Sequence[RunningModel]) -> list[str]:
        return [self.victim] if target == "C" and len(running) == 2 else []


def test_it_may_change_its_mind_until_the_swap_is_overdue_but_not_then() -> None:
    policy = Fickle()
    story = Story(policy=policy, max_wait=10.0)
    story.load("A", 1)
    story.load("B", 2)
    story.inside = {1: (1, 0.0), 2: (1, 0.0)}
    assert story.arrive(3, "C") == []
    policy.victim = "B"
    story.arrive(4, "C")
    assert story.reasons[3] == "waiting for B: 1 request in progress"
    assert story.wait_until(10.0) == [ShutGates((2,))]
    assert story.answer(ShutGates((2,)), 1) == []
    policy.victim = "A"
    assert story.arrive(5, "B") == []
    assert story.states == {"A": "ready", "B": "draining"}
    story.inside = {1: (1, 0.0), 2: (0, 11.0)}
    assert story.drained(2) == [ShutGates((2,))]
    assert story.answer(ShutGates((2,)), 0) == [StopProcess(2, "swap", "to make room for C")]
    assert story.exited(2)[:2] == [DropRun(2), StartProcess(3, "C")]


def test_a_swap_that_has_begun_is_not_changed() -> None:
    policy = Scripted(Idlest(2).evict)
    story = Story(policy=policy)
    story.load("A", 1)
    story.load("B", 2)
    story.now, story.inside = 10.0, {1: (0, 1.0), 2: (0, 2.0)}
    assert story.arrive(3, "C") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for C")]
    policy.answer = lambda target, running: [] if target == "B" else [one.model for one in running]
    assert story.arrive(4, "B") == [Admit(4, 2)]
    assert story.reasons == {3: "waiting for A to stop"}


def test_a_gate_is_shut_when_the_policy_comes_to_want_somebody_gone() -> None:
    policy = Fickle()
    policy.victim = ""
    story = Story(policy=policy)
    story.load("A", 1)
    story.load("C", 2)
    policy.victim = "A"
    assert story.wait_until(5.0) == [ShutGate(2)]
    assert story.arrive(3, "C") == [ShutIfIdle((1,))]
    policy.victim = ""
    assert story.answer(ShutIfIdle((1,)), 1) == []
    assert story.wait_until(6.0) == [Admit(3, 2), OpenGate(2)]


# -- mistakes --


def broken(_target: str, _running: Sequence[RunningModel]) -> list[str]:
    raise ValueError("oh dear")


@pytest.mark.parametrize(
    "error", [ValueError("oh"), SystemExit(1), KeyboardInterrupt(), RecursionError(), StopIteration()]
)
def test_whatever_it_raises_everybody_goes_and_the_log_has_the_traceback_once(error: BaseException) -> None:
    def fail(_target: str, _running: Sequence[RunningModel]) -> None:
        raise error

    story = Story(policy=Scripted(fail))
    story.load("A", 1)
    first, *rest = story.arrive(2, "C")
    assert isinstance(first, WriteLog)
    assert first.level == "error"
    assert first.message.startswith("the policy failed for ")
    assert "in fail\n    raise error" in first.message
    assert type(error).__name__ in first.message
    assert rest[-1] == ShutIfIdle((1,))
    assert not any(isinstance(effect, WriteLog) for effect in story.arrive(3, "D"))


def test_each_kind_of_failure_is_told_once() -> None:
    def fail(target: str, running: Sequence[RunningModel]) -> Answer:
        if target == "C":
            raise ValueError(target)
        return cast(Answer, [len(running)])

    own = OwnPolicy(Scripted(fail))
    for target in ("C", "D"):
        with pytest.raises(PolicyFailedError):
            own.evict(target, ("A", "B"))
    for _ in range(3):
        own.observe(unseen, stands_never)
        assert own.evict("C", ("A", "B")) == ("A", "B")
        assert own.evict("D", ("A", "B")) == ("A", "B")


def test_a_failure_counts_for_the_whole_decision() -> None:
    asked = Scripted(broken)
    own = OwnPolicy(asked)
    with pytest.raises(PolicyFailedError):
        own.evict("C", ("A", "B"))
    asked.answer = lambda _target, _running: []
    assert own.evict("C", ("A", "B")) == ("A", "B")
    own.observe(unseen, stands_never)
    assert own.evict("C", ("A", "B")) == ()
