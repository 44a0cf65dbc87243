"""The controller with runs that hang up, crash, or come before anybody asks."""

from __future__ import annotations

import socket
import threading

import pytest

from llamaswap_lib.core.effects import Effect
from llamaswap_lib.core.events import Event, LoadDemanded, PreloadRequested, RequestArrived, TimePassed, UnloadRequested
from llamaswap_lib.core.scheduler import Scheduler
from llamaswap_lib.errors import (
    BadGateway,
    ClientGone,
    ConcurrencyLimit,
    HttpError,
    LoadFailed,
    OutOfResources,
    RunNotDead,
    ServiceUnavailable,
)
from tests.runtime.launches import PATIENCE, FakeProcess, Stage, Visit, side_by_side, standing_still


def inside(stage: Stage, *visits: Visit) -> FakeProcess:
    """They are in a run of "a", which is this."""
    process = stage.next_process()
    process.become_ready()
    for visit in visits:
        visit.await_in()
    return process


def test_a_request_that_loses_its_run_goes_on_in_the_next_one() -> None:
    with Stage("a", obeys=False) as stage:
        visits = [Visit(stage, "a") for _ in range(5)]
        first = inside(stage, *visits)
        for visit in visits:
            visit.lose()
        first.exit("killed by SIGKILL")
        second = stage.next_process()
        stage.await_queue(*"aaaaa")
        second.become_ready()
        assert {visit.await_in().run_id for visit in visits} == {second.run_id}
        assert stage.inside("a") == 5
        for visit in visits:
            visit.leave()
        assert stage.inside("a") == 0


def test_a_request_that_loses_a_run_whose_group_lingers_waits_for_its_end() -> None:
    with Stage("a", obeys=False) as stage:
        visit = Visit(stage, "a")
        first = inside(stage, visit)
        first.lose_leader("killed by SIGKILL")
        assert stage.states() == {"a": "stopping"}
        newcomer = Visit(stage, "a")
        visit.lose()
        stage.await_queue("a", "a")
        assert len(stage.processes) == 1
        first.exit("killed by SIGKILL")
        inside(stage, visit, newcomer)
        visit.leave()
        newcomer.leave()
        assert stage.lines.count("[WARN] a: killed by SIGKILL while it was ready\n") == 1


def test_a_request_whose_run_hung_up_but_lives_fails_after_two_seconds_and_is_not_let_in_again() -> None:
    now, is_lost = [100.0], threading.Event()

    class Noting(Scheduler):
        def handle(self, event: Event, now: float) -> list[Effect]:
            effects = super().handle(event, now)
            if isinstance(event, RequestArrived) and event.lost_run is not None:
                is_lost.set()
            return effects

    with Stage("a", limits={"a": 1}, clock=lambda: now[0], scheduler=Noting) as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        visit.lose()
        assert is_lost.wait(PATIENCE)
        now[0] += 1.9
        stage.controller.post(TimePassed())
        stage.controller.settle()
        assert not visit.is_over()
        now[0] += 0.2
        stage.controller.post(TimePassed())
        assert isinstance(visit.await_error(), RunNotDead)
        assert stage.inside("a") == 0
        with stage.controller.lease("a", None):  # the one place is free
            pass
        assert len(stage.processes) == 1


def test_a_request_that_loses_its_run_keeps_its_place() -> None:
    with Stage("a", limits={"a": 1}, obeys=False) as stage:
        visit = Visit(stage, "a")
        process = inside(stage, visit)
        visit.lose()
        process.exit()
        second = stage.next_process()
        with pytest.raises(ConcurrencyLimit), stage.controller.lease("a", None):
            pass
        second.become_ready()
        visit.await_in()
        visit.leave()
        with stage.controller.lease("a", None):
            pass


def test_a_client_that_leaves_while_the_end_of_its_run_is_awaited_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with Stage("a", limits={"a": 1}) as stage, ours:
        visit = Visit(stage, "a", ours)
        visit.await_in()
        theirs.close()
        visit.lose()
        assert isinstance(visit.await_error(), ClientGone)
        with stage.controller.lease("a", None):
            pass


def test_a_request_that_loses_its_run_at_the_end_of_the_server_is_refused() -> None:
    with Stage("a") as stage:
        visit = Visit(stage, "a")
        visit.await_in()
        visit.lose()
        while stage.inside("a"):
            stage.controller.settle()
        stage.controller.shut_down(1.0, PATIENCE)
        assert isinstance(visit.await_error(), ServiceUnavailable)


def test_a_model_that_dies_again_and_again_is_refused_for_a_while() -> None:
    with Stage("a", obeys=False, clock=standing_still) as stage:
        for _ in range(2):
            visit = Visit(stage, "a")
            process = inside(stage, visit)
            process.exit("killed by SIGSEGV")
            stage.controller.settle()  # else the next one gets in by the gate
            visit.leave()
        error = Visit(stage, "a").await_error()
        assert isinstance(error, BadGateway)
        assert error.message.startswith("model a keeps dying: killed by SIGSEGV 0.")
        assert error.message.endswith("; next try in 1 s\nlast words of run 2 of a")
        assert error.headers == {"x-should-retry": "false", "Retry-After": "1"}


def refused(stage: Stage, model: str) -> LoadFailed:
    error = Visit(stage, model).await_error()
    assert isinstance(error, LoadFailed)
    return error


def test_a_load_that_was_not_even_tried_has_no_last_words_of_an_earlier_run() -> None:
    with Stage("a", "b", obeys=False, clock=standing_still) as stage:
        visit = Visit(stage, "a")
        inside(stage, visit).exit("killed by SIGSEGV")  # and has said something
        stage.controller.settle()
        visit.leave()
        other = Visit(stage, "b")
        stage.next_process().become_ready()
        other.await_in()
        other.leave()
        stage.problem = "no such file"
        for _ in range(2):  # the second one is not tried
            error = refused(stage, "a")
            assert (error.last_words, error.message) == ((), error.cause)
        assert len(stage.processes) == 2


def test_a_load_whose_start_failed_has_no_last_words_of_an_earlier_run() -> None:
    with Stage("a", obeys=False, clock=standing_still) as stage:
        first = Visit(stage, "a")
        stage.next_process().exit("exited with code 3")
        assert isinstance(first.await_error(), LoadFailed)
        stage.fail_launch(OSError("no such file"))
        stage.controller.post(LoadDemanded("a"))
        for _ in range(2):
            error = refused(stage, "a")
            assert (error.last_words, error.message) == ((), error.cause)


def test_the_last_words_are_those_of_the_run_that_failed_though_another_has_begun() -> None:
    with Stage("a", obeys=False) as stage:
        waiter = stage.controller.entrance.queue_up("a", None)
        stage.next_process().exit("exited with code 3")
        assert waiter.wait_for(PATIENCE)
        stage.controller.post(LoadDemanded("a"))
        later = Visit(stage, "a")
        inside(stage, later)
        error = waiter.error()
        waiter.close()
        assert isinstance(error, LoadFailed)
        assert error.last_words == ("last words of run 1 of a",)
        later.leave()


def test_of_a_load_that_nobody_waits_for_the_log_has_the_last_words() -> None:
    with Stage("a", obeys=False, clock=standing_still) as stage:
        stage.controller.post(PreloadRequested(("a",)))
        stage.next_process().exit("exited with code 3")
        stage.controller.settle()
        assert stage.lines[-1] == (
            "[ERROR] a: could not be loaded: exited with code 3; not tried again for 1 s\n"
            "    | last words of run 1 of a\n"
        )
        error = refused(stage, "a")  # a later request is told them, and the log is not told again
        assert error.last_words == ("last words of run 1 of a",)
        assert not error.is_news()


def test_of_a_load_that_somebody_waits_for_the_last_words_are_left_to_the_requests() -> None:
    with Stage("a", obeys=False) as stage:
        visits = [Visit(stage, "a") for _ in range(3)]
        process = stage.next_process()
        stage.await_queue("a", "a", "a")
        process.exit("exited with code 3")
        errors = [visit.await_error() for visit in visits]
        assert "last words" not in "".join(stage.lines)
        assert sorted(isinstance(error, LoadFailed) and error.is_news() for error in errors) == [False, False, True]


def test_models_are_loaded_beforehand_in_order() -> None:
    with Stage("a", "b", "c", evict=side_by_side, obeys=False) as stage:
        stage.controller.post(PreloadRequested(("c", "a")))
        first = stage.next_process()
        assert stage.states() == {"c": "starting"}
        first.become_ready()
        stage.next_process().become_ready()
        assert stage.states() == {"a": "ready", "c": "ready"}
        assert stage.inside("a") == 0


def test_a_request_that_wants_a_preload_gone_has_it_gone_at_once() -> None:
    with Stage("a", "b", obeys=False) as stage:
        stage.controller.post(PreloadRequested(("a",)))
        preloading = stage.next_process()
        visit = Visit(stage, "b")
        preloading.await_order("stop")
        preloading.exit()
        stage.next_process().become_ready()
        assert visit.await_in().model == "b"
        visit.leave()
        assert stage.states() == {"b": "ready"}


class Forgetful(Scheduler):
    """One that finds no memory for the first request and the first unload."""

    has_failed_for: tuple[type[Event], ...] = ()

    def handle(self, event: Event, now: float) -> list[Effect]:
        kind = type(event)
        if kind in (RequestArrived, UnloadRequested) and kind not in self.has_failed_for:
            self.has_failed_for += (kind,)
            raise MemoryError
        return super().handle(event, now)


@pytest.mark.slow
def test_a_request_that_waits_for_a_decision_that_fails_is_told_so_and_the_next_one_is_served() -> None:
    with Stage("a", scheduler=Forgetful) as stage:
        error = Visit(stage, "a").await_error()
        assert type(error) is HttpError
        assert error.status == 500
        second = Visit(stage, "a")
        second.await_in()
        with pytest.raises(HttpError, match="internal error"):
            stage.controller.unload(["a"], None)
        second.leave()
        stage.controller.unload(["a"], None)
        assert stage.states() == {}
        assert sum("MemoryError" in line for line in stage.lines) == 2


def test_a_run_that_cannot_even_be_made_is_a_load_that_failed_and_the_models_fault_only_where_it_is() -> None:
    with Stage("a", launch_faults=[MemoryError(), OSError("no port")]) as stage:
        error = Visit(stage, "a").await_error()
        assert isinstance(error, OutOfResources)
        assert "could not start: MemoryError" in error.message
        assert stage.states() == {}
        with pytest.raises(BadGateway, match="no port"):
            stage.controller.load("a", None)
        stage.controller.load("a", None)
        assert stage.states() == {"a": "ready"}


def test_what_fails_while_a_decision_is_carried_out_keeps_nobody_waiting() -> None:
    """The line in the log comes first, and those who wait are answered by what stands behind it."""
    with Stage("a", log_fault="could not be loaded", launch_faults=[OSError("no port")]) as stage:
        assert isinstance(Visit(stage, "a").await_error(), BadGateway)
    with Stage("a", log_fault="starting") as stage:
        visit = Visit(stage, "a")
        assert isinstance(visit.await_error(), OutOfResources)
        stage.controller.load("a", None)
        assert stage.states() == {"a": "ready"}
    with Stage("a", log_fault="ready after") as stage:
        stage.controller.load("a", None)
    with Stage("a", "b", log_fault="stopping") as stage:
        stage.controller.load("a", None)
        stage.controller.load("b", None)
        assert stage.processes[0].orders == ["start", "stop"]
        assert stage.states() == {"b": "ready"}


class Timeless(Scheduler):
    """One that finds no memory, once, for the time when it is to be asked next."""

    has_failed = False

    def next_deadline(self) -> float | None:
        if self.runs() and not self.has_failed:
            self.has_failed = True
            raise MemoryError
        return super().next_deadline()


def test_a_failure_between_two_commands_is_none_of_the_one_before() -> None:
    with Stage("a", scheduler=Timeless, obeys=False) as stage:
        visit = Visit(stage, "a")
        process = stage.next_process()
        stage.await_until(lambda: any("MemoryError" in line for line in stage.lines))
        process.become_ready()
        assert visit.await_in().model == "a"
        visit.leave()
