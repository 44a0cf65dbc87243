"""One guardian for a process and its heir: it ends the models when neither of them is there any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.guard.stop_commands import packed
from llamaswap_lib.runtime.guard.sweep import leftovers
from llamaswap_lib.runtime.guard.table import HEIR_MARKER, MARKER, ProcessEntry, look, new_token
from llamaswap_lib.runtime.logs.logger import Logger
from tests.runtime.runs import await_condition, is_alive
from tests.runtime.test_guardian import Stage, assert_was_killed, spawn, stage

OURS = 1000


@contextmanager
def heir(elder: Stage) -> Iterator[Stage]:
    on_stage = Stage()
    state, descriptors = elder.guardian.hand_over()
    on_stage.guardian.adopt(state, descriptors)
    try:
        yield on_stage
    finally:
        on_stage.guardian.close(30.0)


@pytest.mark.slow
def test_a_model_lives_while_one_of_the_two_holds_the_guardian() -> None:
    with stage() as elder:
        pid = spawn(dict(elder.guardian.marks(1)))
        with suppress(ProcessLookupError):
            elder.guardian.add(pid)
        guardian = elder.await_pid()
        with heir(elder) as on_stage:
            elder.guardian.retire()
            elder.guardian.close(30.0)
            assert is_alive(guardian)
            assert is_alive(pid)
            assert on_stage.guardian.has(pid)
            assert (
                on_stage.guardian.marks(2)[MARKER].partition("/")[0]
                == elder.guardian.marks(1)[MARKER].partition("/")[0]
            )
        assert_was_killed(pid)
        assert await_condition(lambda: not is_alive(guardian))


@pytest.mark.slow
def test_the_heir_replaces_a_guardian_that_dies_and_a_retired_one_does_not() -> None:
    with stage() as elder:
        pid = spawn(dict(elder.guardian.marks(1)))
        elder.guardian.add(pid)
        guardian = elder.await_pid()
        with heir(elder) as on_stage:
            elder.guardian.retire()
            os.kill(guardian, signal.SIGKILL)
            on_stage.await_line("the guardian has ended")
            elder.await_pid(but=guardian)
            elder.guardian.close(30.0)
            assert is_alive(pid)
        assert_was_killed(pid)
        assert not any("guardian" in line for line in elder.lines)


@pytest.mark.slow
def test_the_guardian_of_an_heir_runs_the_stop_commands_of_what_the_elder_has_started(tmp_path: Path) -> None:
    file = tmp_path / "said"
    with stage() as elder:
        pid = spawn(dict(elder.guardian.marks(1)))
        elder.guardian.add(pid, packed(("sh", "-c", f"echo stopped >{file}"), {}, "/", 30.0))
        guardian = elder.await_pid()
        with heir(elder) as on_stage:
            elder.guardian.retire()
            elder.guardian.close(30.0)
            os.kill(guardian, signal.SIGKILL)
            on_stage.await_line("the guardian has ended")
            on_stage.await_pid(but=guardian)
        assert_was_killed(pid)
    assert file.read_text() == "stopped\n"


@pytest.mark.slow
def test_a_guardian_of_a_version_that_ran_no_commands_is_replaced_when_there_is_one(tmp_path: Path) -> None:
    """That version told of groups as numbers, and its guardian ended at any line that was not one."""
    file = tmp_path / "said"
    stdin, pipe = os.pipe()
    script = "import sys\nfor line in sys.stdin: int(line[1:])"
    with subprocess.Popen((sys.executable, "-c", script), stdin=stdin, stderr=subprocess.DEVNULL) as earlier:
        os.close(stdin)
        token = new_token()
        pids = [spawn({MARKER: f"{token}/{number}"}) for number in (1, 2)]
        heir = Stage()
        handed = {"token": token, "groups": pids[:1], "pid": earlier.pid}
        heir.guardian.adopt(handed, [pipe, os.pidfd_open(earlier.pid)])
        assert heir.guardian.has(pids[0])
        assert heir.pids() == []
        heir.guardian.add(pids[1], packed(("sh", "-c", f"echo stopped >{file}"), {}, "/", 30.0))
        heir.await_line("the guardian has ended")
        heir.await_pid()
        heir.guardian.close(30.0)
    for pid in pids:
        assert_was_killed(pid)
    assert file.read_text() == "stopped\n"


@pytest.mark.slow
def test_an_heir_that_never_was_leaves_everything_as_it_was() -> None:
    with stage() as elder:
        pid = spawn(dict(elder.guardian.marks(1)))
        elder.guardian.add(pid)
        guardian = elder.await_pid()
        for descriptor in elder.guardian.hand_over()[1]:
            os.close(descriptor)
        assert elder.pids() == [guardian]
        assert is_alive(pid)
        elder.guardian.close(30.0)
        assert_was_killed(pid)


def test_without_a_guardian_none_is_handed_over_and_the_token_is_the_same() -> None:
    lines: list[bytes] = []
    guardian = Guardian(Logger(lines.append))
    guardian.start()
    token = guardian.heir_environment()[HEIR_MARKER]
    state, descriptors = guardian.hand_over()
    assert (state["token"], descriptors) == (token, [])
    guardian.close(30.0)


def owned(token: str, *, heir_of: str = "") -> list[ProcessEntry]:
    """A process with the token, whose owner has ended, and one that may be its heir."""
    model = ProcessEntry(OURS, 1, OURS, OURS, "5")
    model.token, model.uid = token, os.geteuid()
    other = ProcessEntry(OURS + 1, 1, OURS + 1, OURS + 1, "6")
    other.heir_of = heir_of
    return [model, other]


def test_what_has_an_heir_is_no_leftover() -> None:
    token = new_token()
    alone = leftovers(owned(token), os.geteuid(), lambda _: False)
    assert [entry.pid for entry in alone] == [OURS]
    assert leftovers(owned(token, heir_of=token), os.geteuid(), lambda _: False) == []
    assert len(leftovers(owned(token, heir_of=new_token()), os.geteuid(), lambda _: False)) == 1


@pytest.mark.slow
def test_an_heir_is_known_by_what_it_was_started_with() -> None:
    token = new_token()
    pid = spawn({HEIR_MARKER: token})
    try:
        [entry] = [entry for entry in look() if entry.pid == pid]
        assert entry.heir_of == token
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
