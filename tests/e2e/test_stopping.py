"""The end: in order on the first signal, at once on the second; no process of anybody is left in either case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.held import Held
from tests.e2e.program import COMMAND, DEADLINE, HELLO, Program, demo, environment, models, wait_until
from tests.e2e.talk import Cut, events

PACED = ("--tokens-per-second", "100")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_in_order(run_program: RunProgram, number: signal.Signals) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        with program.wire() as kept:
            kept.request("GET", "/health")
            assert kept.answer()[0] == 200
            program.signal(number)
            assert program.wait() == 0
            assert kept.rest() == b""
        assert program.relatives() == {}
        assert f"[INFO] {number.name}: stopping\n" in program.stdout


def test_sighup_does_not_end_the_program_and_is_logged(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        program.signal(signal.SIGHUP)
        wait_until(lambda: "[INFO] configuration reloaded: nothing has changed" in program.stdout, "it is told")
        assert program.chat("m").status == 200
        program.await_starts("m", 1)


def test_sigusr1_does_not_end_the_program(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        program.signal(signal.SIGUSR1)
        assert program.chat("m").status == 200


def test_these_signals_do_not_end_the_program_before_it_listens_either(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)  # its start waits for somebody who writes it
    words = (*COMMAND, "-c", str(config), "-listen", "127.0.0.1:0")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            writer = open_to_write(config, process)
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.send_signal(number)
            os.write(writer, b"models: {}\n")
            os.close(writer)
            assert process.stdout is not None
            assert any(" listening on " in line for line in process.stdout)
            process.terminate()
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()


def open_to_write(fifo: Path, reader: subprocess.Popen[str]) -> int:
    """Once it is open to be read; a descriptor."""
    found: list[int] = []

    def is_open() -> bool:
        assert reader.poll() is None
        with suppress(OSError):
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(found)

    wait_until(is_open, "somebody reads it")
    return found[0]


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(run_program: RunProgram) -> None:
    with run_program(models(m=demo()), wrapper=("nohup",)) as program:
        program.signal(signal.SIGHUP)
        assert program.chat("m").status == 200
        assert "SIGHUP" not in program.stdout


def test_an_interrupt_that_was_ignored_at_the_start_stays_ignored(run_program: RunProgram) -> None:
    """As in the background of a shell without job control."""
    with run_program(models(m=demo()), wrapper=("sh", "-c", "trap '' INT; exec \"$@\"", "sh")) as program:
        program.signal(signal.SIGINT)
        assert program.chat("m").status == 200
        assert "SIGINT" not in program.stdout


def test_signals_that_were_blocked_at_the_start_are_heard(run_program: RunProgram) -> None:
    block = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    with run_program(models(m=demo()), wrapper=(sys.executable, "-c", block)) as program:
        assert program.chat("m").status == 200
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_a_signal_ends_a_server_that_has_loaded_no_model(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_a_stream_in_progress_is_finished_within_the_grace(run_program: RunProgram) -> None:
    with run_program(models(m=demo(*PACED))) as program, program.stream("m", max_tokens=100) as wire:
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        assert wire.rest() == b""
        assert program.wait() == 0


def test_a_stream_that_outlasts_the_grace_is_cut(run_program: RunProgram) -> None:
    with run_program({**models(m=demo(*PACED)), "shutdownTimeout": 1}) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        with pytest.raises(Cut):
            list(wire.chunks())
        assert program.wait() == 0
        assert program.relatives() == {}


def test_new_requests_are_503_while_the_server_ends(run_program: RunProgram, tmp_path: Path) -> None:
    held = Held(tmp_path)
    config = {**models(m=held.command), "shutdownTimeout": 60}
    with run_program(config) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        wait_until(lambda: program.get("/health").status == 503, "nobody is let in")
        refused = program.get("/health")
        assert (refused.status, "shutting down" in refused.message) == (503, True)
        assert refused.headers["Retry-After"] == "1"
        held.end(wire)
        assert program.wait() == 0


def test_requests_that_wait_for_a_model_are_503(run_program: RunProgram, tmp_path: Path) -> None:
    held = Held(tmp_path)
    config = {**models(busy=held.command, wanted=demo()), "shutdownTimeout": 60}
    with run_program(config) as program, program.stream("busy") as wire:
        wire.read_head_and_first_chunk()
        with program.stream("wanted") as waiting:
            wait_until(lambda: len(program.queue()) == 1, "it waits")
            program.signal(signal.SIGTERM)
            status, body = waiting.answer()
            assert (status, b"shutting down" in body) == (503, True)
        held.end(wire)
        assert program.wait() == 0


def test_a_signal_during_a_load_ends_the_request_with_503(run_program: RunProgram) -> None:
    with run_program(models(m=demo("--load-seconds", "60"))) as program, program.stream("m") as wire:
        wait_until(lambda: program.states() == {"m": "starting"}, "it loads")
        program.signal(signal.SIGTERM)
        assert wire.answer()[0] == 503
        assert program.wait() == 0


def test_streams_of_logs_are_closed_properly(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        wires = [program.wire() for _ in range(3)]
        for wire, path in zip(wires, ("", "/proxy", "/m"), strict=True):
            wire.request("GET", f"/logs/stream{path}")
            assert wire.status() == 200
        program.signal(signal.SIGTERM)
        for wire in wires:
            list(wire.chunks())  # to the proper end
            assert wire.rest() == b""
            wire.close()
        assert program.wait() == 0


def test_a_stream_of_events_is_closed_properly(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, program.wire() as wire:
        wire.request("GET", "/api/events")
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        list(wire.chunks())  # to the proper end
        assert wire.rest() == b""
        assert program.wait() == 0


def test_a_request_to_a_peer_is_finished_within_the_grace_too(tmp_path: Path) -> None:
    """It is inside no model of ours."""
    for name in ("far", "near"):
        (tmp_path / name).mkdir()
    with Program(tmp_path / "far", models(m=demo("--tokens-per-second", "15"))) as far:
        peers = {"far": {"proxy": f"http://127.0.0.1:{far.port}", "models": ["m"]}}
        with Program(tmp_path / "near", {"peers": peers}) as near, near.stream("m", max_tokens=100) as wire:
            wire.read_head_and_first_chunk()
            near.signal(signal.SIGTERM)
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
            assert near.wait() == 0


def test_processes_that_ignore_sigterm_are_gone_after_the_end(run_program: RunProgram) -> None:
    flags = {"a": "--ignore-sigterm", "b": "--grandchild-ignores-sigterm", "c": "--hang-on-sigterm"}
    entries = {name: {"cmd": demo(flag), "unloadTimeout": 1} for name, flag in flags.items()}
    groups = {"all": {"swap": False, "members": list(entries)}}
    with run_program({"models": entries, "groups": groups}) as program:
        for name in entries:
            assert program.chat(name).status == 200
        wait_until(lambda: len(program.relatives()) == 4, "all run")
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert program.relatives() == {}


def test_a_second_signal_ends_it_at_once_children_included(run_program: RunProgram) -> None:
    entry = {"cmd": demo(*PACED, "--grandchild-ignores-sigterm", "--ignore-sigterm"), "unloadTimeout": 60}
    with run_program(models(m=entry)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: stopping" in program.stdout, "it ends in order")
        program.signal(signal.SIGINT)
        assert program.wait() == 1
        wait_until(lambda: program.relatives() == {}, "nobody is left")


HANGS = """
import threading

class Mine:
    def evict(self, target, running):
        open({door!r}, "w")
        threading.Event().wait(99)
"""


@pytest.mark.parametrize("is_hurried", [False, True], ids=["once", "twice"])
def test_it_ends_though_the_thread_that_decides_hangs(
    run_program: RunProgram, tmp_path: Path, is_hurried: bool
) -> None:
    door = tmp_path / "door"
    (tmp_path / "mine.py").write_text(HANGS.format(door=str(door)))
    entries = models(a={"cmd": demo(), "unloadTimeout": 1}, b=demo())
    config = {**entries, "routing": {"router": {"use": "mine.py:Mine"}}, "shutdownTimeout": 1}
    with run_program(config) as program, program.wire() as wire:
        assert program.chat("a").status == 200
        wire.request("POST", "/v1/chat/completions", {"model": "b", **HELLO})
        wait_until(door.exists, "the policy hangs")
        program.signal(signal.SIGTERM)
        if is_hurried:
            wait_until(lambda: "SIGTERM: stopping" in program.stdout, "it ends in order")
            program.signal(signal.SIGTERM)
        assert program.process.wait(3 * DEADLINE) == is_hurried
        program.code = 0
        wait_until(lambda: program.relatives() == {}, "nobody is left")


def test_the_program_ends_in_order_while_many_clients_are_connected(run_program: RunProgram) -> None:
    with run_program(models(m=demo(*PACED))) as program:
        wires = [program.stream("m", max_tokens=50) for _ in range(20)]
        wires += [program.wire() for _ in range(10)]  # silent
        with ThreadPoolExecutor() as pool:
            unload = pool.submit(lambda: program.get("/unload"))
            wires[0].status()
            program.signal(signal.SIGTERM)
            assert program.wait() == 0
            assert unload.exception() is None or isinstance(unload.exception(), OSError)
        for wire in wires:
            wire.close()
