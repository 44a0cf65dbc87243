"""Limits on clients, each as the configuration sets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.program import Program, demo, models, wait_until

LIMITS = {
    "connections": 6,
    "idleTimeout": 2,
    "headTimeout": 1,
    "bodyTimeout": "1s",
    "writeTimeout": 1,
    "maxBodyMB": 2,
    "maxJSONMB": 1,
}
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = {**models(m=demo("--tokens-per-second", "1000000")), "limits": LIMITS}
    with Program(tmp_path_factory.mktemp("limits"), config) as running:
        assert running.chat("m", max_tokens=1).status == 200
        yield running


def test_beyond_the_limit_idle_connections_make_room(program: Program) -> None:
    wires = [program.wire() for _ in range(20)]
    try:
        assert program.chat("m", max_tokens=1).status == 200
        wait_until(lambda: program.thread_count() <= 20, "the idle ones have ended")
    finally:
        for wire in wires:
            wire.close()


def test_an_idle_connection_ends(program: Program) -> None:
    with program.wire() as wire:
        assert wire.rest() == b""


def test_a_head_that_does_not_end_is_given_up(program: Program) -> None:
    with program.wire() as wire:
        wire.send(b"GET / HT")
        assert wire.answer()[0] == 408


def test_a_body_that_does_not_come_is_given_up(program: Program) -> None:
    with program.wire() as wire:
        wire.send(POST + b"Content-Length: 10\r\n\r\n{")
        assert wire.answer()[0] == 408


@pytest.mark.parametrize(("kind", "size_mb"), [(b"application/json", 1), (b"application/octet-stream", 2)])
def test_a_body_over_the_limit_is_refused(program: Program, kind: bytes, size_mb: int) -> None:
    with program.wire() as wire:
        head = POST.replace(b"application/json", kind)
        wire.send(head + b"Content-Length: %d\r\n\r\n" % ((size_mb << 20) + 1))
        if size_mb < 2:
            wire.send(b" " * ((size_mb << 20) + 1))
        assert wire.answer()[0] == 413


def test_a_client_that_takes_nothing_is_given_up(program: Program) -> None:
    before = program.stats("m")["cancelled"]
    with program.stream("m", max_tokens=10**8):
        program.await_stats("m", cancelled=before + 1, in_progress=0)
