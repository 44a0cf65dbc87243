"""What is said of a swap: once, what goes and why, with the set and the cost where a matrix chose."""

from __future__ import annotations

from collections.abc import Sequence

from llamaswap_lib.core.effects import ReportSwap, ShutGates, ShutIfIdle, StopProcess
from llamaswap_lib.core.eviction import Explanation, RunningModel
from llamaswap_lib.core.eviction.dsl import compile_sets
from llamaswap_lib.core.eviction.group import Group, GroupPolicy
from llamaswap_lib.core.eviction.matrix import MatrixPolicy
from llamaswap_lib.core.eviction.own import OwnPolicy
from tests.core.story import Story, rules


def tag(target: str, running: tuple[str, ...]) -> Explanation:
    return Explanation(f"{target} beside {''.join(running)}")


def test_a_swap_is_reported_once_before_the_first_stop() -> None:
    story = Story(rules(C="AB"), explain=tag)
    story.load("A", 1)
    story.load("B", 2)
    assert story.arrive(3, "C") == [ShutIfIdle((1, 2))]
    assert story.swaps == []
    assert len(story.answer(ShutIfIdle((1, 2)), 0, 0)) == 2
    assert story.swaps == [ReportSwap("C", ("A", "B"), Explanation("C beside AB"))]


def test_a_swap_whose_victims_leave_one_by_one_is_reported_once() -> None:
    story = Story(rules(C="AB"), max_wait=10.0)
    story.load("A", 1)
    story.load("B", 2)
    story.arrive(3, "C")
    story.answer(ShutIfIdle((1, 2)), 1, 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1, 2)), 1, 0)
    story.drained(1)
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "swap", "to make room for C")]
    assert [(swap.model, swap.evicted) for swap in story.swaps] == [("C", ("A", "B"))]


def test_a_decision_that_nothing_comes_of_is_not_reported() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.abandon(2)
    assert story.swaps == []


def test_a_swap_that_ends_a_load_nobody_waits_for_is_reported() -> None:
    story = Story()
    story.arrive(1, "A")
    story.arrive(2, "B")
    assert story.swaps == []
    story.abandon(1)
    assert [(swap.model, swap.evicted) for swap in story.swaps] == [("B", ("A",))]


def test_the_next_swap_is_reported_again() -> None:
    story = Story()
    story.load("A", 1)
    story.swap(1, 2, "B")
    story.ready(2)
    story.swap(2, 3, "A")
    assert [(swap.model, swap.evicted) for swap in story.swaps] == [("B", ("A",)), ("A", ("B",))]


def test_neither_an_unload_nor_a_ttl_is_a_swap() -> None:
    story = Story()
    story.load("A", 1)
    story.exited(1, "killed by SIGKILL")
    assert story.swaps == []


GROUPS = (
    Group("small", ("A", "B")),
    Group("free", ("C", "D"), swap=False, exclusive=False),
    Group("kept", ("E",), persistent=True),
)


def test_groups_say_which_rule_it_was() -> None:
    explain, evict = GroupPolicy(GROUPS).explain, GroupPolicy(GROUPS).evict
    assert str(explain("A", ("B", "E"))) == "group small runs one model at a time"
    assert str(explain("A", ("C",))) == "group small is exclusive"
    assert str(explain("A", ("B", "C"))) == "group small runs one model at a time and group small is exclusive"
    assert explain("A", ("C", "B", "A", "E")).reasons == {
        "B": "group small runs one model at a time",
        "C": "group small is exclusive",
    }
    for target in "ABCDE":
        for running in ((), ("A",), ("B", "C"), ("C", "D", "E"), tuple("ABCDE")):
            why = explain(target, running)
            assert set(why.reasons) == evict(target, running)
            assert bool(why.rule) == bool(why.reasons)


def test_a_matrix_says_the_set_its_expression_and_the_cost() -> None:
    sets = compile_sets({"coding": "A &\n  (B | C)", "all": "+coding & D"}, lambda name: name)
    explain = MatrixPolicy(sets, {"B": 7}).explain
    assert explain("C", ("A", "B")) == Explanation("set coding = A & (B | C)", "coding", "A & (B | C)", 7)
    assert str(explain("C", ("A", "B", "E"))) == "set coding = A & (B | C), cost 8"
    assert str(explain("D", ("A", "E"))) == "set all = +coding & D, cost 1"
    assert explain("E", ("A", "B")) == Explanation("E is in no set and runs alone", cost=8)


def test_a_policy_of_ones_own_is_named() -> None:
    class Everybody:
        def evict(self, target: str, running: Sequence[RunningModel]) -> list[str]:
            return [model.model for model in running]

    assert str(OwnPolicy(Everybody(), "lru.py:Policy").explain("A", ("B",))) == "decided by lru.py:Policy"
