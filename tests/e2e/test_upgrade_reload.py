"""A reload that is asked for while an upgrade is under way: whichever process serves then goes by the new files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.installed import Installed, Still
from tests.e2e.program import DEADLINE, Program, demo, models, wait_until

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")


@contextmanager
def upgrading(run_program: RunProgram, folder: Path, where: str) -> Iterator[Program]:
    """A program whose new process stands still at a place during the block, and serves behind it."""
    (folder / "installed").mkdir()
    installed = Installed(folder / "installed")
    with run_program(models(m=demo()), command=installed.command) as program, ThreadPoolExecutor() as pool:
        still = Still(folder, installed, where)
        answer = pool.submit(program.post, "/api/upgrade", None)
        still.pid()
        yield program
        still.go_on()
        told = answer.result(DEADLINE)
        assert told.status == 200, told.text
        program.go_on_with(told.json()["pid"])
        assert program.before.wait(DEADLINE) == 0
        wait_until(lambda: program.chat("n").status == 200, "the new configuration is in force")


def test_what_the_old_process_has_taken_is_in_force_in_the_new_one(run_program: RunProgram, tmp_path: Path) -> None:
    with upgrading(run_program, tmp_path, "it has read its configuration") as program:
        program.reload(models(n=demo()))
        assert program.chat("n").status == 200


@pytest.mark.parametrize("where", ["it is about to take what runs", "it decides, and does not say so yet"])
def test_sighup_that_comes_too_late_for_the_old_process_reaches_the_new_one(
    run_program: RunProgram, tmp_path: Path, where: str
) -> None:
    with upgrading(run_program, tmp_path, where) as program:
        program.write_config(models(n=demo()))
        program.signal(signal.SIGHUP)
