"""Processes of a run that left its group: found by the mark of the run when it ends, and nobody else's are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.core.events import LeaderExited, ProcessReady
from llamaswap_lib.runtime.guard import table
from llamaswap_lib.runtime.guard.table import MARKER, mark_of
from tests.children import daemon, python, shell
from tests.runtime.runs import PATIENCE, Run, await_condition, end, is_alive
from tests.runtime.test_group import in_a_program_of_its_own

pytestmark = pytest.mark.skipif(not table.HAS_PROC, reason="nobody finds them without a /proc")

STAYS = "signal.pause()"


def token() -> str:
    """Of an owner that nobody else looks for."""
    return f"test-{uuid.uuid4().hex}"


@contextmanager
def bearer(mark: str) -> Iterator[int]:
    """A process with that mark that we have not started as a run; its pid."""
    words = (sys.executable, "-S", "-c", "import signal; print(flush=True); signal.pause()")
    with subprocess.Popen(words, env={**os.environ, MARKER: mark}, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_a_daemon_ends_with_its_run(order: str) -> None:
    with Run(*daemon(STAYS), token=token()) as run:
        pid = run.printed_pid("daemon")
        getattr(run.process, order)()
        assert run.exit_detail() == ("killed by SIGTERM" if order == "stop" else "killed by SIGKILL")
        assert not is_alive(pid)
        assert run.output.count(b"asked") == (order == "stop")


@pytest.mark.parametrize("then", ["sys.exit(0)", "os.kill(os.getpid(), 9)"], ids=["exits", "crashes"])
def test_a_daemon_ends_when_the_leader_has_ended_by_itself(then: str) -> None:
    with Run(*daemon(then), token=token()) as run:
        pid = run.printed_pid("daemon")
        run.expect(ProcessReady)
        run.expect(LeaderExited)
        run.exit_detail()
        assert not is_alive(pid)


def test_a_daemon_that_stays_on_sigterm_is_asked_once_and_killed_when_the_time_is_up() -> None:
    now = [100.0]
    endings = {"unload_timeout": 600.0, "clock": lambda: now[0]}
    with Run(*daemon(STAYS, stays_on_sigterm=True), token=token(), **endings) as run:
        pid = run.printed_pid("daemon")
        run.process.stop()
        run.await_output("asked")
        assert is_alive(pid)
        now[0] += 600.0
        run.exit_detail()
        assert not is_alive(pid)
        assert run.output.count(b"asked") == 1


def test_a_kill_reaches_a_daemon_that_was_asked_before() -> None:
    with Run(*daemon(STAYS, stays_on_sigterm=True), token=token(), unload_timeout=600.0) as run:
        pid = run.printed_pid("daemon")
        run.process.stop()
        run.await_output("asked")
        assert run.process.pid is None
        run.process.kill()
        run.exit_detail()
        assert not is_alive(pid)


def test_the_same_run_of_another_owner_and_another_run_of_the_same_are_left_alone() -> None:
    ours = token()
    with Run(*daemon(STAYS), token=ours) as run:
        pid = run.printed_pid("daemon")
        with (
            bearer(mark_of(token(), 7)) as one,
            bearer(mark_of(ours, 77)) as two,
            bearer(mark_of(ours, 8)) as three,
            bearer(ours) as four,
            bearer(mark_of(ours, 7)) as same,
        ):
            run.process.stop()
            run.exit_detail()
            assert not is_alive(pid)
            assert not is_alive(same)
            assert all(map(is_alive, (one, two, three, four)))


def test_env_may_take_the_mark_away_and_the_daemon_lives_on() -> None:
    with Run(*daemon(STAYS), token=token(), env=(f"{MARKER}=",)) as run:
        pid = run.printed_pid("daemon")
        run.process.stop()
        run.exit_detail()
        assert is_alive(pid)
        assert b"asked" not in run.output
        end(pid)


def test_a_child_of_a_daemon_that_dropped_its_environment_ends_too() -> None:
    drop = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        source = "import os, signal; signal.signal(15, signal.SIG_IGN); print('child', os.getpid(), flush=True)"
        os.execve(sys.executable, [sys.executable, "-S", "-c", source + "; signal.pause()"], {})
    signal.pause()
signal.pause()
"""
    with Run(*python(drop), token=token(), unload_timeout=0.5) as run:
        pid = run.printed_pid("child")
        run.process.stop()
        run.exit_detail()
        assert not is_alive(pid)


def test_a_daemon_is_not_asked_before_cmd_stop_is_through_and_cmd_stop_is_not_signalled() -> None:
    stop = shell("trap 'echo disturbed' TERM; kill -9 ${PID}; sleep 0.3; echo stopper done")
    with Run(*daemon(STAYS), token=token(), stop_argv=stop) as run:
        pid = run.printed_pid("daemon")
        run.process.stop()
        assert run.exit_detail() == "killed by SIGKILL"
        assert not is_alive(pid)
        assert run.output.endswith(b"stopper done\nasked\n")
        assert b"disturbed" not in run.output


def test_a_daemon_that_cmd_stop_has_started_ends_with_the_run() -> None:
    with Run("sleep", "60", token=token(), stop_argv=(*daemon("os.kill(int(sys.argv[2]), 15)"), "${PID}")) as run:
        run.expect(ProcessReady)
        run.process.stop()
        run.exit_detail()
        assert not is_alive(run.printed_pid("daemon"))


def test_daemons_that_start_others_as_fast_as_they_can_are_ended() -> None:
    bomb = """
import os, select, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
until = time.monotonic() + 60  # should nobody end it
if os.fork() == 0:
    os.setsid()
    print("bomb", os.getpid(), flush=True)
    while time.monotonic() < until:
        if os.fork():  # the parent ends, and the child goes on somewhere else
            os._exit(0)
        os.setsid()
        select.select([], [], [], 0.004)
    os._exit(0)
signal.pause()
"""
    ours = token()
    with Run(*python(bomb), token=ours, unload_timeout=0.2) as run:
        run.await_output("bomb")
        run.process.stop()
        run.process.kill()
        run.exit_detail()
    assert await_condition(lambda: not [one for one in table.look() if one.token == ours and not one.is_dead])


def test_daemons_that_come_to_us_are_collected() -> None:
    # As PID 1 of a container; PR_SET_CHILD_SUBREAPER is the same in this respect.
    source = """
import ctypes, os
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
from tests.runtime.runs import Run
with Run("sh", "-c", "setsid sleep 60 & setsid sleep 60 & sleep 0.3; exit 4", token="t") as run:
    print(run.exit_detail())
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no children")
"""
    assert in_a_program_of_its_own(source) == "exited with code 4\nno children\n"


def test_a_stop_is_not_held_up_by_a_daemon_that_has_ended() -> None:
    with Run(*daemon(STAYS), token=token(), unload_timeout=PATIENCE * 10) as run:
        os.kill(run.printed_pid("daemon"), signal.SIGKILL)
        run.process.stop()
        run.exit_detail()
