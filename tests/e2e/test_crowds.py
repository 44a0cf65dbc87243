"""Many clients that take connections and give nothing, beside a few honest ones."""

from __future__ import annotations

import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, soft_limit, wait_until
from tests.e2e.talk import TIMEOUT, Wire

MOST = 20  # connections
CROWD = 3 * MOST
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")


def send(data: bytes) -> Callable[[Program], Wire]:
    def connect(program: Program) -> Wire:
        wire = program.wire()
        wire.send(data)
        return wire

    return connect


def take_nothing(program: Program) -> Wire:
    return program.stream("m", max_tokens=10**8)


CROWDS = {
    "silent": send(b""),
    "half a head": send(POST),
    "half a body": send(POST + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"),
    "log": send(b"GET /logs/stream HTTP/1.1\r\nHost: x\r\n\r\n"),
    "events": send(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n"),
}


@pytest.mark.parametrize("connect", CROWDS.values(), ids=CROWDS)
def test_honest_clients_are_served_beside_a_crowd(run_program: RunProgram, connect: Callable[[Program], Wire]) -> None:
    with run_program({**models(m=demo()), "limits": {"connections": MOST}}) as program, ExitStack() as stack:
        assert program.chat("m", max_tokens=1).status == 200
        streaming = stack.enter_context(program.stream("m", max_tokens=400, ignore_eos=True))
        assert streaming.status() == 200
        for _ in range(CROWD):
            stack.enter_context(connect(program))
            assert program.chat("m", max_tokens=1).status == 200
        streaming.read_to(b"data: [DONE]")
        wait_until(lambda: program.thread_count() < MOST + 20, "those that made room have no thread any more")
        wait_until(lambda: f"more than {MOST} connections: " in program.stdout, "the log tells")


def is_answered(program: Program) -> bool:
    """A newcomer is not, as long as those that are served may yet read."""
    try:
        return program.get("/health").status == 200
    except ConnectionError:
        return False


def test_clients_that_do_not_read_their_answers_make_room(run_program: RunProgram) -> None:
    config = {**models(m=demo("--tokens-per-second", "1000000")), "limits": {"connections": 4}}
    with run_program(config) as program, ExitStack() as stack:
        assert program.chat("m", max_tokens=1).status == 200
        for _ in range(4):
            stack.enter_context(take_nothing(program))
        wait_until(lambda: is_answered(program), "one of them has made room")
        program.await_stats("m", in_progress=3)


def limits_of(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


@linux_only
def test_a_low_limit_of_descriptors_is_raised_when_it_is_needed_and_models_never_see_that(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = f"sh -c 'ulimit -Sn > {told}; kill ${{PID}}'"
    config = models(early=demo(), late={"cmd": demo(), "cmdStop": command})
    with ExitStack() as stack:
        with soft_limit(128):
            program = stack.enter_context(Program(tmp_path, config))
            wires = stack.enter_context(ExitStack())
        assert program.chat("early", max_tokens=1).status == 200
        assert limits_of(program.process.pid) == 128
        assert limits_of(program.running("early")["pid"]) == 128
        for _ in range(100):
            wires.enter_context(program.wire())
        wait_until(lambda: limits_of(program.process.pid) > 128, "the limit is raised")
        assert program.chat("late", max_tokens=1).status == 200
        assert limits_of(program.running("late")["pid"]) == 128
        assert program.post("/api/models/unload", {}).status == 200
        assert told.read_text().strip() == "128"
        wires.close()


@linux_only
def test_where_no_descriptor_is_left_idle_clients_make_room(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, ExitStack() as stack:
        assert program.chat("m", max_tokens=1).status == 200
        count = program.descriptor_count()
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (count + 30, count + 30))
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", program.port), TIMEOUT))
        for _ in range(10):
            assert program.chat("m", max_tokens=1).status == 200
        # By what it found first: no descriptor, or fewer places than there were, where one became free in between.
        told = re.compile(r"(cannot accept a connection \(Too many open files\)|more than \d+ connections): \d+ closed")
        wait_until(lambda: told.search(program.stdout) is not None, "the log tells")


@linux_only
def test_it_ends_in_order_though_clients_have_taken_all_descriptors(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, ExitStack() as stack:
        assert program.chat("m", max_tokens=1).status == 200
        count = program.descriptor_count() + 30
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (count, count))
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", program.port), TIMEOUT))
        wait_until(lambda: program.descriptor_count() == count, "none is left")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert "m: stopping, unloaded" in program.stdout
