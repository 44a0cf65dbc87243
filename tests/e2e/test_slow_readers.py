"""A client that reads a large answer slowly: the model may go when it has said all of it, and no byte is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, models, upstream, wait_until
from tests.e2e.talk import Wire

LARGE = 20_000_000


@contextmanager
def slow_reader(program: Program) -> Iterator[Wire]:
    """A client whose system takes little ahead of it; its answer has begun."""
    with program.wire() as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.request("GET", f"/upstream/a/large?{LARGE}")
        assert wire.status() == 200
        yield wire


def test_a_client_that_reads_6_kb_a_second_does_not_keep_another_model_out(run_program: RunProgram) -> None:
    with run_program(models(a=upstream(), b=upstream())) as program, ThreadPoolExecutor() as pool:
        with slow_reader(program) as wire:
            read_bytes, second = 0, threading.Event()
            asked = pool.submit(program.get, "/upstream/b/hello")
            while not asked.done():
                assert wire.exactly(600) == b"x" * 600
                read_bytes += 600
                second.wait(0.1)
            assert asked.result().status == 200
            assert read_bytes < LARGE // 10
            assert program.states() == {"b": "ready"}
            assert wire.exactly(LARGE - read_bytes) == b"x" * (LARGE - read_bytes)
        wait_until(lambda: f" 200 {LARGE} " in program.stdout, "the slow answer is logged whole")


def test_an_unload_does_not_wait_for_a_client_that_reads_nothing(run_program: RunProgram) -> None:
    with run_program(models(a=upstream())) as program, slow_reader(program) as wire:
        assert program.post("/api/models/unload/a", {}).status == 200
        assert program.states() == {}
        assert wire.exactly(LARGE) == b"x" * LARGE


@pytest.mark.parametrize("spool_mb", [0, 8])
def test_above_its_bound_the_model_waits_for_the_client(run_program: RunProgram, spool_mb: int) -> None:
    config = {**models(a=upstream(), b=upstream()), "limits": {"spoolMB": spool_mb}}
    with run_program(config) as program, ThreadPoolExecutor() as pool, slow_reader(program) as wire:
        asked = pool.submit(program.get, "/upstream/b/hello")
        wait_until(
            lambda: [row["reason"] for row in program.queue()] == ["waiting for a: 1 request in progress"], "b waits"
        )
        if spool_mb:
            told = "2 MB of its answer are stored, which is the limit (limits.spoolMB)"
            wait_until(lambda: told in program.stdout, "the log says so")
        assert program.states() == {"a": "ready"}
        assert wire.exactly(LARGE) == b"x" * LARGE
        assert asked.result().status == 200
