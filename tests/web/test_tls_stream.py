"""TLS that talks about itself: it is bounded, and nobody else waits for it."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, cast

import pytest

from llamaswap_lib.net.tls_stream import READ_BYTES, TlsStream
from tests.web.certificates import TlsEnd, issue, trusting
from tests.web.world import DEADLINE


class Chatty:
    """TLS that answers every byte with one, as to a request for new keys, and never has data."""

    server_side = True

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.heard_bytes = 0

    def read(self, _size: int) -> NoReturn:
        heard = self._incoming.read()
        self.heard_bytes += len(heard)
        self._outgoing.write(heard)
        raise ssl.SSLWantReadError


class ChattyContext:
    """What makes one."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **_who: object) -> Chatty:
        self.made = Chatty(incoming, outgoing)
        return self.made


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        sock.settimeout(DEADLINE)
    with ours, theirs:
        yield ours, theirs


def test_a_look_ends_though_there_is_more_to_come(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    context = ChattyContext()
    with TlsStream(ours, cast(ssl.SSLContext, context)) as near:
        theirs.sendall(b"k" * (READ_BYTES + 1))
        for heard_bytes in (READ_BYTES, READ_BYTES + 1):
            assert select.select([near], [], [], 0)[0]
            with pytest.raises(BlockingIOError):
                near.recv()
            assert context.made.heard_bytes == heard_bytes


def test_who_asks_for_answers_and_takes_none_is_broken_off(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5_000)
    with TlsStream(ours, cast(ssl.SSLContext, ChattyContext())) as near:
        for _ in range(2):
            theirs.sendall(b"k" * READ_BYTES)
            with pytest.raises(BlockingIOError):
                near.recv()
        theirs.sendall(b"k" * READ_BYTES)
        with pytest.raises(ConnectionAbortedError):
            near.recv()


class Link:
    """Two ends of a TLS connection: `near` is ours, the server's; `far` a client that blocks."""

    def __init__(self, folder: Path, version: ssl.TLSVersion, ours: socket.socket, theirs: socket.socket) -> None:
        context = trusting()
        context.maximum_version = version
        self.near = TlsStream(ours, issue(folder).context())
        with ThreadPoolExecutor(1) as pool:
            shaken = pool.submit(TlsEnd, theirs, context, "localhost")
            while not self._shake_hands():
                assert select.select([self.near], [], [], DEADLINE)[0], "no handshake"
            self.far = shaken.result(DEADLINE)

    def _shake_hands(self) -> bool:
        try:
            self.near.shake_hands()
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bytes:
        """What comes next, waited for as the loop waits."""
        while True:
            try:
                return self.near.recv()
            except BlockingIOError:  # noqa: PERF203 - as often as nothing is there
                assert select.select([self.near], [], [], DEADLINE)[0], "nothing comes"

    def read_ahead(self, size: int) -> None:
        while len(self.near.ahead) < size and not self.near.has_ended:
            assert select.select([self.near], [], [], DEADLINE)[0], "nothing comes"
            self.near.look()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["TLS 1.3", "TLS 1.2"])
def link(tmp_path: Path, request: pytest.FixtureRequest, ends: tuple[socket.socket, socket.socket]) -> Iterator[Link]:
    link = Link(tmp_path, request.param, *ends)
    with link.near, link.far:
        yield link


def test_a_look_takes_one_piece_and_the_end_comes_behind_the_last(link: Link) -> None:
    link.far.sendall(b"x" * 3 * READ_BYTES)
    link.far.say_last(b"last")
    received, looks = b"", 0
    while not link.near.has_ended:
        piece = link.receive()
        assert len(piece) <= READ_BYTES
        received, looks = received + piece, looks + 1
    assert received == b"x" * 3 * READ_BYTES + b"last"
    assert looks > 3
    assert link.near.is_ready
    assert link.receive() == b""


def test_what_was_read_ahead_is_handed_out_first_and_bounded(link: Link) -> None:
    link.far.sendall(b"early")
    link.read_ahead(5)
    assert link.near.is_ready
    assert not link.near.is_quiet()
    link.far.sendall(b"later")
    assert link.receive() == b"early"
    assert not link.near.is_ready
    assert link.receive() == b"later"
    link.far.sendall(b"x" * 3 * READ_BYTES)
    link.read_ahead(READ_BYTES)
    held_bytes = len(link.near.ahead)
    assert held_bytes < 2 * READ_BYTES
    link.near.look()
    assert len(link.near.ahead) == held_bytes
    received = b""
    while len(received) < 3 * READ_BYTES:
        received += link.receive()
    assert received == b"x" * 3 * READ_BYTES


@pytest.mark.parametrize("says_farewell", [True, False])
def test_a_client_that_ends_its_direction_is_still_sent_to(link: Link, *, says_farewell: bool) -> None:
    if says_farewell:
        link.far.say_last(b"")
    else:
        socket.socket.shutdown(link.far, socket.SHUT_WR)
    assert link.receive() == b""
    assert link.near.send(b"answer") == 6
    assert link.far.recv(10) == b"answer"
    link.near.shutdown(socket.SHUT_WR)
    link.near.shutdown(socket.SHUT_WR)
    assert link.far.recv(10) == b""


def test_what_is_refused_is_sent_once_however_often_it_is_tried(link: Link) -> None:
    link.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5_000)
    sent = b"".join(b"%07d\n" % number for number in range(100_000))
    rest, refusals = memoryview(sent), 0

    def read_all() -> bytes:
        received = b""
        while len(received) < len(sent):
            received += link.far.recv(65_536)
        return received

    with ThreadPoolExecutor(1) as pool:
        while rest:
            try:
                rest = rest[link.near.send(rest) :]
            except BlockingIOError:  # noqa: PERF203 - as often as there is no room
                refusals += 1
                link.near.look()  # what it hears meanwhile does not stand in the way
                if refusals == 10:
                    received = pool.submit(read_all)
                assert refusals < 10 or select.select([], [link.near], [], DEADLINE)[1]
        assert received.result(DEADLINE) == sent
