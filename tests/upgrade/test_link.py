"""What two processes tell each other: whole messages in order, with descriptors, then the end."""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.upgrade.link import Link, Message
from tests.e2e.program import soft_limit

DEADLINE = 60.0  # of waits for what must come
END: Message = {"kind": "end"}


class Heard:
    """What one end has heard."""

    def __init__(self, sock: socket.socket, *, may_lose: bool = False) -> None:
        self._queue: queue.SimpleQueue[tuple[Message, Sequence[int]]] = queue.SimpleQueue()
        self.mistakes: list[str] = []
        on_end = lambda: self._queue.put((END, ()))  # noqa: E731
        self.link = Link(sock, self._hear, on_end, self.mistakes.append, may_lose=may_lose)

    def _hear(self, message: Message, descriptors: Sequence[int]) -> None:
        if message.get("kind") == "mistake":
            raise ValueError("it is one")
        self._queue.put((message, descriptors))

    def next(self) -> tuple[Message, Sequence[int]]:
        return self._queue.get(timeout=DEADLINE)


@contextmanager
def linked(*, may_lose: bool = False) -> Iterator[tuple[Heard, Heard]]:
    one, other = (Heard(sock, may_lose=may_lose) for sock in socket.socketpair())
    for heard in (one, other):
        heard.link.start()
    try:
        yield one, other
    finally:
        for heard in (one, other):
            heard.link.close(DEADLINE)


def pipe_with(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def read_and_close(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def test_messages_come_whole_and_in_order_both_ways() -> None:
    with linked() as (one, other):
        for number in range(500):
            one.link.send({"number": number})
            other.link.send({"number": -number, "text": "ä" * number})
        for number in range(500):
            assert other.next() == ({"number": number}, [])
            assert one.next() == ({"number": -number, "text": "ä" * number}, [])


def test_each_message_has_its_own_descriptors() -> None:
    with linked() as (one, other):
        for number in range(40):
            one.link.send({"plain": number})
            one.link.send({"number": number}, [pipe_with(b"%d, %d" % (number, place)) for place in range(number % 4)])
        for number in range(40):
            assert other.next() == ({"plain": number}, [])
            message, descriptors = other.next()
            assert message == {"number": number}
            assert [read_and_close(descriptor) for descriptor in descriptors] == [
                b"%d, %d" % (number, place) for place in range(number % 4)
            ]


def test_a_message_of_megabytes_comes_with_its_descriptors() -> None:
    with linked() as (one, other):
        text = "x" * 5_000_000
        one.link.send({"text": text}, [pipe_with(b"it")])
        message, [descriptor] = other.next()
        assert message == {"text": text}
        assert read_and_close(descriptor) == b"it"


def test_what_comes_is_not_inherited_by_children() -> None:
    with linked() as (one, other):
        one.link.send({}, [pipe_with(b"")])
        _, [descriptor] = other.next()
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_the_end_comes_behind_all_that_was_sent() -> None:
    with linked() as (one, other):
        for number in range(100):
            one.link.send({"number": number})
        one.link.close(DEADLINE)
        assert [other.next()[0] for _ in range(101)] == [*({"number": number} for number in range(100)), END]


def test_one_that_never_started_is_closed_all_the_same() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        Heard(ours).link.close(DEADLINE)
        assert theirs.recv(1) == b""


def test_sending_to_an_end_that_is_gone_costs_nothing_and_keeps_no_descriptor() -> None:
    with linked() as (one, other):
        other.link.close(DEADLINE)
        assert one.next() == (END, ())
        descriptor = pipe_with(b"")
        one.link.send({}, [descriptor])
        one.link.close(DEADLINE)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_mistake_in_hearing_one_message_costs_no_other_one() -> None:
    with linked() as (one, other):
        one.link.send({"kind": "mistake"})
        one.link.send({"kind": "good"})
        assert other.next() == ({"kind": "good"}, [])
        assert "it is one" in other.mistakes[0]


def test_too_many_descriptors_for_one_message_are_a_mistake_of_the_sender() -> None:
    with linked() as (one, _), pytest.raises(ValueError, match="too many"):
        one.link.send({}, [0] * 300)


def test_descriptors_of_a_message_that_never_became_whole_are_closed() -> None:
    sender, receiver = socket.socketpair()
    heard = Heard(receiver)
    heard.link.start()
    before = len(list(Path("/proc/self/fd").iterdir()))
    data: Any = json.dumps({"kind": "never"}).encode()
    descriptor = pipe_with(b"")
    socket.send_fds(sender, [struct.pack(">IB", len(data) + 1, 1) + data], [descriptor])
    os.close(descriptor)
    sender.close()
    assert heard.next() == (END, ())
    heard.link.close(DEADLINE)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_message_whose_descriptor_finds_no_room_is_left_out_and_the_next_one_heard() -> None:
    with linked(may_lose=True) as (one, other):
        kept = pipe_with(b"kept")
        lost = pipe_with(b"lost")
        with soft_limit(0):  # nobody gets a new descriptor
            one.link.send({"number": 1}, [lost])
            one.link.send({"number": 2})
            assert other.next() == ({"number": 2}, [])
        one.link.send({"number": 3}, [kept])
        message, [descriptor] = other.next()
        assert (message, read_and_close(descriptor)) == ({"number": 3}, b"kept")
        assert other.mistakes == ["a message was left out: too many open files"]
