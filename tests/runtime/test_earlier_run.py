"""`cmdStatus`: what an earlier run has left elsewhere is ended by cmdStop before the model is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.core.events import ProcessReady
from tests.children import shell
from tests.runtime.runs import Run, await_condition

UP = "echo up; exec sleep 60"


def test_what_is_left_is_ended_before_the_start(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.touch()
    status, stop = shell(f"[ -e {left} ]"), shell(f"echo stopping $NAME; rm {left}")
    with Run(*shell(UP), status_argv=status, stop_argv=stop, env=("NAME=tiny",)) as run:
        run.expect(ProcessReady)
        run.await_output("up")
        said = "llamaswap: cmdStatus says that an earlier run has left something: it is ended by cmdStop\n"
        assert run.output.decode() == f"{said}stopping tiny\nup\n"
        assert not left.exists()
        left.touch()


def test_where_nothing_is_left_nothing_is_stopped(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    with Run(*shell(UP), status_argv=shell("echo nothing; exit 1"), stop_argv=shell(f"touch {stopped}")) as run:
        run.expect(ProcessReady)
        run.await_output("up")
        assert run.output == b"up\n"
        assert not stopped.exists()
        run.process.kill()


def test_a_start_waits_until_it_has_ended(tmp_path: Path) -> None:
    """The order to end it may come back long before the end."""
    left, asked = tmp_path / "left", tmp_path / "asked"
    left.touch()
    status = shell(f"if [ -e {asked} ]; then rm -f {left}; exit 0; fi; [ -e {left} ]")
    with Run(*shell(UP), status_argv=status, stop_argv=shell(f"touch {asked}")) as run:
        assert await_condition(lambda: not left.exists())
        assert b"up" not in run.output
        asked.unlink()
        run.expect(ProcessReady)
        run.process.kill()


@pytest.mark.parametrize("stop", [("true",), ("sleep", "1000")], ids=["that ends", "that hangs"])
@pytest.mark.slow
def test_what_a_cmdstop_does_not_end_is_an_obstacle(stop: tuple[str, ...]) -> None:
    """Also if the last question comes when its time is over: it has time of its own to say so."""
    with Run(*shell(UP), status_argv=("sleep", "0.01"), stop_argv=stop, unload_timeout=1.0) as run:
        why = "cmdStatus says that an earlier run has left something, which cmdStop has not ended"
        assert run.exit_detail() == f"could not start: {why}"


def test_a_question_that_is_not_answered_is_an_obstacle() -> None:
    """A second job beside the first one would be worse."""
    with Run(*shell(UP), status_argv=("sleep", "1000"), stop_argv=("true",), unload_timeout=0.2) as run:
        why = "cmdStatus did not end within 0.2 s, so it is not known whether an earlier run has left something"
        assert run.exit_detail() == f"could not start: {why}"


def test_a_command_that_cannot_be_started_is_an_obstacle() -> None:
    with Run(*shell(UP), status_argv=("/no/such",), stop_argv=("true",)) as run:
        assert run.exit_detail() == "could not start: cmdStatus: No such file or directory: '/no/such'"
    shown = (("/no/such", "[hidden]"),)
    with Run(*shell(UP), status_argv=("/no/such",), stop_argv=("true",), shown_programs=shown) as run:
        assert run.exit_detail() == "could not start: cmdStatus: No such file or directory: '[hidden]'"


def test_a_stop_ends_the_question(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    with Run(*shell(UP), status_argv=shell(f"touch {asked}; sleep 1000"), stop_argv=("true",)) as run:
        assert await_condition(asked.exists)
        run.process.stop()
        assert run.exit_detail() == "stopped before it was started"
