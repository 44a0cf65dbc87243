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

from llamaswap_lib.net.bridge import Bridge, Patience
from llamaswap_lib.net.poller import IN
from llamaswap_lib.net.sockets import PlainEnd
from llamaswap_lib.net.tls_stream import READ_BYTES, TlsSocket
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
    with TlsSocket(ours, cast(ssl.SSLContext, context)) as near:
        theirs.sendall(b"k" * (READ_BYTES + 1))
        for heard_bytes in (READ_BYTES, READ_BYTES + 1):
            assert select.select([near], [], [], 0)[0]
            with pytest.raises(BlockingIOError):
                near.recv()
            assert context.made.heard_bytes == heard_bytes


def test_who_asks_for_answers_and_takes_none_is_broken_off(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5_000)
    with TlsSocket(ours, cast(ssl.SSLContext, ChattyContext())) as near:
        for _ in range(2):
            theirs.sendall(b"k" * READ_BYTES)
            with pytest.raises(BlockingIOError):
                near.recv()
        theirs.sendall(b"k" * READ_BYTES)
        with pytest.raises(ConnectionAbortedError):
            near.recv()


def test_a_turn_passes_one_piece_on_and_the_end_behind_the_last(
    tmp_path: Path, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    plain, served = socket.socketpair()
    with TlsSocket(ours, issue(tmp_path).context()) as near, plain, PlainEnd(fileno=served.detach()) as end:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        plain.setblocking(False)
        end.settimeout(DEADLINE)
        crossed = Bridge(near, plain, end, Patience())
        with ThreadPoolExecutor(1) as pool:
            shaken = pool.submit(TlsEnd, theirs, trusting(), "localhost")
            while not shaken.done():
                crossed.move()
                select.select([near], [], [], 0.01)
        with shaken.result(DEADLINE) as client:
            crossed.move()
            client.sendall(b"x" * 3 * READ_BYTES)
            client.shutdown(socket.SHUT_WR)
            passed_bytes, turns = 0, 0
            while passed_bytes < 3 * READ_BYTES:
                crossed.move()
                turns += 1
                piece = len(end.recv(4 * READ_BYTES))
                assert piece <= READ_BYTES
                passed_bytes += piece
                assert passed_bytes == 3 * READ_BYTES or crossed.tls_mask & IN
            assert turns > 3
            assert end.recv(1) == b""
