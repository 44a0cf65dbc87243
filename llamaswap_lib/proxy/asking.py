"""One question to a server that has a time to answer it: a GET on a connection of its own, which is closed behind it.

Any thread that may block. Guarantees: it takes no longer than until the deadline, whatever the server does, but for a
name server that does not answer; no more is read than MOST_BYTES.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from typing import NamedTuple

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.errors import BadRequest, HeadTooLarge
from llamaswap_lib.proxy.connection import Origin, TlsUpstreamConnection, UpstreamConnection, Way, origin_of
from llamaswap_lib.runtime.forward_proxies import ForwardProxies, ForwardProxy
from llamaswap_lib.wire.body_framing import body_of, missing_end
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.lenient_heads import AnswerHeadReader

MOST_BYTES = 8 << 20  # of an answer
_READ_BYTES = 65_536


class Answer(NamedTuple):
    """What the server said, decoded from its framing."""

    status: int
    body: bytes


class BadAnswer(Exception):
    """What the server said is no answer, or none of it came, or too much."""


def ask(proxy: str, path: str, proxies: ForwardProxies, deadline: float, fields: str = "") -> Answer:
    """What the server at the address `proxy` says to GET `path`; `fields` are further lines of the head.

    `deadline` is by `time.monotonic`. Raises TimeoutError, OSError, BadAnswer, and BadGateway for an address that is
    none.
    """
    origin = origin_of(proxy)
    through = proxies.way_to(origin.scheme, origin.host, origin.port)
    target = origin.target(path, "")
    if through is not None and not origin.is_secure:  # it reads the request: many open no tunnel but to port 443
        target, fields = f"{origin}{target}", f"{through.authorization}{fields}"
    connection = _connection(origin, through, _left(deadline))
    try:
        connection.connect()
        return _ask(connection.sock, origin, target, fields, deadline)
    except (BadChunk, BadRequest, HeadTooLarge) as bad:
        raise BadAnswer(f"its answer cannot be understood: {bad}") from None
    finally:
        connection.close()


def _connection(origin: Origin, through: ForwardProxy | None, seconds: float) -> UpstreamConnection:
    way = None if through is None else Way(through, is_tunnel=origin.is_secure)
    make = TlsUpstreamConnection if origin.is_secure else UpstreamConnection
    timeouts = Timeouts(connect=seconds, tls_handshake=seconds)
    return make("", origin.host if way is None else way.proxy.host, origin, timeouts, way)


def _ask(sock: socket.socket, origin: Origin, target: str, fields: str, deadline: float) -> Answer:
    """The answer; raises OSError, HttpError, BadChunk and BadAnswer."""
    lines = f"GET {target} HTTP/1.1\r\nHost: {origin.authority}\r\nConnection: close\r\n{fields}\r\n"
    _send(sock, lines.encode("latin-1"), deadline)
    reader, data = AnswerHeadReader(lenient=True), b""
    while (head := reader.read(data, 0)) is None or head.status < 200:
        if head is not None:  # such as 103: the answer follows
            data = data[reader.end :]
            continue
        _left(deadline)
        if not (more := _receive(sock, deadline)):
            raise BadAnswer("it closed the connection without an answer")
        data += more
    body = body_of(head.body("GET"), decoded=True, lenient=True)
    pieces, size_bytes = [body.take(data[reader.end :])], len(data)
    while not body.done:
        _left(deadline)
        data = _receive(sock, deadline)
        if not data:
            if body.ends_by_close:
                break
            data = missing_end(body)
        size_bytes += len(data)
        if not data or size_bytes > MOST_BYTES:
            raise BadAnswer("its answer broke off" if not data else "its answer is too long")
        pieces.append(body.take(data))
    return Answer(head.status, b"".join(pieces))


def _send(sock: socket.socket, data: bytes, deadline: float) -> None:
    while data:
        _wait(sock, select.POLLOUT, deadline)
        with suppress(BlockingIOError):
            data = data[sock.send(data) :]


def _receive(sock: socket.socket, deadline: float) -> bytes:
    while True:
        with suppress(BlockingIOError):
            return sock.recv(_READ_BYTES)
        _wait(sock, select.POLLIN, deadline)


def _wait(sock: socket.socket, mask: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(sock, mask)
    if not poll.poll(_left(deadline) * 1000):
        raise TimeoutError


def _left(deadline: float) -> float:
    """The seconds that are left; raises TimeoutError for none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
