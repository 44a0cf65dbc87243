"""Workers that leave their model's process group: they end with their run, before the next model starts."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.children import daemon
from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until

UNMOUNT = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")


def with_worker(folder: Path, *, stays: bool = False, then: str = "") -> str:
    """The command of a demo that starts such a worker first, whose pid is appended to the file `workers`.

    `then` is done instead of serving.
    """
    serve = "import os, sys; os.execv(sys.executable, [sys.executable, '-S', *sys.argv[2:]])"
    told = f"os.dup2(os.open({str(folder / 'workers')!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1);"
    _, _, flag, source, argument = daemon("", stays_on_sigterm=stays)
    source = "import os; out = os.dup(1); os.set_inheritable(out, False);" + told + source + "os.dup2(out, 1);"
    words = (sys.executable, "-S", flag, source + (then or serve), argument)
    return shlex.join(words) + " " + demo().split(" ", 2)[2]


def workers(folder: Path) -> list[int]:
    """The pids of those that live."""
    path = folder / "workers"
    lines = path.read_text().splitlines() if path.exists() else []
    return [pid for line in lines if line.startswith("daemon ") and is_alive(pid := int(line.split()[1]))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] != b"Z"
    except OSError:
        return False


def asked(folder: Path) -> int:
    """How many SIGTERM the workers have had."""
    return (folder / "workers").read_text().count("asked\n")


def test_a_worker_is_gone_when_the_process_of_the_next_model_starts(run_program: RunProgram, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    living = "grep -qs '^State:.[^ZX]' /proc/$pid/status"
    look = f"for pid in $(sed -n 's/^daemon //p' {tmp_path}/workers); do {living} && echo $pid >> {seen}; done"
    other = f"sh -c {shlex.quote(look + '; exec ' + demo())}"
    with run_program(models(w=with_worker(tmp_path), o=other)) as program:
        for _ in range(3):
            assert program.chat("w").status == 200
            assert len(workers(tmp_path)) == 1
            assert program.chat("o").status == 200
            assert workers(tmp_path) == []
        assert asked(tmp_path) == 3
        assert not seen.exists()
        program.await_starts("w", 3)


def test_a_worker_that_ignores_sigterm_is_killed_after_the_unload_timeout(
    run_program: RunProgram, tmp_path: Path
) -> None:
    entry = {"cmd": with_worker(tmp_path, stays=True), "unloadTimeout": 1}
    with run_program(models(w=entry, o=demo())) as program:
        assert program.chat("w").status == 200
        assert program.chat("o").status == 200
        assert workers(tmp_path) == []
        assert asked(tmp_path) == 1


def test_the_worker_of_another_model_beside_it_lives_on(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    both = models(a=with_worker(tmp_path), b=with_worker(tmp_path / "b"))
    with run_program({**both, "groups": {"all": {"swap": False, "members": ["a", "b"]}}}) as program:
        assert (program.chat("a").status, program.chat("b").status) == (200, 200)
        before = workers(tmp_path / "b")
        assert (len(workers(tmp_path)), len(before)) == (1, 1)
        assert program.post("/api/models/unload/a", {}).status == 200
        assert workers(tmp_path) == []
        assert workers(tmp_path / "b") == before
        assert asked(tmp_path / "b") == 0
        assert program.chat("b").status == 200
        program.await_starts("b", 1)


def test_another_llamaswaps_workers_live_on(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with (
        Program(tmp_path / "first", models(a=with_worker(tmp_path / "first"))) as first,
        Program(tmp_path / "second", models(a=with_worker(tmp_path / "second"))) as second,
    ):
        assert (first.chat("a").status, second.chat("a").status) == (200, 200)
        assert first.run_ids() == second.run_ids()  # only the owner tells them apart
        assert first.get("/unload").status == 200
        assert (len(workers(tmp_path / "first")), len(workers(tmp_path / "second"))) == (0, 1)


def test_a_worker_of_a_model_that_takes_the_mark_away_lives_on(run_program: RunProgram, tmp_path: Path) -> None:
    entry = {"cmd": with_worker(tmp_path), "env": ["LLAMASWAP_RUN="]}
    with run_program(models(w=entry, o=demo())) as program:
        assert program.chat("w").status == 200
        assert program.chat("o").status == 200
        [pid] = workers(tmp_path)
        assert asked(tmp_path) == 0
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not workers(tmp_path), "it has ended")


@pytest.mark.parametrize("then", ["sys.exit(3)", "os.kill(os.getpid(), 9)"], ids=["exits", "crashes"])
def test_a_worker_of_a_load_that_fails_is_gone_when_the_error_is_told(
    run_program: RunProgram, tmp_path: Path, then: str
) -> None:
    with run_program(models(w=with_worker(tmp_path, then=then), o=demo())) as program:
        for _ in range(2):
            assert program.chat("w").status in (502, 503)
            assert program.chat("o").status == 200
            assert workers(tmp_path) == []


def test_a_command_that_goes_into_the_background_is_a_failed_load_and_its_server_ends(run_program: RunProgram) -> None:
    command = f"sh -c {shlex.quote('setsid ' + demo() + ' </dev/null >/dev/null 2>&1 & exit 0')}"
    with run_program(models(d=command, o=demo())) as program:
        refused = program.chat("d")
        assert refused.status == 502
        assert "exited with code 0" in refused.message
        assert program.chat("o").status == 200
        assert len(program.relatives()) == 1
        assert program.states() == {"o": "ready"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may hide /proc")
def test_without_proc_models_run_all_the_same_and_that_is_said_once(run_program: RunProgram, tmp_path: Path) -> None:
    with run_program(models(w=with_worker(tmp_path), o=demo()), wrapper=UNMOUNT) as program:
        for _ in range(2):
            assert program.chat("w").status == 200
            assert program.chat("o").status == 200
        assert program.stdout.count("there is no /proc") == 1
        for pid in workers(tmp_path):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not workers(tmp_path), "they have ended")
