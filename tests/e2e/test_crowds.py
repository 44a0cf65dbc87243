"""Many clients that take connections and give nothing, beside a few honest ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.talk import Wire

MOST = 20  # connections
CROWD = 3 * MOST
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


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


def test_clients_that_do_not_read_their_answers_make_room(run_program: RunProgram) -> None:
    config = {**models(m=demo("--tokens-per-second", "1000000")), "limits": {"connections": 4}}
    with run_program(config) as program, ExitStack() as stack:
        assert program.chat("m", max_tokens=1).status == 200
        for _ in range(4):
            stack.enter_context(take_nothing(program))
        wait_until(lambda: program.get("/health").status == 200, "one of them has made room")
        program.await_stats("m", in_progress=3)
