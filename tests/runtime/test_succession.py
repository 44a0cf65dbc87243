"""Two controllers, of which one takes over from the other: who is inside, who waits, and what each decides."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from llamaswap_lib.core.events import Event, ModelsChanged
from llamaswap_lib.core.eviction import Rules
from llamaswap_lib.core.model_spec import ModelSpec
from llamaswap_lib.errors import ClientGone, ConcurrencyLimit, HttpError, LoadFailed, RunNotDead, ServiceUnavailable
from llamaswap_lib.runtime.control.live_run import Upstream
from tests.runtime.launches import FakeProcess, Stage, Visit, one_at_a_time, side_by_side, standing_still

PATIENCE = 30.0


class FakeAdoption:
    """Has the heir's configuration, and makes its processes."""

    def __init__(self, heir: Stage, models: Collection[str], replaced: Collection[str], **rules: Any) -> None:
        self._heir = heir
        self._models = models
        self._replaced = replaced
        self._evict = rules.get("evict", one_at_a_time)

    def adopt(
        self, described: Mapping[str, Any], read_end: int | None, post: Callable[[Event], None]
    ) -> tuple[FakeProcess, Upstream]:
        assert read_end is None
        process = FakeProcess(described["run_id"], described["model"], post, obeys=False)
        self._heir.processes.append(process)
        return process, Upstream(process.run_id, process.model, described["proxy"], described["port"])

    def change(self, running: Mapping[str, str], former: Collection[str]) -> ModelsChanged:
        specs = {model: ModelSpec(unload_timeout=PATIENCE) for model in self._models}
        blocked = {model: frozenset(specs) for model in running if model not in {*specs, *former}}
        return ModelsChanged(specs, frozenset(self._replaced), Rules(self._evict), 0.0, blocked)


class Link:
    """What the two say to each other, once it has begun; nothing, once it is cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self._lock = threading.Lock()  # protects what follows
        self._held: list[Callable[[], None]] | None = []

    def to(self, receive: Callable[[Mapping[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        def send(message: dict[str, Any]) -> None:
            told = json.dumps(message)
            with self._lock:
                if self._held is not None:
                    self._held.append(lambda: receive(json.loads(told)))
                elif not self.is_cut:
                    receive(json.loads(told))

        return send

    def begin(self, first: Callable[[], None]) -> None:
        with self._lock:
            held, self._held = self._held or [], None
            for deliver in (first, *held):
                deliver()


@contextmanager
def succession(
    elder: Stage, *models: str, replaced: Collection[str] = (), **options: Any
) -> Iterator[tuple[Stage, Link]]:
    """The heir of `elder`, which decides; it has `models`, and rules and limits as a `Stage`."""
    heir, link = Stage(*models, **{"obeys": False, **options}), Link()
    state, copies = elder.controller.freeze(PATIENCE)
    assert copies == []
    adoption = FakeAdoption(heir, models, replaced, **options)
    heir.controller.adopt(json.loads(json.dumps(state)), [], adoption)
    commit = elder.controller.retire(link.to(heir.controller.receive))
    link.begin(lambda: heir.controller.begin(json.loads(json.dumps(commit)), link.to(elder.controller.receive)))
    try:
        yield heir, link
    finally:
        elder.controller.settle()
        heir.__exit__(None, None, None)


def ready(stage: Stage, model: str) -> FakeProcess:
    """The process of a model that is ready, with nobody inside."""
    visit = Visit(stage, model)
    process = stage.next_process()
    process.become_ready()
    visit.await_in()
    visit.leave()
    return process


def served(stage: Stage, model: str) -> None:
    """A request comes and goes."""
    visit = Visit(stage, model)
    visit.await_in()
    visit.leave()


def settled(*stages: Stage) -> None:
    """What each has said to the other is heard."""
    for _ in range(3):
        for stage in stages:
            stage.controller.settle()


# -- frozen --


def test_a_frozen_one_decides_nothing_and_goes_on_where_it_was() -> None:
    with Stage("a", "b", obeys=False) as stage:
        process = ready(stage, "a")
        stage.controller.freeze(PATIENCE)
        inside = Visit(stage, "a")  # through the gate
        inside.await_in()
        waiting = Visit(stage, "b")
        assert not stage.controller.answers(0.05)
        stage.controller.resume()
        stage.await_queue("b")
        assert process.orders == ["start", "hand over", "keep"]
        inside.leave()
        process.await_order("stop")
        process.exit()
        stage.next_process().become_ready()
        waiting.await_in()
        waiting.leave()


def test_one_that_does_not_answer_in_time_is_not_frozen() -> None:
    stage = Stage("a")
    with pytest.raises(TimeoutError, match="the controller has not answered"):
        stage.controller.freeze(0.01)
    with stage:
        served(stage, "a")


def test_a_process_that_cannot_be_handed_over_leaves_all_as_it_was() -> None:
    with Stage("a", obeys=False) as stage:
        process = ready(stage, "a")
        process.hand_over = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # a mistake of ours
        with pytest.raises(ZeroDivisionError):
            stage.controller.freeze(PATIENCE)
        served(stage, "a")
        assert process.orders == ["start", "keep"]


def test_a_state_of_another_format_is_not_understood() -> None:
    with pytest.raises(ValueError, match="speaks of format 2, and 1 is understood"):
        Stage("a").controller.adopt({"format": 2}, [], FakeAdoption(Stage("a"), ["a"], []))


# -- who is inside --


def test_a_run_that_the_elder_is_in_is_not_stopped() -> None:
    with Stage("a", "b", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        with succession(elder, "a", "b") as (heir, _):
            assert heir.states() == {"a": "ready"}
            assert heir.inside("a") == 1
            waiting = Visit(heir, "b")
            heir.await_queue("b")
            assert "stop" not in heir.processes[0].orders
            inside.leave()
            heir.processes[0].await_order("stop")
            heir.processes[0].exit()
            heir.next_process().become_ready()
            waiting.await_in()
            waiting.leave()


def test_requests_of_both_are_let_in_and_leave() -> None:
    with Stage("a", obeys=False) as elder:
        ready(elder, "a")
        with succession(elder, "a") as (heir, _):
            late, own = Visit(elder, "a"), Visit(heir, "a")
            assert late.await_in() == own.await_in() == Upstream(1, "a", "http://a")
            assert heir.inside("a") == 2
            late.leave()
            settled(elder, heir)
            assert heir.inside("a") == 1
            own.leave()


def test_who_waits_for_a_load_is_let_in_by_the_heir() -> None:
    with Stage("a", obeys=False) as elder:
        waiting = Visit(elder, "a")
        elder.next_process()
        elder.await_queue("a")
        with succession(elder, "a") as (heir, _):
            [process] = heir.processes
            heir.await_queue("a")
            process.await_order("start")
            assert process.loading_since is not None
            process.become_ready()
            assert waiting.await_in().proxy == "http://a"
            waiting.leave()


def test_who_waits_gets_a_run_that_the_heir_has_started() -> None:
    with Stage("a", "b", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = Visit(elder, "b")
        elder.await_queue("b")
        with succession(elder, "a", "b") as (heir, _):
            inside.leave()
            heir.processes[0].await_order("stop")
            heir.processes[0].exit()
            heir.next_process().become_ready()
            assert waiting.await_in() == Upstream(2, "b", "http://b")
            assert heir.inside("b") == 1
            waiting.leave()
            settled(elder, heir)
            assert heir.inside("b") == 0


def test_the_order_of_arrival_stays() -> None:
    with Stage("a", "b", "c", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = []
        for model in ("c", "b"):
            waiting.append(Visit(elder, model))
            elder.await_until(lambda model=model: model in [ticket.model for ticket in elder.tickets()])  # type: ignore[misc]
        before = elder.tickets()
        with succession(elder, "a", "b", "c") as (heir, _):
            assert [(ticket.model, ticket.since) for ticket in heir.tickets()] == [
                (ticket.model, ticket.since) for ticket in before
            ]
            inside.leave()
            elder.controller.note_link_lost()
            for visit in waiting:
                visit.await_error()


def test_who_leaves_waits_no_more() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", obeys=False) as elder, ours, theirs:
        waiting = Visit(elder, "a", ours)
        elder.next_process()
        elder.await_queue("a")
        with succession(elder, "a") as (heir, _):
            theirs.close()
            assert isinstance(waiting.await_error(), ClientGone)
            heir.await_until(heir.is_queue_empty)


def test_one_whose_run_has_died_moves_on_to_the_next_run() -> None:
    with Stage("a", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        with succession(elder, "a") as (heir, _):
            heir.processes[0].exit("killed by SIGKILL")
            inside.lose()
            heir.next_process().become_ready()
            elder.await_until(lambda: inside.upstream is not None and inside.upstream.run_id == 2)
            inside.leave()


@pytest.mark.slow
def test_one_whose_run_lives_is_told_so() -> None:
    with Stage("a", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        with succession(elder, "a"):
            inside.lose()
            assert isinstance(inside.await_error(), RunNotDead)


def test_a_load_that_fails_is_told_with_its_last_words() -> None:
    with Stage("a", obeys=False, clock=standing_still) as elder:
        waiting = Visit(elder, "a")
        elder.next_process()
        elder.await_queue("a")
        with succession(elder, "a", clock=standing_still) as (heir, _):
            heir.processes[0].exit("exited with code 3")
            error = waiting.await_error()
            assert isinstance(error, LoadFailed)
            assert "exited with code 3" in str(error)
            assert error.last_words == ("last words of run 1 of a",)
            late = Visit(elder, "a")
            assert "next try in" in str(late.await_error())


def test_a_model_that_the_heir_does_not_have_is_refused_and_stopped_once_it_is_empty() -> None:
    with Stage("a", "b", obeys=False, evict=side_by_side) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = Visit(elder, "b")
        elder.next_process()
        elder.await_queue("b")
        with succession(elder, "c", evict=side_by_side) as (heir, _):
            assert "not configured any more" in str(waiting.await_error())
            heir.processes[1].await_order("stop")
            assert "stop" not in heir.processes[0].orders
            inside.leave()
            heir.processes[0].await_order("stop")


def test_a_model_that_is_started_otherwise_now_is_replaced() -> None:
    with Stage("a", obeys=False) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        with succession(elder, "a", replaced=["a"]) as (heir, _):
            waiting = Visit(heir, "a")
            heir.await_queue("a")
            inside.leave()
            heir.processes[0].await_order("stop")
            heir.processes[0].exit()
            heir.next_process().become_ready()
            assert waiting.await_in().run_id == 2
            waiting.leave()


# -- limits --


def test_limits_hold_over_both() -> None:
    with Stage("a", obeys=False, limits={"a": 2}) as elder:
        ready(elder, "a")
        first = Visit(elder, "a")
        first.await_in()
        with succession(elder, "a", limits={"a": 2}) as (heir, _):
            second = Visit(elder, "a")
            second.await_in()
            assert isinstance(Visit(heir, "a").await_error(), ConcurrencyLimit)
            assert isinstance(Visit(elder, "a").await_error(), ConcurrencyLimit)
            first.leave()
            settled(elder, heir)
            third = Visit(heir, "a")
            third.await_in()
            assert isinstance(Visit(elder, "a").await_error(), ConcurrencyLimit)
            second.leave()
            settled(elder, heir)
            fourth = Visit(elder, "a")
            fourth.await_in()
            third.leave()
            fourth.leave()
            settled(elder, heir)
            for _ in range(2):
                served(heir, "a")


def test_one_that_waits_keeps_its_place_and_a_load_takes_none() -> None:
    with Stage("a", obeys=False, limits={"a": 1}) as elder:
        waiting = Visit(elder, "a")
        elder.next_process()
        elder.await_queue("a")
        with succession(elder, "a", limits={"a": 1}) as (heir, _):
            assert isinstance(Visit(heir, "a").await_error(), ConcurrencyLimit)
            heir.processes[0].become_ready()
            waiting.await_in()
            elder.controller.load("a", None)
            waiting.leave()
            settled(elder, heir)
            served(heir, "a")


# -- unloads, and ends --


def test_an_unload_is_answered_by_the_heir() -> None:
    with Stage("a", obeys=False) as elder:
        ready(elder, "a")
        with succession(elder, "a", obeys=True) as (heir, _):
            heir.processes[0].exit_when_stopped()
            elder.controller.unload(["a"], None)
            assert heir.states() == {}


def test_a_run_whose_end_has_begun_is_ended_by_the_elder() -> None:
    with Stage("a", "b", obeys=False) as elder:
        process = ready(elder, "a")
        waiting = Visit(elder, "b")
        process.await_order("stop")
        elder.await_queue("b")
        process.is_of_elder = True  # as a process says that has been told to stop
        with succession(elder, "a", "b") as (heir, _):
            assert heir.states() == {"a": "stopping"}
            assert heir.processes[0].is_of_elder
            process.exit()
            heir.processes[0].await_order("gone: exited with code 0")
            heir.processes[0].exit()
            heir.next_process().become_ready()
            waiting.await_in()
            waiting.leave()


def test_the_elder_tells_how_a_leader_has_exited() -> None:
    with Stage("a", obeys=False) as elder:
        process = ready(elder, "a")
        with succession(elder, "a") as (heir, _):
            process.lose_leader("killed by SIGSEGV")
            process.exit("killed by SIGSEGV")  # which is for the heir to find
            heir.processes[0].await_order("killed by SIGSEGV")
            settled(elder, heir)
            assert not any(order.startswith("gone") for order in heir.processes[0].orders)


def test_an_elder_that_dies_gives_back_all_that_it_had() -> None:
    with Stage("a", "b", obeys=False, limits={"a": 1}) as elder:
        ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = Visit(elder, "b")
        elder.await_queue("b")
        with succession(elder, "a", "b", limits={"a": 1}) as (heir, link):
            heir.await_queue("b")
            assert heir.controller.has_elder
            link.is_cut = True
            heir.controller.note_link_lost()
            heir.await_until(heir.is_queue_empty)
            assert not heir.controller.has_elder
            assert heir.inside("a") == 0
            heir.processes[0].await_order("elder gone")
            served(heir, "a")
            elder.controller.note_link_lost()
            waiting.await_error()
            inside.leave()


def test_who_waits_is_refused_when_the_heir_dies() -> None:
    with Stage("a", "b", obeys=False) as elder:
        process = ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = Visit(elder, "b")
        elder.await_queue("b")
        with succession(elder, "a", "b") as (_, link):
            link.is_cut = True
            elder.controller.note_link_lost()
            assert isinstance(waiting.await_error(), ServiceUnavailable)
            assert isinstance(Visit(elder, "a").await_error(), ServiceUnavailable)
            with pytest.raises(ServiceUnavailable):
                elder.controller.unload(["a"], None)
            process.await_order("keep")
            inside.leave()
            assert "stop" not in process.orders


def test_a_retired_one_that_ends_refuses_who_waits_and_stops_nobody() -> None:
    with Stage("a", "b", obeys=False) as elder:
        process = ready(elder, "a")
        inside = Visit(elder, "a")
        inside.await_in()
        waiting = Visit(elder, "b")
        elder.await_queue("b")
        with succession(elder, "a", "b"):
            assert elder.controller.shut_down(0.0, PATIENCE)
            elder.controller.kill_all()
            assert isinstance(waiting.await_error(), ServiceUnavailable)
            inside.leave()
            assert {"stop", "kill"}.isdisjoint(process.orders)


def test_an_error_of_the_heir_is_an_error_of_the_elders_request() -> None:
    with Stage("a", "b", obeys=False) as elder, succession(elder, "a", launch_faults=[ValueError("no way")]):
        error = Visit(elder, "a").await_error()
        assert isinstance(error, HttpError)
        assert "no way" in str(error)


def test_the_heir_can_have_an_heir_once_its_elder_has_gone() -> None:
    with Stage("a", obeys=False) as first:
        ready(first, "a")
        with succession(first, "a") as (second, _):
            second.controller.note_link_lost()
            second.await_until(lambda: not second.controller.has_elder)
            inside = Visit(second, "a")
            inside.await_in()
            with succession(second, "a") as (third, _):
                assert third.inside("a") == 1
                inside.leave()
                settled(second, third)
                assert third.inside("a") == 0
                served(third, "a")


# -- which models are ready, for requests that take no place --


def test_the_elder_knows_which_models_are_ready_in_the_heir() -> None:
    with Stage("a", "b", evict=one_at_a_time) as elder:
        ready(elder, "a")
        with succession(elder, "a", "b") as (heir, _):
            settled(heir, elder)
            assert (elder.controller.is_ready("a"), elder.controller.is_ready("b")) == (True, False)
            [process] = heir.processes
            visit = Visit(heir, "b")
            process.await_order("stop")
            process.exit()
            heir.next_process().become_ready()
            visit.await_in()
            visit.leave()
            settled(heir, elder)
            assert (elder.controller.is_ready("a"), elder.controller.is_ready("b")) == (False, True)
            assert elder.controller.ready_upstream("a") is None
            assert elder.controller.ready_upstream("b") == heir.controller.ready_upstream("b")
