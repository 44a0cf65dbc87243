"""What runs and who waits, read by anybody at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import replace

from llamaswap_lib.core.events import TimePassed
from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.plan import Wait
from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.runtime.control.swaps import Swap, Swaps
from tests.runtime.launches import PATIENCE, Stage, Visit, one_at_a_time


def test_what_runs_is_told_with_what_it_does() -> None:
    with Stage("a", "b") as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        [busy] = stage.controller.details()
        assert (busy.run.model, busy.pid, busy.port) == ("a", 1001, None)
        assert (busy.in_flight, busy.idle_seconds, busy.waiting) == (1, 0.0, 0)
        visit.leave()
        waiting.await_in()
        waiting.leave()
        [idle] = stage.controller.details()
        assert (idle.run.model, idle.in_flight, idle.waiting) == ("b", 0, 0)
        assert 0.0 <= idle.idle_seconds < PATIENCE
        assert stage.controller.tickets() == ()


def test_a_run_that_loads_is_not_idle_and_has_those_who_wait() -> None:
    with Stage("a", obeys=False) as stage:
        visits = [Visit(stage, "a"), Visit(stage, "a")]
        stage.await_queue("a", "a")
        [run] = stage.controller.details()
        assert (run.run.state, run.idle_seconds, run.waiting) == ("starting", 0.0, 2)
        stage.next_process().become_ready()
        for visit in visits:
            visit.await_in()
            visit.leave()


def test_requests_in_progress_are_counted_when_the_queue_is_read() -> None:
    with Stage("a", "b") as stage:
        first = Visit(stage, "a")
        first.await_in()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        assert [ticket.reason for ticket in stage.controller.tickets()] == ["waiting for a: 1 request in progress"]
        second = Visit(stage, "a")  # through the open gate: the controller knows nothing of it
        second.await_in()
        assert [ticket.reason for ticket in stage.controller.tickets()] == ["waiting for a: 2 requests in progress"]
        second.leave()
        first.leave()
        waiting.await_in()
        waiting.leave()


def test_reading_never_waits_for_a_decision() -> None:
    is_asked, may_answer, has_answered = threading.Event(), threading.Event(), threading.Event()

    def slow_policy(target: str, running: Collection[str]) -> list[str]:
        if target == "c":
            is_asked.set()
            may_answer.wait(PATIENCE)
            has_answered.set()
        return one_at_a_time(target, running)

    with Stage("a", "b", "c", evict=slow_policy) as stage:
        first = Visit(stage, "a")
        first.await_in()
        second = Visit(stage, "b")
        stage.await_queue("b")
        third = Visit(stage, "c")
        assert is_asked.wait(PATIENCE)
        assert [ticket.model for ticket in stage.controller.tickets()] == ["b"]
        assert [detail.run.model for detail in stage.controller.details()] == ["a"]
        assert stage.controller.plan("b").waits_for == (Wait("a", "requests", 1),)
        assert not has_answered.is_set()
        may_answer.set()
        first.leave()
        for visit in (second, third):
            visit.await_in()
            visit.leave()


def test_a_plan_is_told_before_anything_has_happened() -> None:
    with Stage("a", "b") as stage:
        plan = stage.controller.plan("a")
        assert (plan.state, plan.evicts, plan.waits_for) == ("stopped", (), ())


def test_requests_in_progress_are_counted_when_a_plan_is_made() -> None:
    with Stage("a", "b") as stage:
        visits = [Visit(stage, "a"), Visit(stage, "a")]
        for visit in visits:
            visit.await_in()
        assert stage.controller.plan("b").waits_for == (Wait("a", "requests", 2),)
        for visit in visits:
            visit.leave()
        assert stage.controller.plan("b").waits_for == ()
        assert [run.model for run in stage.controller.runs()] == ["a"]


def test_a_request_that_was_let_in_is_not_in_the_queue_any_more() -> None:
    with Stage("a", "b") as stage:
        for number in range(30):
            visit = Visit(stage, "ab"[number % 2])
            visit.await_in()
            assert stage.controller.tickets() == ()
            assert [detail.in_flight for detail in stage.controller.details() if detail.run.state == "ready"] == [1]
            visit.leave()


def test_a_swap_is_one_line_in_the_log() -> None:
    def explain(target: str, running: tuple[str, ...]) -> Explanation:
        return Explanation(f"because of {target}", cost=len(running))

    with Stage("a", "b", explain=explain) as stage:
        for model in "ab":
            visit = Visit(stage, model)
            visit.await_in()
            visit.leave()
        lines = [line for line in stage.lines if "swap to " in line]
        assert len(lines) == 1
        assert lines[0].endswith("swap to b: stopping a; because of b, cost 1\n")


def test_a_swap_is_told_when_it_is_over_with_what_it_was_for() -> None:
    swaps: list[Swap] = []
    with Stage("a", "b", explain=lambda target, _: Explanation(f"because of {target}")) as stage:
        stage.controller.listen_to_swaps(swaps.append)
        for model in "aba":
            visit = Visit(stage, model)
            visit.await_in()
            visit.leave()
        stage.controller.settle()
    assert [(swap.gone, swap.model, swap.reason) for swap in swaps] == [
        (("a",), "b", "because of b"),
        (("b",), "a", "because of a"),
    ]
    assert all(0.0 <= swap.seconds < PATIENCE for swap in swaps)


def test_a_swap_that_nobody_waits_for_any_more_is_never_told() -> None:
    told: list[Swap] = []
    swaps = Swaps()
    swaps.listen(told.append)
    starting = RunView(2, "b", 1, "starting", RunState.STARTING, 6.0, None)
    swaps.begin("b", ("a",), "why", 5.0)
    swaps.look((), ("b",), 5.5)
    swaps.look((), (), 6.0)
    swaps.look((replace(starting, ready_at=7.0),), (), 8.0)
    assert told == []
    swaps.begin("b", ("a",), "why", 5.0)
    swaps.look((starting,), (), 6.5)
    swaps.look((replace(starting, ready_at=7.5),), (), 8.0)
    swaps.look((replace(starting, ready_at=7.5),), (), 8.0)
    assert told == [Swap(("a",), "b", "why", 2.5)]


def test_a_swap_to_a_model_that_runs_already_is_told_when_the_others_have_gone() -> None:
    def for_a_alone(target: str, running: Collection[str]) -> list[str]:
        return one_at_a_time(target, running) if target == "a" else []

    swaps: list[Swap] = []
    with Stage("a", "b", "c", evict=for_a_alone, obeys=False) as stage:
        stage.controller.listen_to_swaps(swaps.append)
        beside = []
        for model in "abc":
            visit = Visit(stage, model)
            beside.append(stage.next_process())
            beside[-1].become_ready()
            visit.await_in()
            visit.leave()
        visit = Visit(stage, "a")
        for process in beside[1:]:
            process.await_order("stop")
        beside[1].exit()
        stage.controller.settle()
        assert swaps == []
        beside[2].exit()
        visit.await_in()
        stage.controller.settle()
        assert [(sorted(swap.gone), swap.model) for swap in swaps] == [(["b", "c"], "a")]
        assert 0.0 <= swaps[0].seconds < PATIENCE
        visit.leave()


def test_a_swap_to_a_model_that_runs_already_is_told_though_one_that_has_gone_is_loaded_again_at_once() -> None:
    told: list[Swap] = []
    swaps = Swaps()
    swaps.listen(told.append)
    ready = RunView(1, "a", 1, "ready", RunState.READY, 1.0, 2.0)
    stopping = RunView(2, "b", 1, "stopping", RunState.STOPPING, 3.0, 4.0)
    swaps.begin("a", ("b",), "why", 5.0)
    swaps.look((ready, stopping), ("a", "b"), 6.0)
    assert told == []
    swaps.look((ready, RunView(3, "b", 2, "starting", RunState.STARTING, 7.0, None)), ("b",), 7.0)
    assert told == [Swap(("b",), "a", "why", 2.0)]


def test_a_swap_to_a_model_that_runs_already_is_forgotten_when_its_client_leaves_before_all_have_gone() -> None:
    told: list[Swap] = []
    swaps = Swaps()
    swaps.listen(told.append)
    ready = RunView(1, "a", 1, "ready", RunState.READY, 1.0, 2.0)
    busy = RunView(2, "b", 2, "ready", RunState.READY, 3.0, 4.0)
    swaps.begin("a", ("b", "c"), "why", 5.0)
    swaps.look((ready, busy), ("a",), 6.0)
    swaps.look((ready, busy), (), 7.0)
    swaps.look((ready,), (), 8.0)
    assert told == []


def test_whom_a_model_was_behind_is_known_since_a_moment() -> None:
    with Stage("a", "b") as stage:
        first = Visit(stage, "a")
        first.await_in()
        since = time.monotonic()
        assert stage.controller.behind("a", 0.0) == ""
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        first.leave()
        waiting.await_in()
        waiting.leave()
        assert stage.controller.behind("b", since) == "a"
        assert stage.controller.behind("b", time.monotonic()) == ""


def test_every_change_of_the_queue_is_told_once_it_can_be_read() -> None:
    seen: list[list[str]] = []
    with Stage("a", "b") as stage:
        stage.controller.listen_to_queue(lambda: seen.append([ticket.model for ticket in stage.controller.tickets()]))
        first = Visit(stage, "a")
        first.await_in()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        also = Visit(stage, "b")
        stage.await_queue("b", "b")
        stage.controller.settle()
        assert [queue for queue, before in zip(seen, [[], *seen], strict=False) if queue != before] == [
            ["a"],
            [],
            ["b"],
            ["b", "b"],
        ]
        first.leave()
        for visit in (waiting, also):
            visit.await_in()
            visit.leave()
        stage.controller.settle()
        assert seen[-1] == []


def test_it_is_told_which_runs_somebody_waits_for_to_finish_their_requests() -> None:
    told: list[frozenset[int]] = []
    with Stage("a", "b") as stage:
        stage.controller.listen_to_waits(told.append)
        first = Visit(stage, "a")
        first.await_in()
        stage.controller.settle()
        assert told == []
        [run] = stage.controller.runs()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        also = Visit(stage, "b")
        stage.await_queue("b", "b")
        stage.controller.settle()
        assert told == [{run.run_id}]
        first.leave()
        for visit in (waiting, also):
            visit.await_in()
            visit.leave()
        stage.controller.settle()
        assert told == [{run.run_id}, set()]


def test_who_waits_for_an_unload_is_one_who_waits_for_its_requests() -> None:
    told: list[frozenset[int]] = []
    with Stage("a") as stage:
        stage.controller.listen_to_waits(told.append)
        visit = Visit(stage, "a")
        visit.await_in()
        [run] = stage.controller.runs()
        unload = threading.Thread(target=stage.controller.unload, args=(["a"], None))
        unload.start()
        stage.await_until(lambda: told == [{run.run_id}])
        visit.leave()
        unload.join(PATIENCE)
        stage.controller.settle()
        assert told == [{run.run_id}, set()]


def test_a_listener_that_fails_is_reported_and_the_others_are_told() -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    told: list[list[str]] = []
    with Stage("a") as stage:
        stage.controller.listen(fail)
        stage.controller.listen(lambda runs: told.append([run.state for run in runs]))
        visit = Visit(stage, "a")
        visit.await_in()
        visit.leave()
        assert ["ready"] in told
        assert any("controller: a listener failed" in line for line in stage.lines)


def test_nobody_is_told_of_a_queue_that_stays_empty() -> None:
    told: list[None] = []
    with Stage("a") as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        visit.leave()
        stage.controller.settle()
        stage.controller.listen_to_queue(lambda: told.append(None))
        for _ in range(20):
            visit = Visit(stage, "a")
            visit.await_in()
            visit.leave()
            stage.controller.post(TimePassed())
        stage.controller.settle()
        assert told == []
