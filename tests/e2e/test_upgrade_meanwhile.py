"""What is asked for while an upgrade is under way, a reload or another profile: the new process goes by it, too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.installed import Installed, Still
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")


@contextmanager
def upgrading(
    run_program: RunProgram, folder: Path, where: str, config: Mapping[str, Any]
) -> Iterator[tuple[Program, Callable[[], None]]]:
    """A program whose new process stands still at a place; and what has that process go on, and serve."""
    (folder / "installed").mkdir()
    installed = Installed(folder / "installed")
    with run_program(config, command=installed.command) as program, ThreadPoolExecutor() as pool:
        still = Still(folder, installed, where)
        answer = pool.submit(program.post, "/api/upgrade", None)
        still.pid()

        def go_on() -> None:
            still.go_on()
            told = answer.result(DEADLINE)
            assert told.status == 200, told.text
            program.go_on_with(told.json()["pid"])
            assert program.before.wait(DEADLINE) == 0

        yield program, go_on


def test_what_the_old_process_has_taken_is_in_force_in_the_new_one(run_program: RunProgram, tmp_path: Path) -> None:
    where = "it has read its configuration"
    with upgrading(run_program, tmp_path, where, models(m=demo())) as (program, go_on):
        program.reload(models(n=demo()))
        assert program.chat("n").status == 200
        go_on()
        wait_until(lambda: program.chat("n").status == 200, "it is in force")


@pytest.mark.parametrize("where", ["it is about to take what runs", "it decides, and does not say so yet"])
def test_sighup_that_comes_too_late_for_the_old_process_reaches_the_new_one(
    run_program: RunProgram, tmp_path: Path, where: str
) -> None:
    with upgrading(run_program, tmp_path, where, models(m=demo())) as (program, go_on):
        program.write_config(models(n=demo()))
        program.signal(signal.SIGHUP)
        go_on()
        wait_until(lambda: program.chat("n").status == 200, "the new configuration is in force")


def test_a_profile_that_becomes_active_while_nothing_is_decided_stays_so(
    run_program: RunProgram, tmp_path: Path
) -> None:
    config = {**models(m=demo()), "profiles": {"night": {"pins": {"fast": "m"}}}}
    with upgrading(run_program, tmp_path, "it is about to take what runs", config) as (program, go_on):
        assert program.ask("PUT", "/api/profiles/active", b'{"name": "night"}').status == 200
        go_on()
        assert program.get("/api/profiles").json()["active"] == "night"
