"""In which order, how long, and what is kept for whom: priority, `max_wait`, claims and reservations."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    Refuse,
    ShutGate,
    ShutGates,
    ShutIfIdle,
    StartProcess,
    StopProcess,
)
from llamaswap_lib.core.events import UnloadRequested
from llamaswap_lib.core.model_spec import ModelSpec
from tests.core.story import Story, rules

URGENT = ModelSpec(priority=5)


def test_among_equals_who_came_first_is_served_first() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "C")
    story.answer(ShutIfIdle((1,)), 1)
    story.arrive(3, "B")
    story.idle(1)
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for C")]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "C")]


def test_a_higher_priority_is_served_first() -> None:
    story = Story(specs={"B": URGENT})
    story.load("A", 1)
    story.arrive(2, "C")
    story.answer(ShutIfIdle((1,)), 1)
    story.arrive(3, "B")
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert [view.ticket for view in story.scheduler.snapshot().queue] == [3, 2]


def test_past_max_wait_the_gate_in_front_is_shut() -> None:
    story = Story(max_wait=10.0)
    story.load("A", 1)
    story.now = 1.0
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 3)
    assert story.wait_until(2.0) == []  # from when on it is looked at
    assert story.scheduler.next_deadline() == 11.0
    assert story.wait_until(11.0) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 3) == []
    assert story.states == {"A": "draining"}
    assert story.scheduler.runs()[0].state == "ready"
    assert story.arrive(3, "A") == []
    assert story.reasons == {2: "waiting for A: 3 requests in progress", 3: "after B"}
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]


def test_a_drained_notice_is_only_a_hint() -> None:
    story = Story(max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1,)), 1)
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.states == {"A": "draining"}


def test_all_gates_in_front_are_shut_at_once_and_each_stops_as_it_empties() -> None:
    story = Story(rules(C="AB"), max_wait=10.0)
    story.load("A", 1)
    story.load("B", 2)
    story.arrive(3, "C")
    story.answer(ShutIfIdle((1, 2)), 1, 1)
    assert story.wait_until(10.0) == [ShutGates((1, 2))]
    assert story.answer(ShutGates((1, 2)), 1, 1) == []
    assert story.drained(2) == [ShutGates((1, 2))]
    assert story.answer(ShutGates((1, 2)), 1, 0) == [StopProcess(2, "swap", "to make room for C")]
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "swap", "to make room for C")]


def test_past_max_wait_age_counts_and_priority_does_not() -> None:
    story = Story(specs={"B": URGENT}, max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "C")
    story.answer(ShutIfIdle((1,)), 1)
    story.now = 5.0
    story.arrive(3, "B")
    assert [view.ticket for view in story.scheduler.snapshot().queue] == [3, 2]
    assert story.wait_until(10.0) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 1) == []
    assert story.wait_until(15.0) == []
    assert [view.ticket for view in story.scheduler.snapshot().queue] == [2, 3]
    assert story.drained(1) == [ShutGates((1,))]
    assert story.answer(ShutGates((1,)), 0) == [StopProcess(1, "swap", "to make room for C")]


def test_without_max_wait_a_busy_model_is_never_shut() -> None:
    story = Story(max_wait=0.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert story.wait_until(1.0) == []  # from when on it is looked at
    assert story.scheduler.next_deadline() is None
    assert story.wait_until(1e9) == []


def test_past_max_wait_no_gate_is_shut_while_a_victim_loads_for_somebody() -> None:
    story = Story(rules(C="AB"), max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "C")
    story.answer(ShutIfIdle((1,)), 1)
    story.arrive(3, "B")
    assert story.wait_until(10.0) == []
    assert story.reasons == {2: "B is loading for others", 3: "loading"}
    assert story.ready(2) == [Admit(3, 2), ShutGates((1, 2))]


def test_a_swap_that_has_begun_is_not_overtaken_by_requests_for_the_models_that_it_stops() -> None:
    def for_itself(target: str, running: tuple[str, ...]) -> set[str]:
        """C minds A and B only once it runs."""
        return {"A", "B"} if target == "C" and "C" in running else set()

    story = Story(for_itself)
    for ticket, model in enumerate("CAB", 1):
        story.arrive(ticket, model)
        story.ready(ticket)
    assert story.arrive(4, "C") == [ShutIfIdle((2, 3))]
    assert len(story.answer(ShutIfIdle((2, 3)), 0, 0)) == 2
    assert story.arrive(5, "A") == story.arrive(6, "B") == []
    assert story.exited(2) == [DropRun(2)]
    assert story.reasons == {4: "waiting for B to stop", 5: "after C", 6: "after C"}
    assert story.exited(3)[:2] == [DropRun(3), Admit(4, 1)]


def test_a_shut_gate_that_nobody_needs_any_more_opens_and_its_waiters_are_admitted() -> None:
    story = Story(max_wait=10.0, specs={"A": ModelSpec(ttl=30.0)})
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1,)), 1)
    story.arrive(3, "A")
    story.now = 12.0
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left"), Admit(3, 1), OpenGate(1)]
    assert story.states == {"A": "ready"}
    assert story.scheduler.next_deadline() == 42.0


def test_a_shut_gate_opens_again_though_nobody_waits_there() -> None:
    story = Story(max_wait=10.0, specs={"A": ModelSpec(ttl=30.0)})
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1,)), 1)
    story.now = 12.0
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left"), OpenGate(1)]
    assert story.scheduler.next_deadline() == 42.0


def test_the_gates_of_the_others_open_again_when_a_crash_ends_the_need() -> None:
    """C goes for both A and B, but only while both run."""
    story = Story(lambda target, running: {"A", "B"} if target == "C" and {"A", "B"} <= set(running) else set(), 10.0)
    story.load("A", 1)
    story.load("B", 2)
    story.arrive(3, "C")
    story.answer(ShutIfIdle((1, 2)), 1, 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1, 2)), 1, 1)
    orders = story.exited(1, "killed by SIGKILL")
    assert orders[0] == DropRun(1)
    assert orders[2:] == [StartProcess(3, "C"), OpenGate(2)]


def test_a_swap_that_has_begun_is_not_overtaken_by_a_higher_priority() -> None:
    story = Story(specs={"C": URGENT})
    story.load("A", 1)
    story.arrive(2, "B")
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert story.arrive(3, "C") == []
    assert story.reasons == {2: "waiting for A to stop", 3: "after B"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]


def test_a_claim_belongs_to_its_ticket_and_ends_with_it() -> None:
    story = Story(specs={"C": URGENT})
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    story.arrive(3, "B")
    story.arrive(4, "C")
    story.abandon(2)
    assert story.exited(1) == [DropRun(1), StartProcess(2, "C")]


def test_a_claim_ends_with_the_start() -> None:
    """B's load is ended by an unload: when it waits anew it has no more right than others."""
    story = Story(specs={"C": URGENT})
    story.load("A", 1)
    assert story.swap(1, 2, "B") == [DropRun(1), StartProcess(2, "B")]
    story.arrive(3, "C")
    story.tell(UnloadRequested(9, None))
    assert story.exited(2)[-1] == StartProcess(3, "C")


def test_nothing_starts_that_would_have_to_evict_who_waits_for_an_exit() -> None:
    story = Story(rules(B="A", C="B"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.arrive(3, "C") == []
    assert story.reasons == {2: "waiting for A to stop", 3: "after B"}


def test_nothing_starts_that_who_waits_for_an_exit_would_have_to_evict() -> None:
    story = Story(rules(B="AC"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.arrive(3, "C") == []
    assert story.reasons == {2: "waiting for A to stop", 3: "after B"}


def test_an_overdue_ticket_keeps_its_place() -> None:
    story = Story(rules(B="AC"), max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    story.wait_until(10.0)
    story.answer(ShutGates((1,)), 1)
    assert story.arrive(3, "C") == []
    assert story.reasons[3] == "after B"


def test_a_ticket_that_waits_for_a_busy_model_keeps_no_place() -> None:
    story = Story(rules(B="AC"), max_wait=10.0)
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert story.arrive(3, "C") == [StartProcess(2, "C")]


def test_what_does_not_clash_with_a_place_starts_beside_it() -> None:
    story = Story(rules(B="A"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.arrive(3, "C") == [StartProcess(2, "C")]


def test_a_place_is_judged_on_the_world_as_it_will_be() -> None:
    """C may not run beside A, but A is on its way out."""
    story = Story(rules(B="A", C="A"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.arrive(3, "C") == []
    assert story.reasons == {2: "waiting for A to stop", 3: "waiting for A to stop"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B"), StartProcess(3, "C")]


def test_a_model_that_clashes_only_with_who_is_leaving_starts_beside_a_place() -> None:
    """C fits beside A and B, or beside E, for which A and B are leaving; all four would be too many."""

    def evict(target: str, running: tuple[str, ...]) -> set[str]:
        sets = [set(chosen) for chosen in ("AB", "ABC", "CE") if target in chosen]
        return min((set(running) - chosen for chosen in sets), key=len)

    story = Story(evict, max_wait=10.0)
    story.load("A", 1)
    story.load("B", 2)
    story.arrive(3, "E")
    story.answer(ShutIfIdle((1, 2)), 1, 1)
    assert story.wait_until(10.0) == [ShutGates((1, 2))]
    story.answer(ShutGates((1, 2)), 1, 1)
    assert story.arrive(4, "C") == [StartProcess(3, "C")]


def test_a_model_that_loads_for_an_earlier_request_is_not_evicted_for_a_later_one() -> None:
    """B, in front, was started beside C while C was loading. C waits for B to go, and A, which goes for C, behind C."""
    story = Story(rules(A="C", B="D", C="B"), max_wait=1.0)
    story.load("A", 1)
    story.load("D", 2)
    story.arrive(3, "B")
    story.answer(ShutIfIdle((2,)), 1)
    assert story.arrive(4, "C") == [StartProcess(3, "C"), ShutGate(1)]
    story.arrive(5, "A")
    assert story.wait_until(2.0) == [ShutGates((2,))]
    assert story.answer(ShutGates((2,)), 0) == [StopProcess(2, "swap", "to make room for B")]
    assert story.exited(2) == [DropRun(2), StartProcess(4, "B")]
    assert story.ready(3) == []
    assert story.reasons == {3: "loading", 4: "B is loading for others", 5: "after C"}
    assert story.ready(4) == [Admit(3, 4), ShutGates((4,))]
    assert story.answer(ShutGates((4,)), 0) == [StopProcess(4, "swap", "to make room for C")]
    assert story.exited(4) == [DropRun(4), Admit(4, 3), ShutGates((3,))]


def test_no_request_overtakes_one_that_waits_if_the_policy_contradicts_itself() -> None:
    """C must go for A, unless D runs. D starts: the gate of A stays shut until its waiters are admitted."""
    story = Story(lambda target, running: {"C"} if target == "A" and "D" not in running else set())
    story.load("A", 1)
    story.arrive(2, "C")
    story.ready(2)
    assert story.arrive(3, "A") == [ShutIfIdle((2,))]
    assert story.answer(ShutIfIdle((2,)), 1) == []
    assert story.arrive(4, "D") == [StartProcess(3, "D")]
    assert story.ready(3) == [Admit(4, 3), Admit(3, 1), OpenGate(1), OpenGate(3)]
