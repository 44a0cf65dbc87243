"""Models whose servers sleep in place of being stopped, in the real program; the demo sleeps as vLLM does."""

from __future__ import annotations

import shlex
import sys
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
        program.await_log("swap to b: putting to sleep a; ")
        program.await_log("a: going to sleep, to make room for b", "a: asleep", "a: waking")
        wait_until(lambda: program.stdout.count("a: ready after ") == 2, "it was ready twice")
        assert "[INFO] a: stopping" not in program.stdout


def test_a_sleeper_is_unloaded_by_hand_and_by_its_ttl(run_program: RunProgram) -> None:
    config = models(a=SLEEPER, b=SLEEPER)
    with run_program(config) as program:
        for name in "aba":
            assert program.chat(name).status == 200
        assert phases(program) == {"a": ("ready", None), "b": ("stopped", "sleeping")}
        program.reload(models(a=SLEEPER, b={**SLEEPER, "ttl": 1}))
        wait_until(lambda: "b" not in phases(program), "b is stopped by its ttl")
        program.await_log("b: stopping, its ttl is over, and it sleeps")
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
        program.await_log(f"a: could not be put to sleep: {why}")
        program.await_log("a: stopping, it did not fall asleep")


WAKES = {
    "it is answered with an error": ({"wake": "/no-such-path"}, "POST /no-such-path was answered with 503"),
    "its command fails": ({"wakeCmd": "sh -c 'exit 4'"}, "its command exited with code 4"),
}


@pytest.mark.parametrize(("wake", "why"), WAKES.values(), ids=WAKES)
def test_one_that_does_not_wake_is_a_load_that_failed(
    run_program: RunProgram, wake: Mapping[str, str], why: str
) -> None:
    with run_program(models(a={**SLEEPER, "sleep": {"url": "/sleep", **wake}}, b=OTHER)) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        answer = program.chat("a")
        assert answer.status == 502
        assert f"it did not wake: {why}" in answer.json()["error"]["message"]
        wait_until(lambda: phases(program) == {}, "it is stopped")
        wait_until(lambda: program.chat("a").status == 200, "it is loaded anew")


def tell(path: str, words: str) -> str:
    """A command that tells the demo, and says so."""
    url = "http://127.0.0.1:${PORT}" + path
    ask = f"u.urlopen(u.Request({url!r}, method='POST'))"
    script = f"import sys, urllib.request as u; {ask}; print({words!r}, *sys.argv[1:])"
    return shlex.join((sys.executable, "-S", "-c", script)) + " ${PID} ${MODEL_ID}"


def test_a_command_has_it_sleep_and_another_one_has_it_wake(run_program: RunProgram) -> None:
    sleep = {"cmd": tell("/sleep", "good night"), "wakeCmd": tell("/wake_up", "good morning")}
    with run_program({**models(a={**SLEEPER, "sleep": sleep}, b=OTHER), "logToStdout": "both"}) as program:
        assert program.chat("a").status == 200
        pid = pid_of(program, "a")
        assert program.chat("b").status == 200
        assert phases(program) == {"a": ("stopped", "sleeping"), "b": ("ready", None)}
        wait_until(lambda: f"good night {pid} a" in program.stdout, "the command has said so")
        assert program.chat("a").status == 200
        assert pid_of(program, "a") == pid
        wait_until(lambda: f"good morning {pid} a" in program.stdout, "the command has said so")


COMMANDS = {
    "it fails": ("sh -c 'exit 3'", "its command exited with code 3"),
    "it takes too long": ("sleep 60", "its command did not end within 1 s"),
    "it is not there": ("/no/such/program", "its command could not start: No such file or directory"),
}


@pytest.mark.parametrize(("cmd", "why"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_fails_stops_it(run_program: RunProgram, cmd: str, why: str) -> None:
    sleep = {"cmd": cmd, "wake": "/wake_up", "timeout": 1 if cmd == "sleep 60" else 60}
    with run_program(models(a={**SLEEPER, "sleep": sleep}, b=OTHER)) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        assert phases(program) == {"b": ("ready", None)}
        program.await_log(f"a: could not be put to sleep: {why}")


def test_another_timeout_alone_restarts_nothing(run_program: RunProgram) -> None:
    def config(timeout: int) -> dict[str, Any]:
        sleep = {"url": "/sleep", "wake": "/wake_up", "timeout": timeout}
        return models(a={**SLEEPER, "sleep": sleep}, b={**SLEEPER, "sleep": sleep})

    with run_program(config(50)) as program:
        for name in "ab":
            assert program.chat(name).status == 200
        pids = {name: pid_of(program, name) for name in "ab"}
        program.reload(config(20))
        assert {name: pid_of(program, name) for name in "ab"} == pids
        if not why_impossible():
            program.write_config(config(30))
            program.upgrade()
            assert {name: pid_of(program, name) for name in "ab"} == pids
        assert program.chat("a").status == 200
        assert pid_of(program, "a") == pids["a"]


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
