"""Policies of users' own, the printed one included."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, demo, environment, models, wait_until

DOCS = Path(__file__).resolve().parents[2] / "docs" / "policies.md"
FAST = demo("--tokens-per-second", "200")
SLOW = demo("--tokens-per-second", "25")


def example() -> str:
    """The policy as it is printed."""
    [source] = re.findall(r"```python\n(from .*?)```", DOCS.read_text(), re.DOTALL)
    return str(source)


def config(use: str, *names: str, cmd: str = FAST, **more: Any) -> dict[str, Any]:
    return {**models(**dict.fromkeys(names, cmd)), "routing": {"router": {"use": use}}, **more}


def test_the_printed_policy_evicts_the_least_recently_used(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "lru.py").write_text(example())
    assert "use: lru.py:LeastRecentlyUsed" in DOCS.read_text()
    with run_program(config("lru.py:LeastRecentlyUsed", "a", "b", "c")) as program:
        for name in ("a", "b", "a"):
            assert program.chat(name).status == 200
        assert program.states() == {"a": "ready", "b": "ready"}
        assert program.chat("c").status == 200
        assert program.states() == {"a": "ready", "c": "ready"}
        program.await_log("swap to c: stopping b; decided by lru.py:LeastRecentlyUsed\n")
        assert program.chat("a").status == 200  # which is loaded: nobody goes
        program.await_starts("a", 1)
        assert program.chat("b").status == 200
        assert program.states() == {"a": "ready", "b": "ready"}
        program.await_log("swap to b: stopping c; decided by lru.py:LeastRecentlyUsed\n")
        assert program.stdout.count("swap to ") == 2


def test_the_printed_policy_waits_for_the_first_of_two_busy_models(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "lru.py").write_text(example())
    with (
        run_program(config("lru.py:LeastRecentlyUsed", "a", "b", "c", cmd=SLOW)) as program,
        ThreadPoolExecutor() as pool,
        program.stream("a") as first,
    ):
        first.read_head_and_first_chunk()
        second = program.stream("b")
        second.read_head_and_first_chunk()
        third = pool.submit(program.chat, "c", max_tokens=2)
        wait_until(lambda: len(program.queue()) == 1, "it waits")
        [row] = program.queue()
        assert row["reason"] == "waiting for a: 1 request in progress"
        second.close()  # not who it waits for, but now who is idle
        assert third.result().status == 200
        assert program.states() == {"a": "ready", "c": "ready"}


def test_a_policy_that_fails_serves_one_at_a_time_and_is_told_once(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n  def evict(self, target, running):\n    return running[0].nonsense\n"
    )
    with run_program(config("mine.py:Mine", "a", "b"), tracebacks=2) as program:  # its own, and what came of it
        for name in ("a", "b", "a", "b"):
            assert program.chat(name).status == 200
            assert program.states() == {name: "ready"}
        assert program.stdout.count("the policy failed for ") == 1
        program.await_log(f'File "{tmp_path / "mine.py"}", line 3, in evict')
        program.await_log("AttributeError: 'RunningModel' object has no attribute 'nonsense'")


def test_a_policy_that_answers_rubbish_serves_one_at_a_time(run_program: RunProgram, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n  def evict(self, target, running):\n    pass\n")
    with run_program(config("mine.py:Mine", "a", "b"), tracebacks=2) as program:
        for name in ("a", "b"):
            assert program.chat(name).status == 200
        assert program.states() == {"b": "ready"}
        program.await_log("expected names of models, or a list of choices of names, got None")


@pytest.mark.parametrize("command", [(), ("check",)])
def test_a_policy_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n  def evict(self, target):\n    pass\n")
    (tmp_path / "config.yaml").write_text("models: {a: {cmd: 'x ${PORT}'}}\nrouting: {router: {use: 'mine.py:Mine'}}\n")
    argv = (*COMMAND, *command, "-c", str(tmp_path / "config.yaml"))
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"{tmp_path / 'mine.py'}:2: Mine.evict cannot be called" in said
    assert "Traceback" not in said
