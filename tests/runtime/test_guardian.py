"""The guardian seen from the program that has one: started late, replaced when it dies, told of everything in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.guard.stop_commands import packed
from llamaswap_lib.runtime.guard.table import GUARDIAN_MARKER, MARKER, command_of, look, new_token, read_stat
from llamaswap_lib.runtime.logs.logger import Logger
from tests.runtime.runs import await_condition, is_alive

pytestmark = pytest.mark.slow  # each starts processes and waits until they have ended

ROOT = Path(__file__).parents[2]


class Stage:
    """A guardian of ours, its clock, and the lines it logs; there is no memory for the first that holds `log_fault`."""

    def __init__(self, log_fault: str = "") -> None:
        self.lines: list[str] = []
        self.now = 100.0
        self._log_fault = log_fault
        self.guardian = Guardian(Logger(self._note_line, level="debug"), lambda: self.now)

    def _note_line(self, line: bytes) -> None:
        text = line.decode()
        if self._log_fault and self._log_fault in text:
            self._log_fault = ""
            raise MemoryError
        self.lines.append(text)

    def pids(self) -> list[int]:
        """Of the guardians that live."""
        ours = os.getpid()
        return [entry.pid for entry in look() if entry.parent == ours and entry.is_guardian and not entry.is_dead]

    def await_pid(self, but: int = 0) -> int:
        """Of the one guardian, as soon as it is one: on its way, a process has no environment. `but`: not this one."""
        assert await_condition(lambda: self.pids() not in ([], [but]) and len(self.pids()) == 1)
        [pid] = self.pids()
        return pid

    def await_line(self, text: str) -> None:
        assert await_condition(lambda: any(text in line for line in self.lines)), self.lines


@contextmanager
def stage(log_fault: str = "") -> Iterator[Stage]:
    on_stage = Stage(log_fault)
    on_stage.guardian.start()
    try:
        yield on_stage
    finally:
        on_stage.guardian.close(30.0)
        assert on_stage.pids() == []


class Owner:
    """Somebody with a token, who lives until `die`: then what has the token is left, and anybody's to end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(("sleep", "1000"))
        found = read_stat(self._process.pid)
        assert found is not None
        world = new_token().partition(".")[0]
        self.marks = {MARKER: f"{world}.{found.pid}.{found.start}.c0ffee", "LC_ALL": "C"}

    def die(self) -> None:
        self._process.kill()
        self._process.wait()


def spawn(env: dict[str, str]) -> int:
    """A process that leads its session and ignores SIGTERM."""
    script = ("sh", "-c", "trap '' TERM; exec sleep 1000")
    pid = os.posix_spawnp("sh", script, {**os.environ, **env}, setsid=True)
    assert await_condition(lambda: command_of(pid) == "sleep 1000")  # while it is on its way, it has no environment
    return pid


def assert_was_killed(pid: int) -> None:
    """A child of ours; by somebody else, in time."""
    try:
        assert await_condition(lambda: not is_alive(pid))
    finally:
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_it_is_started_with_the_first_marks_and_ends_when_it_is_closed() -> None:
    with stage() as on_stage:
        assert on_stage.pids() == []
        first = on_stage.guardian.marks(1)
        on_stage.await_pid()
        assert on_stage.guardian.marks(1) == first
        assert len(on_stage.pids()) == 1
    # A test beside this one may have killed a llamaswap, whose leftovers are then everybody's to end.
    assert [line for line in on_stage.lines if "an earlier run" not in line] == []


def test_one_that_was_never_needed_never_was() -> None:
    with stage():
        pass


@pytest.mark.parametrize("has_marks", [True, False])
def test_closing_ends_the_processes_that_are_left(has_marks: bool) -> None:
    with stage() as on_stage:
        marks = dict(on_stage.guardian.marks(1))
        pid = spawn(marks if has_marks else {})
        if not has_marks:
            on_stage.guardian.add(pid)
    assert_was_killed(pid)


def test_a_group_that_was_reported_as_ended_is_not_killed() -> None:
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pid = spawn({})
        on_stage.guardian.add(pid)
        on_stage.guardian.remove(pid)
    assert is_alive(pid)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("is_old", [False, True], ids=["after a pause", "at once"])
def test_a_successor_knows_the_groups_of_its_predecessor(is_old: bool) -> None:
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pid = spawn({})
        on_stage.guardian.add(pid)
        first = on_stage.await_pid()
        program = Path(f"/proc/{first}/fd/3")
        assert await_condition(lambda: not program.is_symlink())  # it has read it
        on_stage.now += 1.0 if is_old else 0.9
        os.kill(first, signal.SIGKILL)
        on_stage.await_line(f"the guardian has ended; another one starts {'now' if is_old else 'in 0.2 s'}")
        on_stage.await_pid(but=first)
    assert_was_killed(pid)


def stopped_by(script: str, *arguments: str, seconds: float = 30.0, **env: str) -> str:
    return packed(("sh", "-c", script, "sh", *arguments), env, "/", seconds)


def test_the_stop_command_of_a_group_that_is_left_is_run_with_its_environment(tmp_path: Path) -> None:
    file, long = tmp_path / "said", "x" * 5_000
    script = f'echo "$PWD $NAME ${{{MARKER}-no mark}} ${{{GUARDIAN_MARKER}-no guardian}} $1" >{file}'
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pid = spawn({})
        on_stage.guardian.add(pid, packed(("sh", "-c", script, "sh", long), {"NAME": "tiny"}, str(tmp_path), 30.0))
    assert_was_killed(pid)
    assert file.read_text() == f"{tmp_path} tiny no mark no guardian {long}\n"


def test_the_stop_command_of_a_group_that_has_ended_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "said"
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pid = spawn({})
        on_stage.guardian.add(pid, stopped_by(f"echo no >{file}"))
        on_stage.guardian.remove(pid)
        other = spawn({})
        on_stage.guardian.add(other, stopped_by("exit 1"))
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert_was_killed(other)
    assert not file.exists()


def test_a_stop_command_that_hangs_is_killed_and_one_that_cannot_be_started_hinders_nobody(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pids = [spawn({}), spawn({})]
        on_stage.guardian.add(pids[0], stopped_by(f"echo $$ >{file}; sleep 1000", seconds=1.0))
        on_stage.guardian.add(pids[1], packed(("/no/such",), {}, "/no/such/folder", 30.0))
    for pid in pids:
        assert_was_killed(pid)
    stop_command = int(file.read_text())
    assert await_condition(lambda: not is_alive(stop_command))


@pytest.mark.parametrize("told", [lambda text: text[:-2], lambda text: text[:-1], lambda _: ""])
def test_a_stop_command_of_which_a_piece_is_missing_is_not_run_and_hinders_nobody(
    tmp_path: Path, told: Callable[[str], str]
) -> None:
    """The pipe may be full. The model is ended all the same, and the other commands are run."""
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pids = [spawn({}), spawn({})]
        on_stage.guardian.add(pids[0], told(stopped_by(f"echo stopped >{wrong}")))
        on_stage.guardian.add(pids[1], stopped_by(f"echo stopped >{right}"))
    for pid in pids:
        assert_was_killed(pid)
    assert right.read_text() == "stopped\n"
    assert not wrong.exists()


def test_a_successor_knows_the_stop_commands_of_its_predecessor(tmp_path: Path) -> None:
    file = tmp_path / "said"
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        pid = spawn({})
        on_stage.guardian.add(pid, stopped_by(f"echo stopped >{file}"))
        first = on_stage.await_pid()
        os.kill(first, signal.SIGKILL)
        on_stage.await_pid(but=first)
    assert_was_killed(pid)
    assert file.read_text() == "stopped\n"


def test_no_model_is_started_while_the_guardian_of_an_earlier_run_is_at_work() -> None:
    owner = Owner()
    env = {**os.environ, GUARDIAN_MARKER: owner.marks[MARKER]}
    with subprocess.Popen(("sleep", "1000"), env=env) as other, stage() as on_stage:
        try:
            assert await_condition(lambda: command_of(other.pid) == "sleep 1000")
            assert on_stage.guardian.marks(1), "its owner lives"
            owner.die()
            asked: list[object] = []
            second = Stage()
            second.guardian.start()
            thread = threading.Thread(target=lambda: asked.append(second.guardian.marks(1)))
            thread.start()
            assert on_stage.guardian.marks(2), "it has looked before the owner died"
            assert asked == []
        finally:
            other.kill()
        thread.join()
        assert asked
        second.guardian.close(30.0)


def test_a_guardian_has_a_successor_though_its_end_cannot_be_told() -> None:
    with stage(log_fault="the guardian has ended") as on_stage:
        on_stage.guardian.marks(1)
        first = on_stage.await_pid()
        os.kill(first, signal.SIGKILL)
        on_stage.await_line("guardian failed: ")
        on_stage.await_pid(but=first)


def test_models_start_although_ending_processes_of_an_earlier_run_fails() -> None:
    owner = Owner()
    pid = spawn(owner.marks)
    owner.die()
    with stage(log_fault=f"left: {pid}") as on_stage:
        assert on_stage.guardian.marks(1)
        on_stage.await_line("leftovers failed: ")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_guardian_that_cannot_be_started_is_told_and_hinders_nobody() -> None:
    source = """
import sys
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.logs.server_logs import Logger
sys.executable = sys.argv[1]
guardian = Guardian(Logger(lambda line: print(line.decode(), end=""), level="debug"))
guardian.start()
assert guardian.marks(1) == guardian.marks(1)
guardian.add(1); guardian.remove(1)
guardian.close(1.0)
"""
    for executable in ("", "/no/such/python"):
        words = (sys.executable, "-c", source, executable)
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.count("could not start the guardian, so models may keep running after a crash") == 2
        assert done.stderr == ""


def test_a_crash_between_a_start_and_its_report_leaves_no_process() -> None:
    # The marks are what counts then. The program kills itself where it would tell of the group.
    source = """
import os, signal, sys
from llamaswap_lib.runtime.processes.group import ProcessGroup
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.logs.server_logs import Logger

class Dying(Guardian):
    def add(self, group, stop_command):
        os.kill(os.getpid(), signal.SIGKILL)

guardian = Dying(Logger(lambda line: None, level="error"))
guardian.start()
env = {**os.environ, **guardian.marks(1)}
print(env["%s"], flush=True)
ProcessGroup.start(("sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"), env, 2, guardian)
"""
    words = (sys.executable, "-c", source % MARKER)
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    token = done.stdout.strip()
    assert token
    assert await_condition(lambda: not [entry for entry in look() if entry.token == token and not entry.is_dead])


def test_processes_of_an_earlier_run_are_ended_before_the_first_model_starts() -> None:
    owner = Owner()
    pid = spawn(owner.marks)
    owner.die()
    with stage() as on_stage:
        on_stage.guardian.marks(1)
        was_alive = is_alive(pid)
    assert_was_killed(pid)
    assert not was_alive


def test_processes_that_are_being_ended_are_listed_until_they_have_ended() -> None:
    owner, guardian = Owner(), Stage().guardian
    pid, other = spawn(owner.marks), spawn({})
    assert pid not in guardian.leftovers()
    owner.die()
    assert await_condition(lambda: pid in guardian.leftovers())
    assert other not in guardian.leftovers()
    guardian.start()
    guardian.marks(1)
    assert guardian.leftovers() == []
    assert_was_killed(pid)
    guardian.close(30.0)
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
