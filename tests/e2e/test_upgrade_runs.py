"""What becomes of the processes of models at an upgrade, and after it: the new process is not their parent."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.held import Held
from tests.e2e.program import DEADLINE, Program, demo, models, python, wait_until

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")

SERVER = """
import os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def do_POST(self):
        print("asked", flush=True)
        self.do_GET()
"""
SERVE = """
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""
SLOW_TO_STOP = """
def stop(*_):
    print("told to stop", flush=True)
    threading.Timer(float(sys.argv[1]), os._exit, (0,)).start()
signal.signal(signal.SIGTERM, stop)
"""
WITH_A_DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    print("daemon", os.getpid(), flush=True)
    while True:
        signal.pause()
os.wait()
"""


def upgraded(program: Program) -> None:
    """Another process serves, and the one before has ended."""
    program.upgrade()
    assert program.before.wait(DEADLINE) == 0


def test_what_a_model_prints_is_read_by_the_new_process(run_program: RunProgram) -> None:
    config = {**models(m=python(SERVER + SERVE)), "logToStdout": "both"}
    with run_program(config) as program:
        for count in (1, 2, 3):
            assert program.chat("m").status == 200
            wait_until(lambda count=count: program.stdout.count("asked") == count, "it is read")  # type: ignore[misc]
            upgraded(program)
        program.await_starts("m", 1)


def test_cmd_stop_stops_a_model_that_was_taken_over(run_program: RunProgram, tmp_path: Path) -> None:
    done = tmp_path / "done"
    stop = f"sh -c 'touch {done}; kill -9 ${{PID}}'"
    with run_program(models(m={"cmd": demo(), "cmdStop": stop})) as program:
        assert program.chat("m").status == 200
        upgraded(program)
        assert program.post("/api/models/unload/m", None).status == 200
        assert done.exists()
        assert program.states() == {}


def test_a_model_that_is_being_stopped_is_waited_for_once(run_program: RunProgram) -> None:
    config = models(a=python(SERVER + SLOW_TO_STOP + SERVE, "2"), b=demo())
    with run_program({**config, "logToStdout": "both"}) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a").status == 200
        waits = pool.submit(program.chat, "b")
        wait_until(lambda: "told to stop" in program.stdout, "it is being stopped")
        program.upgrade()
        comes = pool.submit(program.chat, "b")
        assert waits.result(DEADLINE).status == comes.result(DEADLINE).status == 200
        assert program.states() == {"b": "ready"}
        assert program.stdout.count("told to stop") == 1
        program.await_starts("b", 1)


def test_a_model_that_the_old_process_was_stopping_is_stopped_by_the_new_one_if_that_dies(
    run_program: RunProgram,
) -> None:
    a = {"cmd": python(SERVER + SLOW_TO_STOP + SERVE, "1000"), "unloadTimeout": 4}
    with run_program({**models(a=a, b=demo()), "logToStdout": "both"}) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a").status == 200
        pool.submit(program.chat, "b")
        wait_until(lambda: "told to stop" in program.stdout, "it is being stopped")
        program.upgrade()
        program.kill_before()
        assert program.chat("b").status == 200
        assert program.states() == {"b": "ready"}
        assert len(program.relatives()) == 1


def test_how_a_model_has_died_is_known_while_its_parent_lives(run_program: RunProgram, tmp_path: Path) -> None:
    held = Held(tmp_path)
    config = models(m=held.command, n=demo())
    config["groups"] = {"all": {"swap": False, "members": ["m", "n"]}}
    with run_program(config) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        assert program.chat("n").status == 200
        program.upgrade()
        os.kill(program.running("n")["pid"], signal.SIGSEGV)
        wait_until(lambda: "n: killed by SIGSEGV while it was ready" in program.stdout, "it is told")
        assert program.chat("n").status == 200
        held.end(wire)
        assert program.before.wait(DEADLINE) == 0
        os.kill(program.running("m")["pid"], signal.SIGSEGV)
        wait_until(lambda: "m: exited (how is not known) while it was ready" in program.stdout, "it is told")
        program.await_starts("n", 2)


def test_what_left_its_group_is_found_by_the_new_process(run_program: RunProgram) -> None:
    config = {**models(m=python(SERVER + WITH_A_DAEMON + SERVE)), "logToStdout": "both"}
    with run_program(config) as program:
        assert program.chat("m").status == 200
        wait_until(lambda: "daemon" in program.stdout, "it is there")
        upgraded(program)
        assert len(program.relatives()) == 2
        assert program.post("/api/models/unload/m", None).status == 200
        assert program.relatives() == {}


def test_a_model_that_is_configured_otherwise_goes_when_its_last_request_has_ended(
    run_program: RunProgram, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    with run_program(models(m=held.command)) as program, program.stream("m") as wire, ThreadPoolExecutor() as pool:
        wire.read_head_and_first_chunk()
        before = program.running("m")["pid"]
        program.write_config(models(m=demo()))
        program.upgrade()
        waits = pool.submit(program.chat, "m")
        wait_until(lambda: len(program.queue()) == 1, "it waits")
        assert program.running("m")["pid"] == before
        held.end(wire)
        assert waits.result(DEADLINE).status == 200
        assert program.running("m")["pid"] != before


def test_nothing_is_left_when_the_new_process_is_killed_later(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        upgraded(program)
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: not program.relatives(), "its models end")


def test_another_llamaswap_takes_no_model_for_what_an_earlier_one_has_left(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        upgraded(program)
        folder = tmp_path / "other"
        folder.mkdir()
        with Program(folder, models(n=demo())) as other:
            assert other.chat("n").status == 200  # which waits until leftovers have ended
        assert program.chat("m").status == 200
        program.await_starts("m", 1)


def test_the_time_without_requests_goes_on(run_program: RunProgram) -> None:
    with run_program(models(m={"cmd": demo(), "ttl": 1})) as program:
        assert program.chat("m").status == 200
        upgraded(program)
        wait_until(lambda: program.states() == {}, "its ttl is over")
        wait_until(lambda: "m: stopping, its ttl is over" in program.stdout, "the log says so")
