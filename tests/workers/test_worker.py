"""The program of a worker, within this process: what its parent hears of it."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.load import load_text
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.workers.connection_counts import ConnectionCounts
from llamaswap_lib.workers.ledger import new_ledger
from llamaswap_lib.workers.messages import PICKLE, Begin, InForce, Kind, Words
from llamaswap_lib.workers.worker import Worker
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE

# A request for a model that nobody has.
HALF, REST = b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"model"', b':"x"}'
CONFIG = {"peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}}


class Heard:
    """What the parent hears."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []  # the test's
        self.has_ended = False  # the worker
        self.kinds: queue.SimpleQueue[Kind] = queue.SimpleQueue()

    def hear(self, message: Message, descriptors: Sequence[int]) -> None:
        self.descriptors += descriptors
        self.kinds.put(message["kind"])

    def next(self) -> Kind:
        return self.kinds.get(timeout=DEADLINE)


def begin_of(listen: Listen, more: Mapping[str, Any] | None = None) -> Begin:
    """As the first worker of a parent that knows nothing of its peers yet; `more` is in its configuration."""
    return Begin(
        1,
        InForce(load_text(json.dumps({**CONFIG, **(more or {})})), None),
        {},
        listen,
        "front",
        b"salt",
        1_700_000_000,
        None,
    )


@contextmanager
def built(more: Mapping[str, Any] | None = None) -> Iterator[tuple[Worker, Heard]]:
    """One that has not started, and what its parent hears."""
    ours, theirs = socket.socketpair()
    heard = Heard()
    parent = Link(ours, heard.hear, lambda: None, pytest.fail, PICKLE)
    link = Link(theirs, lambda _message, _descriptors: None, lambda: None, pytest.fail, PICKLE)
    parent.start()
    link.start()
    counts = ConnectionCounts()
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    ledger = new_ledger()
    words = Words([], 1, -1, listening.detach(), ledger, counts.descriptor, 0)
    worker = Worker(begin_of(Listen(host, port, is_told=True), more), words, link)
    try:
        yield worker, heard
    finally:
        if not heard.has_ended:
            worker.end()
        link.close(DEADLINE)
        parent.close(DEADLINE)
        for descriptor in (ledger, counts.descriptor):
            os.close(descriptor)


def ask(client: socket.socket, path: str = "/health") -> bytes:
    """The first bytes of its answer; b"" where the connection was closed."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client.recv(65_536)


def test_one_that_leaves_gives_idle_connections_away_and_ends_with_its_last_request() -> None:
    with built() as (worker, heard):
        worker.start()
        address, has_left = worker.server.address, threading.Event()
        with socket.create_connection(address) as idle, socket.create_connection(address) as busy:
            for client in (idle, busy):
                client.settimeout(DEADLINE)
                assert ask(client).startswith(b"HTTP/1.1 200 ")
            busy.sendall(HALF)
            wait_until(lambda: worker.server.table.idle_count == 1)
            worker.leave(has_left.set)
            assert heard.next() is Kind.LEFT
            assert not has_left.is_set()
            busy.sendall(REST)
            assert busy.recv(65_536).startswith(b"HTTP/1.1 404 ")
            assert heard.next() is Kind.LEFT
            assert has_left.wait(DEADLINE)
            given, other = (socket.socket(fileno=descriptor) for descriptor in heard.descriptors)
            with given, other:
                assert {sock.getpeername() for sock in (given, other)} == {idle.getsockname(), busy.getsockname()}


@pytest.mark.slow
def test_upgrade_timeout_bounds_how_long_it_takes() -> None:
    with built({"upgradeTimeout": 1}) as (worker, _heard):
        worker.start()
        has_left = threading.Event()
        with socket.create_connection(worker.server.address) as client:
            client.settimeout(DEADLINE)
            client.sendall(HALF)
            wait_until(lambda: worker.server.count() == (1, 1))
            worker.leave(has_left.set)
            assert has_left.wait(DEADLINE)
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert "requests in progress are broken off: 1" in b"".join(worker.logs.histories().values()).decode()


def test_a_connection_that_its_parent_gives_it_is_served() -> None:
    ours = socket.create_server(("127.0.0.1", 0))
    with ours, built() as (worker, _heard), socket.create_connection(ours.getsockname()) as client:
        worker.start()
        theirs, _ = ours.accept()
        worker.hear({"kind": Kind.CLIENT, "client": "192.0.2.7"}, [theirs.detach()])
        client.settimeout(DEADLINE)
        assert ask(client).startswith(b"HTTP/1.1 200 ")


def test_a_ping_is_answered_by_the_loop_and_without_it_at_the_end() -> None:
    with built() as (worker, heard):
        worker.hear({"kind": Kind.PING})
        worker.hear({"kind": Kind.ASK, "number": 1, "question": None, "argument": None})
        assert heard.next() is Kind.ANSWER, "the loop does not turn yet"
        worker.start()
        assert heard.next() is Kind.PONG
        worker.hear({"kind": Kind.PING})
        assert heard.next() is Kind.PONG
        worker.end()
        heard.has_ended = True
        assert heard.next() is Kind.PONG, "the loop may have had no time for what was asked last"
        worker.hear({"kind": Kind.PING})
        assert heard.next() is Kind.PONG, "there is no loop any more"
