"""However llamaswap ends, what it started ends with it: by the guardian, or at the latest when the next life begins."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llamaswap_lib.runtime.guard.table import MARKER, new_token
from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, Program, demo, models, python, wait_until

KILLS = int(os.environ.get("LLAMASWAP_KILLS", "8"))  # at any moment of a start
KILLS_SEED = int(os.environ.get("LLAMASWAP_KILLS_SEED", "7"))
SIDE_BY_SIDE = {"groups": {"all": {"swap": False, "members": ["a", "b", "c"]}}}

# Leaves group, session and parent behind and ignores what can be ignored.
ESCAPE = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()
os.wait()
"""
# Its environment is its own, and its child leads a session of its own: only that it is a child tells that it is ours.
STRIP = """
import os, signal, sys
if "x" in os.environ:
    signal.pause()
if os.fork():
    signal.pause()
os.setsid()
os.execve(sys.executable, [sys.executable, "-S", "-c", "import signal; signal.pause()", "MARK"], {})
"""


def kill(program: Program) -> None:
    program.signal(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL


def assert_all_gone(program: Program) -> None:
    """And the guardian with them."""
    wait_until(lambda: not program.relatives(), f"all gone: {program.relatives()}")
    wait_until(lambda: not program.guardians(), "the guardian is gone")


def load(program: Program, *names: str) -> None:
    for name in names:
        assert program.chat(name).status == 200


def with_in_their_command(word: str) -> list[int]:
    """For those that dropped their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(folder.name))
    return found


def descriptors_of(pid: int) -> dict[str, str]:
    """What they lead to; without those that are closed meanwhile."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = str(path.readlink())
    return found


@pytest.mark.parametrize(
    "flags", [(), ("--ignore-sigterm",), ("--fork-grandchild",), ("--grandchild-ignores-sigterm", "--hang-on-sigterm")]
)
def test_ready_models_end_when_it_is_killed(run_program: RunProgram, flags: tuple[str, ...]) -> None:
    with run_program({**models(a=demo(*flags), b=demo(), c=demo(*flags)), **SIDE_BY_SIDE}) as program:
        load(program, "a", "b", "c")
        expected = 5 if any("grandchild" in flag for flag in flags) else 3
        wait_until(lambda: len(program.relatives()) == expected, "all run")
        kill(program)
        assert_all_gone(program)


def test_a_stream_in_progress_does_not_hold_them_up(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--tokens-per-second", "100"))) as program, program.stream("a") as wire:
        wire.read_head_and_first_chunk()
        kill(program)
        assert_all_gone(program)


def test_a_model_that_loads_ends_when_it_is_killed(run_program: RunProgram) -> None:
    flags = ("--load-seconds", "60", "--grandchild-ignores-sigterm")
    with run_program(models(a=demo(*flags))) as program, program.stream("a"):
        wait_until(lambda: len(program.relatives()) == 2, "it loads")
        kill(program)
        assert_all_gone(program)


@pytest.mark.parametrize("stop", ["", "sleep 1000"], ids=["by signal", "by a command that hangs"])
def test_a_model_that_stops_ends_when_it_is_killed(run_program: RunProgram, stop: str) -> None:
    entry = {"cmd": demo("--ignore-sigterm", "--grandchild-ignores-sigterm"), "unloadTimeout": 600, "cmdStop": stop}
    with run_program(models(a=entry)) as program, program.wire() as wire:
        load(program, "a")
        wire.request("GET", "/unload")
        wait_until(lambda: program.states() == {"a": "stopping"}, "it stops")
        wait_until(lambda: len(program.relatives()) == 2 + bool(stop), "the command runs")
        kill(program)
        assert_all_gone(program)


def elsewhere(folder: Path) -> dict[str, object]:
    """A model whose command leaves a process elsewhere, which only its `cmdStop` ends; both write to a file."""
    job = f"env -u {MARKER} -u LLAMASWAP_TEST setsid sleep 1000"
    start = f"{job} & echo $! >{folder}/job; exec {demo()}"
    stop = f"echo $NAME ${{PID}} >>{folder}/stopped; kill ${{PID}} $(cat job)"
    entry = {"cmd": f"sh -c {shlex.quote(start)}", "cmdStop": f"sh -c {shlex.quote(stop)}", "env": ["NAME=tiny"]}
    return {**models(a=entry)}


def job_of(folder: Path) -> int:
    return int((folder / "job").read_text())


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_the_stop_command_of_a_model_is_run_when_it_is_killed(tmp_path: Path) -> None:
    with Program(tmp_path, elsewhere(tmp_path)) as program:
        load(program, "a")
        job = job_of(tmp_path)
        [pid] = [pid for pid, command in program.relatives().items() if "demo" in command]
        kill(program)
        wait_until(lambda: not lives(job), "the job has been ended")
        assert_all_gone(program)
        assert (tmp_path / "stopped").read_text() == f"tiny {pid}\n"


def test_it_is_run_once_where_llamaswap_ends_in_good_order_or_the_model_has_ended_before(tmp_path: Path) -> None:
    with Program(tmp_path, elsewhere(tmp_path)) as program:
        load(program, "a")
        assert program.get("/unload").status == 200
        wait_until(lambda: not lives(job_of(tmp_path)), "the job has ended")
        load(program, "a")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        wait_until(lambda: not program.guardians(), "the guardian is gone")
        wait_until(lambda: not lives(job_of(tmp_path)), "the second one too")
        assert len((tmp_path / "stopped").read_text().splitlines()) == 2


def is_guarded_by_another(program: Program, first: int) -> bool:
    """By one that has read its program, which it would not have if we died now."""
    found = program.guardians()
    return len(found) == 1 and first not in found and sorted(descriptors_of(found[0])) == ["0", "1", "2"]


@pytest.mark.skipif(why_impossible() != "", reason="needs Linux")
def test_it_is_run_for_a_model_that_was_started_before_an_upgrade(tmp_path: Path) -> None:
    with Program(tmp_path, elsewhere(tmp_path)) as program:
        load(program, "a")
        program.upgrade()
        assert program.before.wait(DEADLINE) == 0
        [first] = program.guardians()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: is_guarded_by_another(program, first), "there is another one")
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: not lives(job_of(tmp_path)), "the job has been ended")
        assert_all_gone(program)


def test_a_kill_at_any_moment_of_a_start_leaves_nobody(tmp_path: Path) -> None:
    chance = random.Random(KILLS_SEED)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Program(folder, models(a=demo("--grandchild-ignores-sigterm"), b=demo())) as program:
            if number % 2:
                load(program, "b")
            with program.stream("a"):
                threading.Event().wait(chance.random() * 0.06)
                kill(program)
                assert_all_gone(program)


def test_those_that_left_group_session_and_parent_end_when_it_is_killed(run_program: RunProgram) -> None:
    with run_program(models(a=python(ESCAPE + "signal.pause()"))) as program, program.stream("a"):
        wait_until(lambda: len(program.relatives()) == 2, "it has left")
        kill(program)
        assert_all_gone(program)


def test_those_that_dropped_their_environment_end_when_it_is_killed(run_program: RunProgram) -> None:
    mark = f"stripped-{os.getpid()}"
    with run_program(models(a=python(STRIP.replace("MARK", mark)))) as program, program.stream("a"):
        wait_until(lambda: len(with_in_their_command(mark)) == 1, "it has dropped it")
        kill(program)
        wait_until(lambda: not with_in_their_command(mark), "it is gone")
        assert_all_gone(program)


def test_those_that_left_end_with_an_orderly_end_too(run_program: RunProgram) -> None:
    with run_program(
        models(a={"cmd": python(ESCAPE + "import time; signal.pause()"), "checkEndpoint": "none"})
    ) as program:
        assert program.post("/api/models/load/a", {}).status == 200
        wait_until(lambda: len(program.relatives()) == 2, "it has left")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert program.relatives() == {}
        wait_until(lambda: not program.guardians(), "the guardian is gone")


def test_there_is_no_guardian_before_the_first_model_and_one_for_all(run_program: RunProgram) -> None:
    with run_program({**models(a=demo(), b=demo(), c=demo()), **SIDE_BY_SIDE}) as program:
        assert program.guardians() == []
        load(program, "a", "b", "c")
        [guardian] = program.guardians()
        assert program.get("/unload").status == 200
        load(program, "a")
        assert program.guardians() == [guardian]


def test_the_guardian_holds_nothing_of_ours(run_program: RunProgram) -> None:
    with run_program(models(a=demo())) as program:
        load(program, "a")
        [guardian] = program.guardians()
        wait_until(lambda: sorted(descriptors_of(guardian)) == ["0", "1", "2"], "it has read its program")
        held = descriptors_of(guardian)
        assert held["0"].startswith("pipe:")
        assert (held["1"], held["2"]) == ("/dev/null", "/dev/null")
        assert os.getsid(guardian) == guardian
        wait_until(lambda: str(Path(f"/proc/{guardian}/cwd").readlink()) == "/", "it has left our folder")


def test_signals_to_everybody_do_not_end_the_guardian_before_us(run_program: RunProgram) -> None:
    with run_program(models(a=demo("--ignore-sigterm"))) as program:
        load(program, "a")
        [guardian] = program.guardians()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            os.kill(guardian, number)
        kill(program)
        assert_all_gone(program)


def test_a_guardian_that_is_killed_has_a_successor_that_knows_all(run_program: RunProgram) -> None:
    config = {**models(a=demo("--ignore-sigterm"), b=demo(), c=demo("--grandchild-ignores-sigterm")), **SIDE_BY_SIDE}
    with run_program(config) as program:
        load(program, "a", "b")
        [first] = program.guardians()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: "the guardian has ended" in program.stdout, "it is noticed")
        load(program, "c")
        wait_until(lambda: len(program.guardians()) == 1 and first not in program.guardians(), "there is another one")
        assert program.states() == {"a": "ready", "b": "ready", "c": "ready"}
        kill(program)
        assert_all_gone(program)


def test_the_next_start_ends_what_llamaswap_and_its_guardian_left(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    config = models(a=demo("--ignore-sigterm", "--grandchild-ignores-sigterm"))
    with Program(tmp_path / "first", config) as first:
        load(first, "a")
        [guardian] = first.guardians()
        os.kill(guardian, signal.SIGSTOP)
        kill(first)
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: not first.guardians(), "the guardian is gone")
        same_port = {**models(a=demo()), "startPort": first.upstream_port("a")}
        with Program(tmp_path / "second", same_port) as second:
            load(second, "a")  # not before those of the program before have ended
            assert first.relatives() == {}
            assert second.states() == {"a": "ready"}
            [entry] = second.get("/running").json()["running"]
            assert entry["port"] == first.upstream_port("a")  # which they had until then
            assert "is taken" not in second.stdout


@contextmanager
def job(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with that mark, as a batch system's job has it that was started on another machine."""
    words = (sys.executable, "-S", "-c", "import signal; print(flush=True); signal.pause()")
    with subprocess.Popen(words, env={**os.environ, MARKER: mark}, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_what_the_llamaswap_of_another_machine_has_started_here_is_left_alone(run_program: RunProgram) -> None:
    with subprocess.Popen(("true",)) as gone:
        gone.wait()
    world, _, _ = new_token().partition(".")
    _, _, namespace = world.rpartition("-")  # every Linux machine's first one is called the same
    rest = f"{gone.pid}.12345.c0ffee"
    other = f"00000000-0000-4000-8000-000000000000-{namespace}.{rest}"
    with (
        job(f"{other}/3") as elsewhere,
        job(other) as without_run,
        job(f"{world}.{rest}/3") as ours,
        run_program(models(a=demo())) as program,
    ):
        load(program, "a")
        assert ours.wait(DEADLINE) == -signal.SIGTERM
        assert (elsewhere.poll(), without_run.poll()) == (None, None)


def test_a_second_one_and_its_models_are_left_alone(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    config = {
        **models(a=demo("--fork-grandchild"), b=demo()),
        "groups": {"all": {"swap": False, "members": ["a", "b"]}},
    }
    with Program(tmp_path / "first", config) as first, Program(tmp_path / "second", config) as second:
        load(first, "a", "b")
        load(second, "a", "b")
        wait_until(lambda: len(second.relatives()) == 3, "all run")
        before = second.relatives()
        kill(first)
        assert_all_gone(first)
        with Program(tmp_path / "third", config) as third:
            load(third, "a")
        assert second.relatives() == before
        assert second.states() == {"a": "ready", "b": "ready"}
        load(second, "a", "b")
        second.await_starts("a", 1)


def test_one_below_another_ends_with_it_and_so_do_its_models(tmp_path: Path, run_program: RunProgram) -> None:
    inner = tmp_path / "inner.json"
    command = f"{shlex.join(COMMAND)} -c {inner} -listen 127.0.0.1:${{PORT}}"
    with run_program(models(a=command)) as program:
        first_port = program.port + 4
        entry = {"cmd": demo("--ignore-sigterm", "--grandchild-ignores-sigterm"), "unloadTimeout": 600}
        inner.write_text(json.dumps({**models(m=entry), "startPort": first_port}))
        assert program.post("/upstream/a/v1/chat/completions", {"model": "m", "messages": []}).status == 200
        assert len(program.guardians()) == 2
        kill(program)
        wait_until(lambda: not program.relatives(), "all gone")
        wait_until(lambda: not program.guardians(), "the guardians are gone")
