"""cmdStop: a command in the place of SIGTERM."""

from __future__ import annotations

import pytest

from llamaswap_lib.core.events import ProcessReady
from llamaswap_lib.typed_yaml.secrets import hidden
from tests.children import shell, stubborn
from tests.runtime.runs import Run, await_condition, await_death, is_alive

SLEEP = ("sleep", "60")


ENDS_ON_USR1 = "trap '' TERM; trap 'exit 6' USR1; echo up; while :; do sleep 0.01; done"


def test_cmd_stop_takes_the_place_of_sigterm() -> None:
    stop = shell('echo "stopping $NAME ${PID}"; kill -USR1 ${PID}')
    with Run(*shell(ENDS_ON_USR1), stop_argv=stop, env=("NAME=tiny",)) as run:
        run.expect(ProcessReady)
        run.await_output("up")
        pid = run.process.pid
        run.process.stop()
        run.process.stop()
        assert run.exit_detail() == "exited with code 6"
        assert run.output == f"up\nstopping tiny {pid}\n".encode()


def test_the_time_for_it_may_come_from_the_environment() -> None:
    with Run(*SLEEP, stop_argv=shell("kill ${PID}"), unload_timeout=hidden(5.0, "")) as run:
        run.expect(ProcessReady)
        run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"


@pytest.mark.parametrize(
    ("stop_argv", "note"),
    [
        (shell("exit 9"), "cmdStop exited with code 9"),
        (shell("kill -9 $$"), "cmdStop killed by SIGKILL"),
        (("/no/such", "${PID}"), "cmdStop could not start: No such file or directory: '/no/such'"),
    ],
)
def test_sigterm_does_the_work_of_a_cmd_stop_that_fails(stop_argv: tuple[str, ...], note: str) -> None:
    with Run(*SLEEP, stop_argv=stop_argv) as run:
        run.expect(ProcessReady)
        run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"
        assert run.output.decode() == f"llamaswap: {note}; the process gets SIGTERM instead\n"


def test_a_cmd_stop_that_hangs_is_killed_with_the_process() -> None:
    with Run(*SLEEP, stop_argv=shell("echo stopper $$; sleep 60")) as run:
        run.expect(ProcessReady)
        run.process.stop()
        stopper = run.printed_pid("stopper")
        run.process.kill()
        assert run.exit_detail() == "killed by SIGKILL"
        assert not is_alive(stopper)
        assert b"llamaswap" not in run.output


def test_kill_ends_a_cmd_stop_that_outlives_the_process() -> None:
    with Run(*SLEEP, stop_argv=shell("echo stopper $$; kill ${PID}; sleep 60"), unload_timeout=60.0) as run:
        run.expect(ProcessReady)
        run.process.stop()
        stopper = run.printed_pid("stopper")
        assert await_condition(lambda: run.process.pid is None)
        run.process.kill()
        assert run.exit_detail() == "killed by SIGTERM"
        assert not is_alive(stopper)


def test_a_cmd_stop_that_outlives_the_process_is_bounded() -> None:
    stop = shell("echo stopper $$; kill ${PID}; sleep 60 & wait")
    with Run(*SLEEP, stop_argv=stop, unload_timeout=0.3) as run:
        run.expect(ProcessReady)
        run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"
        assert not is_alive(run.printed_pid("stopper"))


def test_a_cmd_stop_may_have_centuries() -> None:
    with Run(*SLEEP, stop_argv=shell("kill ${PID}; echo stopped"), unload_timeout=1e10) as run:
        run.expect(ProcessReady)
        run.process.stop()
        assert run.exit_detail() == "killed by SIGTERM"
        assert b"stopped" in run.output_at_exit


def test_what_cmd_stop_leaves_running_ends_with_it() -> None:
    with Run(*SLEEP, stop_argv=shell("sleep 60 & echo helper $!; kill ${PID}")) as run:
        run.expect(ProcessReady)
        run.process.stop()
        run.exit_detail()
        assert await_death(run.printed_pid("helper"))


def test_what_cmd_stop_does_after_the_exit_is_part_of_the_stop() -> None:
    with Run(*SLEEP, stop_argv=shell("kill ${PID}; sleep 0.1; echo cleaned up")) as run:
        run.expect(ProcessReady)
        run.process.stop()
        run.exit_detail()
        assert run.output == b"cleaned up\n"


def test_a_process_that_ignores_its_cmd_stop_waits_for_the_kill() -> None:
    with Run(*stubborn(), stop_argv=shell("echo done")) as run:
        pid = run.printed_pid("stubborn")
        run.process.stop()
        run.await_output("done")
        assert is_alive(pid)
        run.process.kill()
        assert run.exit_detail() == "killed by SIGKILL"
