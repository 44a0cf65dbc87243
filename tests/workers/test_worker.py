"""The program of a worker, within this process: what its parent hears of it."""

from __future__ import annotations

import json
import os
import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.config.check import Listen
from llamaswap_lib.config.load import load_text
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.workers.connection_counts import ConnectionCounts
from llamaswap_lib.workers.ledger import new_ledger
from llamaswap_lib.workers.messages import PICKLE, Begin, InForce, Kind, Words
from llamaswap_lib.workers.worker import Worker
from tests.web.world import DEADLINE

CONFIG = {"peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}}


class Heard:
    """What the parent hears."""

    def __init__(self) -> None:
        self.kinds: queue.SimpleQueue[Kind] = queue.SimpleQueue()

    def hear(self, message: Message, descriptors: object) -> None:
        assert not descriptors
        self.kinds.put(message["kind"])

    def next(self) -> Kind:
        return self.kinds.get(timeout=DEADLINE)


def begin_of(listen: Listen) -> Begin:
    """As the first worker of a parent that knows nothing of its peers yet."""
    return Begin(1, InForce(load_text(json.dumps(CONFIG)), None), {}, listen, "front", b"salt", 1_700_000_000, None)


@contextmanager
def built() -> Iterator[tuple[Worker, Heard]]:
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
    worker = Worker(begin_of(Listen(host, port, is_told=True)), words, link)
    try:
        yield worker, heard
    finally:
        link.close(DEADLINE)
        parent.close(DEADLINE)
        for descriptor in (ledger, counts.descriptor):
            os.close(descriptor)


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
        assert heard.next() is Kind.PONG, "the loop may have had no time for what was asked last"
        worker.hear({"kind": Kind.PING})
        assert heard.next() is Kind.PONG, "there is no loop any more"
