"""One pass over the models somebody waits for: rules 1 to 5, who serves whom, side by side."""

from __future__ import annotations

from llamaswap_lib.core.effects import (
    Admit,
    DropRun,
    Fault,
    OpenGate,
    Refuse,
    ShutGate,
    ShutIfIdle,
    StartProcess,
    StopProcess,
)
from tests.core.story import Story, one_place, rules, together


def test_a_request_for_a_model_that_does_not_exist_is_refused() -> None:
    story = Story()
    assert story.arrive(1, "X") == [Refuse(1, Fault.UNKNOWN_MODEL, "model not found: X")]


def test_the_first_request_starts_the_model_and_is_admitted_when_it_is_ready() -> None:
    story = Story()
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    assert story.reasons == {1: "loading"}
    assert story.ready(1) == [Admit(1, 1), OpenGate(1)]
    assert story.reasons == {}


def test_later_requests_join_the_load() -> None:
    story = Story()
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    assert story.arrive(2, "A") == []
    assert story.arrive(3, "A") == []
    assert story.ready(1) == [Admit(1, 1), Admit(2, 1), Admit(3, 1), OpenGate(1)]


def test_a_request_that_came_too_late_for_the_gate_is_admitted_to_the_ready_model() -> None:
    story = Story()
    story.load("A", 1)
    assert story.arrive(2, "A") == [Admit(2, 1)]


def test_an_idle_victim_is_stopped_and_the_new_model_starts_when_it_has_exited() -> None:
    story = Story()
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert story.reasons == {2: "waiting for A to stop"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]


def test_a_busy_victim_finishes_first_and_goes_on_serving() -> None:
    story = Story()
    story.load("A", 1)
    assert story.arrive(2, "B") == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 2) == []
    assert story.reasons == {2: "waiting for A: 2 requests in progress"}
    assert story.arrive(3, "A") == [Admit(3, 1)]
    assert story.arrive(4, "C") == []  # A is watched: no use asking
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]


def test_a_notice_is_a_hint_and_the_gate_is_asked_again() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 1)
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 1) == []
    assert story.idle(1) == [ShutIfIdle((1,))]


def test_several_victims_are_asked_at_once() -> None:
    story = Story(rules(C="AB"))
    story.load("A", 1)
    story.load("B", 2)
    assert story.arrive(3, "C") == [ShutIfIdle((1, 2))]
    assert story.answer(ShutIfIdle((1, 2)), 0, 1) == []
    assert story.states == {"A": "ready", "B": "ready"}
    assert story.idle(2) == [ShutIfIdle((1, 2))]
    assert story.answer(ShutIfIdle((1, 2)), 0, 0) == [
        StopProcess(1, "swap", "to make room for C"),
        StopProcess(2, "swap", "to make room for C"),
    ]
    assert story.exited(2) == [DropRun(2)]
    assert story.exited(1) == [DropRun(1), StartProcess(3, "C")]


def test_requests_for_three_models_by_turns_are_served_model_by_model() -> None:
    """A B C A B C becomes A A B B C C."""
    story = Story()
    served = []
    story.arrive(1, "A")
    for ticket, model in enumerate("BCABC", 2):
        story.arrive(ticket, model)
    for run_id in (1, 2, 3):
        orders = story.ready(run_id)
        served += [order.ticket for order in orders if isinstance(order, Admit)]
        if orders[-1] == ShutIfIdle((run_id,)):
            assert story.answer(ShutIfIdle((run_id,)), 2) == [OpenGate(run_id)]
            assert story.idle(run_id) == [ShutIfIdle((run_id,))]
            story.answer(ShutIfIdle((run_id,)), 0)
            story.exited(run_id)
    assert served == [1, 4, 2, 5, 3, 6]


def test_models_that_do_not_clash_load_side_by_side() -> None:
    story = Story(together)
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    assert story.arrive(2, "B") == [StartProcess(2, "B")]
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]
    assert story.ready(1) == [Admit(1, 1), OpenGate(1)]


def test_a_victim_that_loads_for_somebody_is_left_to_finish() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.arrive(2, "B") == []
    assert story.reasons == {1: "loading", 2: "A is loading for others"}
    assert story.ready(1) == [Admit(1, 1), ShutIfIdle((1,))]


def test_a_load_whose_requests_have_all_gone_makes_room_at_once() -> None:
    story = Story()
    story.arrive(1, "A")
    story.arrive(2, "B")
    assert story.abandon(1) == [
        Refuse(1, Fault.ABANDONED, "the client left"),
        StopProcess(1, "swap", "to make room for B"),
    ]
    assert story.exited(1) == [DropRun(1), StartProcess(2, "B")]


def test_a_load_whose_requests_have_all_gone_finishes_if_nobody_is_in_its_way() -> None:
    story = Story()
    story.arrive(1, "A")
    assert story.abandon(1) == [Refuse(1, Fault.ABANDONED, "the client left")]
    assert story.ready(1) == [OpenGate(1)]


def test_a_load_that_nobody_waits_for_any_more_does_not_start() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left")]
    assert story.exited(1) == [DropRun(1)]


def test_a_request_for_a_ready_model_also_sends_away_whom_the_policy_wants_gone() -> None:
    """B was started beside A; a request for A still wants B gone."""
    story = Story(rules(A="B"))
    story.load("A", 1)
    assert story.arrive(2, "B") == [StartProcess(2, "B"), ShutGate(1)]
    assert story.ready(2) == [Admit(2, 2), OpenGate(2)]
    assert story.arrive(3, "A") == [ShutIfIdle((2,))]
    assert story.answer(ShutIfIdle((2,)), 0) == [StopProcess(2, "swap", "to make room for A")]
    assert story.exited(2) == [DropRun(2), Admit(3, 1), OpenGate(1)]


def test_a_ready_model_admits_only_when_those_on_their_way_out_are_gone_as_well() -> None:
    story = Story(rules(A="B"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.ready(2)
    story.arrive(3, "A")
    story.answer(ShutIfIdle((2,)), 0)
    assert story.arrive(4, "A") == []
    assert story.reasons == {3: "waiting for B to stop", 4: "waiting for B to stop"}


def test_a_load_that_is_ready_waits_for_those_who_must_go_for_it() -> None:
    """B waited longer, so that it was started beside A while A was loading; A goes for B."""
    story = Story(rules(A="B", B="C"))
    story.load("C", 1)
    story.arrive(2, "B")  # C is busy
    story.answer(ShutIfIdle((1,)), 1)
    assert story.arrive(3, "A") == [StartProcess(2, "A")]
    assert story.idle(1) == [ShutIfIdle((1,))]
    assert story.answer(ShutIfIdle((1,)), 0) == [StopProcess(1, "swap", "to make room for B")]
    assert story.exited(1) == [DropRun(1), StartProcess(3, "B")]
    assert story.ready(2) == []
    assert story.reasons == {2: "loading", 3: "B is loading for others"}
    assert story.ready(3) == [Admit(2, 3), ShutIfIdle((3,))]
    assert story.answer(ShutIfIdle((3,)), 1) == [OpenGate(3)]


def test_a_load_holds_its_place_against_whom_it_would_send_away() -> None:
    story = Story(rules(A="B"))
    assert story.arrive(1, "A") == [StartProcess(1, "A")]
    assert story.arrive(2, "B") == []
    assert story.reasons == {1: "loading", 2: "A is loading for others"}
    assert story.ready(1) == [Admit(1, 1), StartProcess(2, "B")]


def test_the_model_that_is_on_its_way_out_is_started_again_when_it_has_exited() -> None:
    story = Story(rules(B="A"))
    story.load("A", 1)
    story.arrive(2, "B")
    story.answer(ShutIfIdle((1,)), 0)
    assert story.abandon(2) == [Refuse(2, Fault.ABANDONED, "the client left")]
    assert story.arrive(3, "A") == []
    assert story.reasons == {3: "waiting for A to stop"}
    assert story.exited(1) == [DropRun(1), StartProcess(2, "A")]


def test_the_policy_is_a_function_of_names() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def evict(target: str, running: tuple[str, ...]) -> set[str]:
        asked.append((target, running))
        return set(one_place(target, running))

    story = Story(evict)
    story.load("A", 1)
    asked.clear()
    story.arrive(2, "B")
    assert set(asked) == {("B", ("A",))}


def test_runs_are_numbered_and_each_life_of_a_model_too() -> None:
    story = Story()
    story.load("A", 1)
    story.swap(1, 2, "B")
    story.ready(2)
    story.swap(2, 3, "A")
    views = story.scheduler.runs()
    assert [(view.run_id, view.model, view.incarnation, view.state) for view in views] == [(3, "A", 2, "starting")]


def test_what_the_scheduler_says_of_itself_is_one_line() -> None:
    story = Story()
    story.load("A", 1)
    story.arrive(2, "B")
    assert repr(story.scheduler) == "<scheduler runs[<run 1 A #1 ready open>] waiting[B:1] unloads[0]>"
