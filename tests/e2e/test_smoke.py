"""The real program in a few seconds: it starts, swaps, relays, refuses and ends. The quick part of the tests has these.

What each of them shows is tested thoroughly in the files beside it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, demo, environment, models
from tests.e2e.talk import events


def test_two_models_swap_and_each_answers_for_itself(run_program: RunProgram) -> None:
    with run_program(models(small=demo(), large=demo())) as program:
        for name in ("small", "large"):
            answer = program.chat(name, max_tokens=3)
            assert answer.status == 200
            assert answer.json()["model"] == name
            assert program.states() == {name: "ready"}
            assert [name in command for command in program.relatives().values()] == [True]


def test_a_stream_comes_through_on_a_connection_that_is_kept(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, program.stream("m", max_tokens=3) as wire:
        assert wire.status() == 200
        assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        wire.request("GET", "/health")
        assert wire.answer() == (200, b"OK")


def test_what_cannot_be_served_is_told_with_its_reason(run_program: RunProgram) -> None:
    with run_program(models(m=demo(), dies=demo("--exit-at-start", "3"))) as program:
        assert program.chat("n").status == 404
        answer = program.chat("dies")
        assert answer.status == 502
        assert "exited with code 3" in answer.message


def test_a_configuration_with_a_mistake_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: {m: {cmd: 'x ${PORT}', ttl: never}}\n")
    argv = (*COMMAND, "-c", "config.yaml")
    ended = subprocess.run(
        argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "config.yaml:1: " in ended.stderr
    assert "models.m.ttl" in ended.stderr
