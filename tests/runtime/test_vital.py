"""Threads that everything depends on go on, or the program ends; a lack of memory defeats neither."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import HOPELESS, IN_A_ROW, MANY, Failures, VitalThread, end_with, report

DEADLINE = 30.0
ROOT = Path(__file__).resolve().parents[2]


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses = 0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1


class Log:
    """Takes what it is told, after it failed for as often as it is made to."""

    def __init__(self, *failures: Exception) -> None:
        self.lines: list[str] = []
        self.failures = list(failures)

    def error(self, line: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.lines.append(line)


def fail(failures: Failures, error: Exception) -> None:
    try:
        raise error
    except Exception:  # noqa: BLE001 - as at the top of a thread
        failures.endure()


def fail_for_ever(failures: Failures, error: Exception, time: Time, rest: float = 0.0) -> None:
    for _ in range(1000):
        fail(failures, error)
        time.now += rest


def test_an_exception_is_told_with_its_traceback_and_the_loop_goes_on_without_a_pause() -> None:
    log, time = Log(), Time()
    fail(Failures("loop", log.error, pause=time.pause, clock=time), ValueError("odd"))
    assert log.lines[0].startswith("loop failed: Traceback")
    assert log.lines[0].endswith("ValueError: odd\n")
    assert time.pauses == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryError(), OSError("no"), ValueError("odd")], ids=repr)
def test_what_fails_without_end_is_paused_for_and_in_the_end_raised(error: Exception) -> None:
    log, time = Log(), Time()
    failures = Failures("loop", log.error, pause=time.pause, clock=time)
    begun = time.now
    with pytest.raises(type(error)):
        fail_for_ever(failures, error, time)
    assert HOPELESS <= time.now - begun < HOPELESS + 1
    assert time.pauses >= MANY


def test_failures_now_and_then_are_borne_for_ever() -> None:
    log, time = Log(), Time()
    failures = Failures("loop", log.error, pause=time.pause, clock=time)
    for _ in range(10 * MANY):
        fail(failures, OSError("no"))
        time.now += IN_A_ROW * 2
    assert time.pauses == 0


def test_a_loop_that_rests_between_failures_is_given_up_unless_something_went_well() -> None:
    log, time = Log(), Time()
    failures = Failures("accept", log.error, in_a_row=float("inf"), pause=time.pause, clock=time)
    for _ in range(3 * MANY):
        fail(failures, OSError("no"))
        failures.forget()
        time.now += HOPELESS
    with pytest.raises(MemoryError):
        fail_for_ever(failures, MemoryError(), time, HOPELESS)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "every-time"])
def test_a_log_that_fails_too_does_not_end_the_loop(times: int) -> None:
    log, time = Log(*[MemoryError()] * times), Time()
    fail(Failures("loop", log.error, pause=time.pause, clock=time), MemoryError())
    assert log.lines == (["loop failed, and there is too little memory to say more"] if times == 1 else [])


def test_what_was_being_done_may_be_unprintable() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise MemoryError

    log = Log()
    report("controller", log.error, Unprintable())
    assert log.lines == ["controller failed, and there is too little memory to say more"]


@pytest.fixture
def deaths() -> Iterator[list[str]]:
    """The names of vital threads that died."""
    names: list[str] = []
    end_with(names.append)
    yield names
    end_with(None)


def raises(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize("error", [MemoryError(), OSError("no"), SystemExit(0)], ids=repr)
def test_the_death_of_a_vital_thread_is_told(deaths: list[str], error: BaseException) -> None:
    thread = VitalThread(raises(error), "loop")
    thread.start()
    thread.join(DEADLINE)
    assert deaths == ["loop"]


def test_the_end_of_a_vital_thread_is_no_death(deaths: list[str]) -> None:
    thread = VitalThread(lambda: None, "loop")
    thread.start()
    thread.join(DEADLINE)
    assert deaths == []


PROGRAM = """
import os, sys, threading
from functools import partial
from llamaswap_lib.main import end_program
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.runtime.vital import VitalThread, end_with

def die():
    raise MemoryError

end_with(partial(end_program, Logs(stdout=1)))
VitalThread(die, sys.argv[1]).start()
threading.Event().wait(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loop", "handlers", "controller"])
def test_a_program_whose_vital_thread_dies_ends_with_1_and_says_why(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 1
    assert f"[ERROR] {name} failed: Traceback" in done.stdout
    assert "MemoryError" in done.stdout
    assert "a thread that everything depends on has died" in done.stderr


class Mute(Thread):
    """One that says nothing for a while."""

    def __init__(self, target: Callable[..., None]) -> None:
        super().__init__(target, "mute")
        self.may_begin, self.has_ended = threading.Event(), threading.Event()

    def _bootstrap_inner(self) -> None:
        self.may_begin.wait(DEADLINE)
        super()._bootstrap_inner()  # type: ignore[misc]  # it is there
        self.has_ended.set()


@pytest.mark.slow
def test_a_thread_that_says_nothing_is_given_up_and_does_nothing_later() -> None:
    has_run = threading.Event()
    thread = Mute(has_run.set)
    with pytest.raises(RuntimeError, match="does not begin"):
        thread.start()
    thread.may_begin.set()
    assert thread.has_ended.wait(DEADLINE)
    assert not has_run.is_set()


class Stillborn(Thread):
    """One that dies before it says that it runs."""

    def _bootstrap_inner(self) -> None:
        raise SystemExit  # as MemoryError, but for the complaint on stderr


def test_a_thread_that_dies_in_its_first_steps_fails_its_start() -> None:
    has_run = threading.Event()
    thread = Stillborn(has_run.set, "stillborn")
    with pytest.raises(RuntimeError, match="does not begin"):
        thread.start()
    assert thread not in threading.enumerate()
    assert not has_run.is_set()


class Overtaxed(Thread):
    """One that dies when it has said that it runs, before it does anything."""

    def _bootstrap_inner(self) -> None:
        self._started.set()
        raise SystemExit  # as above


def test_a_thread_that_dies_before_it_does_anything_was_not_started() -> None:
    has_run = threading.Event()
    with pytest.raises(RuntimeError, match="does not begin"):
        Overtaxed(has_run.set, "overtaxed").start()
    assert not has_run.is_set()


def test_a_thread_that_runs_has_a_name_and_can_be_joined() -> None:
    seen: list[object] = []
    thread = Thread(lambda *args: seen.extend([*args, threading.current_thread().name]), "named", (1, 2))
    thread.start()
    thread.join(DEADLINE)
    assert seen == [1, 2, "named"]
