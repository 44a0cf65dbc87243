"""Models whose servers sleep in place of being stopped, in the real program; the demo sleeps as vLLM does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until

SLEEPER = {"cmd": demo("--sleep-seconds", "0.1", "--load-seconds", "0.2"), "sleep": "vllm"}
OTHER = demo()


def phases(program: Program) -> dict[str, tuple[str, str | None]]:
    return {row["model"]: (row["state"], row["phase"]) for row in program.get("/running").json()["running"]}


def pid_of(program: Program, model: str) -> int:
    pid = program.running(model)["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_model_sleeps_for_another_one_and_is_woken_by_the_next_request(run_program: RunProgram) -> None:
    with run_program(models(a=SLEEPER, b=OTHER)) as program:
        assert program.chat("a").status == 200
        pid = pid_of(program, "a")
        assert program.chat("b").status == 200
        assert phases(program) == {"a": ("stopped", "sleeping"), "b": ("ready", None)}
        assert program.chat("a").status == 200
        assert phases(program) == {"a": ("ready", None)}
        assert pid_of(program, "a") == pid
        assert "swap to b: putting to sleep a; " in program.stdout
        for line in ("a: going to sleep, to make room for b", "a: asleep", "a: waking"):
            assert line in program.stdout
        assert program.stdout.count("a: ready after ") == 2
        assert "[INFO] a: stopping" not in program.stdout


def test_a_sleeper_is_unloaded_by_hand_and_by_its_ttl(run_program: RunProgram) -> None:
    config = models(a=SLEEPER, b=SLEEPER)
    with run_program(config) as program:
        for name in "aba":
            assert program.chat(name).status == 200
        assert phases(program) == {"a": ("ready", None), "b": ("stopped", "sleeping")}
        program.reload(models(a=SLEEPER, b={**SLEEPER, "ttl": 1}))
        wait_until(lambda: "b" not in phases(program), "b is stopped by its ttl")
        assert "b: stopping, its ttl is over, and it sleeps" in program.stdout
        program.reload(config)
        assert program.chat("b").status == 200
        assert phases(program)["a"] == ("stopped", "sleeping")
        assert program.ask("POST", "/api/models/unload/a").status == 200
        assert set(phases(program)) == {"b"}


FAILURES = {
    "it cannot sleep": ({"cmd": demo(), "sleep": "vllm"}, "POST /sleep?level=1 was answered with 404"),
    "it takes too long": (
        {"cmd": demo("--sleep-seconds", "30"), "sleep": {"url": "/sleep", "wake": "/wake_up", "timeout": 1}},
        "POST /sleep was not answered within 1 s",
    ),
}


@pytest.mark.parametrize(("model", "why"), FAILURES.values(), ids=FAILURES)
def test_one_that_does_not_fall_asleep_is_stopped(run_program: RunProgram, model: Mapping[str, Any], why: str) -> None:
    with run_program(models(a=model, b=OTHER)) as program:
        assert program.chat("a").status == 200
        assert program.chat("b").status == 200
        assert phases(program) == {"b": ("ready", None)}
        assert f"a: could not be put to sleep: {why}" in program.stdout
        assert "a: stopping, it did not fall asleep" in program.stdout


def test_one_that_does_not_wake_is_a_load_that_failed(run_program: RunProgram) -> None:
    sleep = {"url": "/sleep", "wake": "/no-such-path"}
    with run_program(models(a={**SLEEPER, "sleep": sleep}, b=OTHER)) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        answer = program.chat("a")
        assert answer.status == 502
        assert "it did not wake: POST /no-such-path was answered with 503" in answer.json()["error"]["message"]
        wait_until(lambda: phases(program) == {}, "it is stopped")
        wait_until(lambda: program.chat("a").status == 200, "it is loaded anew")


@pytest.mark.skipif(why_impossible() != "", reason="needs Linux")
def test_an_upgrade_goes_on_with_a_sleeper(run_program: RunProgram) -> None:
    with run_program(models(a=SLEEPER, b=OTHER)) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        pid = pid_of(program, "a")
        program.upgrade()
        assert phases(program) == {"a": ("stopped", "sleeping"), "b": ("ready", None)}
        assert program.chat("a").status == 200
        assert pid_of(program, "a") == pid
