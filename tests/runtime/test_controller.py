"""The controller with fake processes and real threads: who gets in, who is refused, what is started and stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pytest

from llamaswap_lib.core.effects import StopKind
from llamaswap_lib.core.events import LoadDemanded, ModelsChanged
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.errors import BadGateway, ClientGone, ConcurrencyLimit, NotFound, ServiceUnavailable
from tests.runtime.launches import PATIENCE, Stage, Visit, one_at_a_time, side_by_side, standing_still, staying
from tests.shortage import no_descriptor_left

# -- going in --


def test_a_cold_model_is_started_and_let_in_when_it_is_ready() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.await_order("start")
        assert stage.states() == {"a": "starting"}
        assert not visit.is_in()
        process.become_ready()
        upstream = visit.await_in()
        assert (upstream.model, upstream.proxy, upstream.run_id) == ("a", "http://a", process.run_id)
        assert stage.states() == {"a": "ready"}
        visit.leave()


def test_a_ready_model_is_entered_without_the_controller_thread() -> None:
    door, knocked = threading.Event(), threading.Event()

    def slow_policy(target: str, running: Collection[str]) -> list[str]:
        if target == "slow":
            knocked.set()
            door.wait(PATIENCE)
        return []

    with Stage("a", "slow", evict=slow_policy) as stage:
        Visit(stage, "a").leave()
        waiting = Visit(stage, "slow")
        assert knocked.wait(PATIENCE)  # the controller thread is stuck now
        visit = Visit(stage, "a")
        visit.await_in()
        assert stage.inside("a") == 1
        visit.leave()
        door.set()
        waiting.leave()


def test_all_who_wait_for_a_load_are_let_in_together() -> None:
    with Stage("a", obeys=False) as stage:
        visits = [Visit(stage, "a") for _ in range(10)]
        process = stage.next_process()
        stage.await_queue(*"a" * 10)
        process.become_ready()
        assert {visit.await_in().run_id for visit in visits} == {process.run_id}
        assert stage.inside("a") == 10
        for visit in visits:
            visit.leave()
        assert stage.inside("a") == 0
        assert len(stage.processes) == 1


def test_runs_are_published_before_anybody_is_let_in() -> None:
    with Stage("a", "b") as stage:
        for model in "abab":
            with stage.controller.lease(model, None):
                assert stage.controller.is_ready(model)
                assert [run.model for run in stage.controller.runs()] == [model]
        assert [run.state for run in stage.published[0]] == ["starting"]


def test_the_address_of_a_run_is_told_without_a_place_only_while_it_is_ready() -> None:
    with Stage("a", obeys=False) as stage:
        assert stage.controller.ready_upstream("a") is None
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.await_order("start")
        assert stage.controller.ready_upstream("a") is None
        process.become_ready()
        upstream = visit.await_in()
        assert stage.controller.ready_upstream("a") is upstream
        assert stage.inside("a") == 1
        visit.leave()
        process.exit()
        stage.controller.settle()
        assert stage.controller.ready_upstream("a") is None


def test_an_unknown_model_is_not_found() -> None:
    with Stage("a") as stage:
        error = Visit(stage, "none").await_error()
        assert isinstance(error, NotFound)
        assert error.message == "model not found: none"
        assert not stage.controller.is_ready("none")
        assert stage.inside("none") == 0


# -- swapping --


def test_a_swap_stops_no_run_with_a_request_inside() -> None:
    with Stage("a", "b") as stage:
        inside = [Visit(stage, "a") for _ in range(3)]
        for visit in inside:
            visit.await_in()
        other = Visit(stage, "b")
        stage.await_queue("b")
        first = stage.next_process()
        for visit in inside:
            assert first.orders == ["start"]
            assert not other.is_in()
            visit.leave()
        other.await_in()
        assert first.orders == ["start", "stop"]
        other.leave()
        assert not any("[WARN]" in line for line in stage.lines)  # an exit that was asked for is no crash


def test_the_next_model_starts_only_when_the_last_has_exited() -> None:
    with Stage("a", "b", obeys=False) as stage:
        first = Visit(stage, "a")
        a = stage.next_process()
        a.become_ready()
        first.await_in()
        first.leave()
        second = Visit(stage, "b")
        a.await_order("stop")
        assert stage.states() == {"a": "stopping"}
        a.exit()
        b = stage.next_process()
        assert stage.states() == {"b": "starting"}
        b.become_ready()
        second.await_in()
        second.leave()


def test_the_queue_tells_who_waits_for_what() -> None:
    with Stage("a", "b", "c") as stage:
        inside = Visit(stage, "a")
        inside.await_in()
        others = [Visit(stage, "b")]
        stage.await_queue("b")
        others.append(Visit(stage, "c"))
        stage.await_queue("b", "c")
        queue = stage.tickets()
        assert [(ticket.place, ticket.model) for ticket in queue] == [(1, "b"), (2, "c")]
        assert queue[0].reason == "waiting for a: 1 request in progress"
        inside.leave()
        for visit in others:
            visit.await_in()
            visit.leave()
        assert stage.is_queue_empty()


def test_a_change_of_priorities_is_for_those_who_wait_already() -> None:
    with Stage("a", "b", "c") as stage:
        inside = Visit(stage, "a")
        inside.await_in()
        b = Visit(stage, "b")
        stage.await_queue("b")
        c = Visit(stage, "c")
        stage.await_queue("b", "c")
        models = {"a": ModelSpec(), "b": ModelSpec(), "c": ModelSpec(priority=1)}
        change = ModelsChanged(models, frozenset(), Rules(one_at_a_time), 0.0, {})
        stage.controller.change_models(lambda _: change, {})
        assert [(ticket.place, ticket.model) for ticket in stage.tickets()] == [(1, "c"), (2, "b")]
        inside.leave()
        c.await_in()
        assert not b.is_in()
        c.leave()
        b.await_in()
        b.leave()


def test_a_model_that_was_waited_for_longer_than_max_wait_gets_the_others_stopped() -> None:
    with Stage("hot", "cold", max_wait=0.1) as stage:
        hot = Visit(stage, "hot")
        hot.await_in()
        cold = Visit(stage, "cold")
        stage.await_queue("cold")
        while len(stage.tickets()) == 1:  # until the gate is shut they go straight in
            more = Visit(stage, "hot")
            stage.await_until(lambda: more.is_in() or len(stage.tickets()) == 2)  # noqa: B023 - it is called here
            if more.is_in():
                more.leave()
        stage.await_queue("cold", "hot")
        assert stage.controller.runs()[0].state == "ready"
        assert not stage.controller.is_ready("hot")  # who asks for it now has it loaded anew
        hot.leave()
        cold.await_in()
        cold.leave()
        more.await_in()
        more.leave()
        assert [process.model for process in stage.processes] == ["hot", "cold", "hot"]


def test_a_policy_that_fails_evicts_everybody_and_is_reported() -> None:
    def broken(target: str, running: Collection[str]) -> list[str]:
        raise RuntimeError("no idea")

    with Stage("a", "b", evict=broken) as stage:
        for model in "ab":
            Visit(stage, model).leave()
        assert stage.states() == {"b": "ready"}
        assert any("the policy failed for b" in line and "no idea" in line for line in stage.lines)


def test_an_idle_model_ends_with_its_ttl() -> None:
    with Stage("a", ttl=0.05) as stage:
        Visit(stage, "a").leave()
        stage.next_process().await_order("stop")
        stage.controller.settle()
        assert stage.states() == {}


# -- failing --


def test_a_load_that_fails_refuses_all_who_wait_with_the_last_words() -> None:
    with Stage("a", obeys=False, clock=standing_still) as stage:
        visits = [Visit(stage, "a") for _ in range(3)]
        process = stage.next_process()
        stage.await_queue("a", "a", "a")
        process.exit("exited with code 3")
        for visit in visits:
            error = visit.await_error()
            assert isinstance(error, BadGateway)
            assert error.message == "model a could not be loaded: exited with code 3\nlast words of run 1 of a"
            assert error.headers == {"x-should-retry": "false", "Retry-After": "1"}
        refused = Visit(stage, "a").await_error()
        assert isinstance(refused, BadGateway)
        told = "model a could not be loaded: exited with code 3; next try in 1 s\nlast words of run 1 of a"
        assert refused.message == told
        assert refused.headers == {"x-should-retry": "false", "Retry-After": "1"}
        assert len(stage.processes) == 1
        stage.controller.post(LoadDemanded("a"))
        later = Visit(stage, "a")
        stage.next_process().become_ready()
        later.await_in()
        later.leave()


@pytest.mark.slow
def test_a_load_is_tried_again_when_its_time_has_come() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        stage.next_process().exit()
        error = visit.await_error()
        assert isinstance(error, BadGateway)
        assert not threading.Event().wait(float(error.headers["Retry-After"]))
        later = Visit(stage, "a")
        stage.next_process().become_ready()
        later.await_in()
        later.leave()


def test_a_load_that_takes_too_long_is_stopped_and_the_next_waits_for_its_exit() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.time_out()
        assert "not ready after 15 s" in str(visit.await_error())
        process.await_order("stop")
        stage.controller.post(LoadDemanded("a"))
        later = Visit(stage, "a")
        stage.await_queue("a")
        assert len(stage.processes) == 1
        process.exit()
        stage.next_process().become_ready()
        later.await_in()
        later.leave()


def test_a_crash_while_serving_fails_no_request_that_waits() -> None:
    with Stage("a", obeys=False) as stage:
        inside = Visit(stage, "a")
        process = stage.next_process()
        process.become_ready()
        inside.await_in()
        process.exit("killed by SIGSEGV")
        assert stage.states() == {}
        later = Visit(stage, "a")
        stage.next_process().become_ready()
        assert later.await_in().run_id != inside.await_in().run_id
        inside.leave()
        later.leave()
        assert stage.lines.count("[WARN] a: killed by SIGSEGV while it was ready\n") == 1


def test_no_request_enters_a_run_that_has_ended_through_its_old_gate() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.become_ready()
        visit.leave()
        stage.controller.settle()  # who was admitted may be quicker than the opening of the gate behind it
        gate = stage.controller.entrance.current["a"].gate
        assert gate.enter(visit)
        gate.leave(visit)
        process.exit("killed by SIGSEGV")
        assert stage.states() == {}
        assert not gate.enter(visit)
        assert "a" not in stage.controller.entrance.current


def test_late_news_of_a_dead_run_is_dropped() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.exit("exited with code 1")
        visit.await_error()
        process.become_ready()
        process.time_out()
        process.exit()
        assert stage.states() == {}
        assert not any("Traceback" in line for line in stage.lines)


def test_a_stop_that_takes_too_long_becomes_a_kill() -> None:
    with Stage("a", "b", unload_timeout=0.05, obeys=False) as stage:
        visit = Visit(stage, "a")
        a = stage.next_process()
        a.become_ready()
        visit.leave()
        other = Visit(stage, "b")
        a.await_order("kill")
        assert a.orders == ["start", "stop", "kill"]
        a.exit("killed by SIGKILL")
        stage.next_process().become_ready()
        other.await_in()
        other.leave()


def test_a_listener_that_fails_is_reported_and_holds_up_nobody() -> None:
    def listen(runs: object) -> None:
        raise RuntimeError("no ears")

    with Stage("a", "b") as stage:
        stage.controller.listen(listen)
        for model in "ab":
            visit = Visit(stage, model)
            visit.await_in()
            visit.leave()
        assert any("Traceback" in line and "no ears" in line for line in stage.lines)


def test_a_swap_and_the_stop_that_it_takes_are_told_with_their_reasons() -> None:
    stops: list[tuple[int, str, StopKind, str]] = []
    swaps: list[tuple[str, str]] = []
    with Stage("a", "b") as stage:
        stage.controller.listen_to_orders(
            lambda run_id, model, kind, reason: stops.append((run_id, model, kind, reason)),
            lambda model, why: swaps.append((model, why.kind)),
        )
        for model in "ab":
            visit = Visit(stage, model)
            visit.await_in()
            visit.leave()
        assert (stops, swaps) == ([(1, "a", "swap", "to make room for b")], [("b", "policy")])


# -- leaving --


def test_a_client_that_leaves_while_its_model_loads_does_not_affect_others() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", obeys=False) as stage, ours:
        leaver, stays = Visit(stage, "a", ours), Visit(stage, "a")
        process = stage.next_process()
        stage.await_queue("a", "a")
        theirs.close()
        assert isinstance(leaver.await_error(), ClientGone)
        stage.await_queue("a")
        assert process.orders == ["start"]
        process.become_ready()
        stays.await_in()
        stays.leave()


def test_a_client_that_leaves_the_queue_takes_its_swap_along() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", "b") as stage, ours:
        inside = Visit(stage, "a")
        inside.await_in()
        leaver = Visit(stage, "b", ours)
        stage.await_queue("b")
        theirs.close()
        assert isinstance(leaver.await_error(), ClientGone)
        assert stage.is_queue_empty()
        again = Visit(stage, "a")
        again.await_in()
        again.leave()
        inside.leave()
        assert stage.states() == {"a": "ready"}
        assert len(stage.processes) == 1


def test_a_load_that_everybody_left_gives_way_at_once() -> None:
    ours, theirs = socket.socketpair()
    with Stage("slow", "quick", obeys=False) as stage, ours:
        leaver = Visit(stage, "slow", ours)
        slow = stage.next_process()
        theirs.close()
        leaver.await_error()
        visit = Visit(stage, "quick")
        slow.await_order("stop")
        slow.exit()
        stage.next_process().become_ready()
        visit.await_in()
        visit.leave()


# -- places --


def test_one_more_than_the_limit_is_refused_at_once_waiting_ones_counted() -> None:
    with Stage("a", limits={"a": 2}, obeys=False) as stage:
        visits = [Visit(stage, "a") for _ in range(2)]
        process = stage.next_process()
        stage.await_queue("a", "a")
        with pytest.raises(ConcurrencyLimit), stage.controller.lease("a", None):
            pass
        process.become_ready()
        for visit in visits:
            visit.await_in()
        with pytest.raises(ConcurrencyLimit), stage.controller.lease("a", None):
            pass
        visits[0].leave()
        again = Visit(stage, "a")
        again.await_in()
        again.leave()
        visits[1].leave()


def test_loading_by_hand_takes_no_place_and_needs_none() -> None:
    with ThreadPoolExecutor(1) as pool, Stage("a", limits={"a": 1}, obeys=False) as stage:
        loading = pool.submit(stage.controller.load, "a", None)
        process = stage.next_process()
        stage.await_queue("a")
        visit = Visit(stage, "a")
        stage.await_queue("a", "a")
        process.become_ready()
        loading.result(PATIENCE)
        visit.await_in()
        stage.controller.load("a", None)
        with pytest.raises(ConcurrencyLimit), stage.controller.lease("a", None):
            pass
        visit.leave()


def test_loading_by_hand_tries_what_has_just_failed_and_tells_how_it_went() -> None:
    with ThreadPoolExecutor(1) as pool, Stage("a", obeys=False) as stage:
        for code in (1, 2):
            loading = pool.submit(stage.controller.load, "a", None)
            stage.next_process().exit(f"exited with code {code}")
            with pytest.raises(BadGateway, match=f"exited with code {code}"):
                loading.result(PATIENCE)


def test_a_place_is_given_back_whatever_becomes_of_its_request() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", limits={"a": 1}, obeys=False) as stage, ours:
        failed = Visit(stage, "a")
        stage.next_process().exit("exited with code 1")
        failed.await_error()
        stage.controller.post(LoadDemanded("a"))
        left = Visit(stage, "a", ours)
        process = stage.next_process()
        theirs.close()
        left.await_error()
        process.become_ready()
        stage.controller.settle()
        with pytest.raises(ZeroDivisionError), stage.controller.lease("a", None):
            raise ZeroDivisionError
        served = Visit(stage, "a")
        served.await_in()
        served.leave()


# -- unloading and the end --


def test_an_unload_returns_when_what_it_named_has_exited_and_leaves_the_rest() -> None:
    with Stage("a", "b", evict=side_by_side, obeys=False) as stage, ThreadPoolExecutor() as pool:
        visits = [Visit(stage, model) for model in "ab"]
        processes = {process.model: process for process in (stage.next_process(), stage.next_process())}
        for process in processes.values():
            process.become_ready()
        for visit in visits:
            visit.await_in()
        unload = pool.submit(stage.controller.unload, ["a"], None)
        stage.controller.settle()
        assert processes["a"].orders == ["start"]  # somebody is inside
        visits[0].leave()
        processes["a"].await_order("stop")
        assert not unload.done()
        processes["a"].exit()
        unload.result(PATIENCE)
        assert stage.states() == {"b": "ready"}
        visits[1].leave()


def test_an_unload_of_models_that_do_not_run_is_answered_and_stops_no_other() -> None:
    with Stage("a", "b") as stage, ThreadPoolExecutor() as pool:
        pool.submit(stage.controller.unload, None, None).result(PATIENCE)
        visit = Visit(stage, "b")
        visit.await_in()
        for models in (["a"], []):
            pool.submit(stage.controller.unload, models, None).result(PATIENCE)
        assert stage.states() == {"b": "ready"}
        assert stage.next_process().orders == ["start"]
        visit.leave()


def test_an_unload_past_its_time_stops_a_model_with_somebody_inside() -> None:
    with Stage("a", unload_timeout=0.05) as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        stage.controller.unload(None, None)
        assert stage.next_process().orders == ["start", "stop"]
        visit.leave()


def test_a_request_during_an_unload_waits_and_loads_the_model_again() -> None:
    with Stage("a", obeys=False) as stage, ThreadPoolExecutor() as pool:
        visit = Visit(stage, "a")
        stage.next_process().become_ready()
        visit.await_in()
        unload = pool.submit(stage.controller.unload, None, None)
        while stage.states() != {"a": "stopping"}:
            pass
        late = Visit(stage, "a")
        stage.await_queue("a")
        visit.leave()
        stage.processes[0].await_order("stop")
        stage.processes[0].exit()
        unload.result(PATIENCE)
        stage.next_process().become_ready()
        late.await_in()
        late.leave()


def test_a_client_that_leaves_its_unload_does_not_stop_it() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", obeys=False) as stage, ours, ThreadPoolExecutor() as pool:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.become_ready()
        visit.leave()
        unload = pool.submit(stage.controller.unload, None, staying(ours))
        process.await_order("stop")
        theirs.close()
        assert isinstance(unload.exception(PATIENCE), ClientGone)
        assert stage.states() == {"a": "stopping"}
        process.exit()
        assert stage.states() == {}


def test_the_end_refuses_who_waits_and_lets_finish_who_is_inside() -> None:
    with Stage("a", "b") as stage, ThreadPoolExecutor() as pool:
        inside = Visit(stage, "a")
        inside.await_in()
        waiting = Visit(stage, "b")
        stage.await_queue("b")
        end = pool.submit(stage.controller.shut_down, PATIENCE, PATIENCE)
        assert isinstance(waiting.await_error(), ServiceUnavailable)
        stage.controller.settle()  # the gate is shut right after that
        assert isinstance(Visit(stage, "a").await_error(), ServiceUnavailable)
        assert stage.processes[0].orders == ["start"]
        inside.leave()
        assert end.result(PATIENCE)
        assert stage.processes[0].orders == ["start", "stop"]


def test_the_end_stops_a_model_with_somebody_inside_when_the_grace_is_over() -> None:
    with Stage("a") as stage:
        inside = Visit(stage, "a")
        inside.await_in()
        assert stage.controller.shut_down(0.05, PATIENCE)
        assert stage.processes[0].orders == ["start", "stop"]
        inside.leave()


def test_the_end_needs_no_descriptor() -> None:
    with Stage("a") as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        visit.leave()
        with no_descriptor_left():
            assert stage.controller.shut_down(0.0, PATIENCE)
        assert stage.processes[0].orders == ["start", "stop"]


def test_the_end_says_when_a_process_would_not_go_and_its_late_answer_hurts_nobody() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        process.become_ready()
        visit.leave()
        assert not stage.controller.shut_down(0.0, 0.05)
        process.exit()
        assert stage.states() == {}


def test_everything_is_killed_at_once_when_told_so() -> None:
    with Stage("a", "b", evict=side_by_side, obeys=False) as stage:
        visits = [Visit(stage, model) for model in "ab"]
        processes = [stage.next_process(), stage.next_process()]
        stage.controller.kill_all()
        for process in processes:
            process.await_order("kill")
            assert process.orders == ["start", "kill"]
        for process in processes:
            process.exit("killed by SIGKILL")
        for visit in visits:
            visit.await_error()


# -- all at once --


def test_many_threads_over_clashing_models_are_all_served_by_the_model_they_asked_for() -> None:
    with Stage(*"abc", max_wait=0.05) as stage:
        occupied: set[str] = set()
        lock = threading.Lock()
        inside = dict.fromkeys("abc", 0)

        def visit(number: int) -> None:
            model = "abc"[number % 3]
            with stage.controller.lease(model, None) as upstream:
                assert upstream.model == model
                with lock:
                    inside[model] += 1
                    occupied.update(name for name in inside if inside[name] and name != model)
                with lock:
                    inside[model] -= 1

        with ThreadPoolExecutor(30) as pool:
            list(pool.map(visit, range(600)))
        assert occupied == set()  # never two models at once
        assert stage.is_queue_empty()
        assert not any("Traceback" in line for line in stage.lines)


@pytest.mark.slow
def test_killing_everybody_after_the_end_returns() -> None:
    with Stage("a") as stage:
        stage.controller.close()
        stage.controller.kill_all()
