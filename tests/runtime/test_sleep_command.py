"""A command that has a server sleep, or wake, in the place of a POST."""

from __future__ import annotations

from typing import Any

import pytest

from llamaswap_lib.core.events import FellAsleep, ProcessReady, SleepFailed, WakeFailed
from tests.children import shell
from tests.runtime.runs import PATIENCE, Run, is_alive

SLEEP = ("sleep", "60")


def run(command: tuple[str, ...], **more: Any) -> Run:
    """Its server sleeps and wakes by the command."""
    return Run(*SLEEP, sleep_argv=command, wake_argv=command, sleep_timeout=more.pop("timeout", PATIENCE), **more)


def test_exit_code_0_means_that_it_sleeps_or_is_awake() -> None:
    with run(shell('echo "$NAME ${PID}"'), env=("NAME=tiny",)) as one:
        one.expect(ProcessReady)
        pid = one.process.pid
        one.process.sleep()
        one.expect(FellAsleep)
        one.await_output(f"tiny {pid}\n")
        one.process.wake()
        one.expect(ProcessReady)
        one.await_output(f"tiny {pid}\n" * 2)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (shell("exit 3"), "its command exited with code 3"),
        (shell("kill -9 $$"), "its command killed by SIGKILL"),
        (("/no/such",), "its command could not start: No such file or directory: '/no/such'"),
    ],
)
def test_anything_else_means_that_it_does_not(command: tuple[str, ...], why: str) -> None:
    with run(command) as one:
        one.expect(ProcessReady)
        one.process.sleep()
        assert one.expect(SleepFailed).detail == why
        one.process.wake()
        assert one.expect(WakeFailed).detail == why


def test_what_a_command_leaves_running_ends_with_it() -> None:
    with run(shell("sleep 60 & echo helper $!")) as one:
        one.expect(ProcessReady)
        one.process.sleep()
        one.expect(FellAsleep)
        assert not is_alive(one.printed_pid("helper"))


def test_a_stop_ends_a_command_that_still_runs_and_all_that_it_has_started() -> None:
    with run(shell("sleep 60 & echo helper $!; echo teller $$; wait")) as one:
        one.expect(ProcessReady)
        one.process.sleep()
        pids = one.printed_pid("helper"), one.printed_pid("teller")
        one.process.stop()
        assert one.exit_detail() == "killed by SIGTERM"
        assert not any(map(is_alive, pids))


def test_another_timeout_counts_from_the_next_order_on() -> None:
    with run(shell("exec sleep 60"), timeout=PATIENCE) as one:
        one.expect(ProcessReady)
        one.process.change(PATIENCE, 0.2, "")
        one.process.sleep()
        assert one.expect(SleepFailed).detail == "its command did not end within 0.2 s"
