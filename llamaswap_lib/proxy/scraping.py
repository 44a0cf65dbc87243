"""The metrics of models' servers, asked for past the gates of their runs, all at the same time.

A thread `scrape-M` asks each server; the handler thread waits for them. Guarantees: nobody waits longer than the
time given, whatever a server does; a model is neither loaded nor kept by this, for no place in it is taken.
"""

from __future__ import annotations

import queue
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.errors import HttpError
from llamaswap_lib.proxy.connection import Origin, TlsUpstreamConnection, UpstreamConnection, Way, origin_of
from llamaswap_lib.runtime.control.live_run import Upstream
from llamaswap_lib.runtime.forward_proxies import ForwardProxies
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.wire.body_framing import body_of, missing_end
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.lenient_heads import AnswerHeadReader

MOST_BYTES = 8 << 20  # of an answer
_READ_BYTES = 65_536


class Result(Enum):
    """How it went with one server."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    FAILURE = "failure"  # no connection, no answer of 200, or one that cannot be read


class Scraped(NamedTuple):
    """What one server said; `text` is '' unless that was a success."""

    result: Result
    text: str = ""


class _Failed(Exception):
    """It has no metrics for us: none at all, or what it said is of no use."""


def scrape(upstreams: Mapping[str, Upstream], proxies: ForwardProxies, seconds: float) -> dict[str, Scraped]:
    """What the servers say to GET /metrics, by model; blocks for at most `seconds`."""
    deadline = time.monotonic() + seconds
    answers: queue.SimpleQueue[tuple[str, Scraped]] = queue.SimpleQueue()
    scraped: dict[str, Scraped] = {}

    def ask(model: str, upstream: Upstream) -> None:
        answers.put((model, _scrape_one(upstream, proxies, deadline)))

    for model, upstream in upstreams.items():
        thread = Thread(ask, f"scrape-{model}", (model, upstream))
        if not _starts(thread):
            scraped[model] = Scraped(Result.FAILURE)
    while len(scraped) < len(upstreams):
        try:
            model, found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        scraped[model] = found
    return {model: scraped.get(model, Scraped(Result.TIMEOUT)) for model in upstreams}


def _starts(thread: Thread) -> bool:
    try:
        thread.start()
    except (RuntimeError, MemoryError):  # there is none to be had
        return False
    return True


def _scrape_one(upstream: Upstream, proxies: ForwardProxies, deadline: float) -> Scraped:
    try:
        origin = origin_of(upstream.proxy)
        connection = _connection(upstream, origin, proxies, _left(deadline))
        try:
            connection.connect()
            return Scraped(Result.SUCCESS, _ask(connection.sock, origin, deadline))
        finally:
            connection.close()
    except TimeoutError:
        return Scraped(Result.TIMEOUT)
    except (OSError, HttpError, BadChunk, _Failed):
        return Scraped(Result.FAILURE)


def _connection(upstream: Upstream, origin: Origin, proxies: ForwardProxies, seconds: float) -> UpstreamConnection:
    through = proxies.way_to(origin.scheme, origin.host, origin.port)
    way = None if through is None else Way(through, is_tunnel=True)
    make = TlsUpstreamConnection if origin.is_secure else UpstreamConnection
    timeouts = Timeouts(connect=seconds, tls_handshake=seconds)
    return make(upstream.run_id, origin.host if way is None else way.proxy.host, origin, timeouts, way)


def _ask(sock: socket.socket, origin: Origin, deadline: float) -> str:
    """The body of the answer; raises OSError, HttpError, BadChunk and _Failed."""
    target = origin.target("/metrics", "")
    _send(sock, f"GET {target} HTTP/1.1\r\nHost: {origin.authority}\r\nConnection: close\r\n\r\n".encode(), deadline)
    reader, data = AnswerHeadReader(lenient=True), b""
    while (head := reader.read(data, 0)) is None:
        _left(deadline)
        data += _receive_some(sock, deadline)
    if head.status != 200:
        raise _Failed
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
            raise _Failed
        pieces.append(body.take(data))
    return b"".join(pieces).decode("utf-8", "replace")


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


def _receive_some(sock: socket.socket, deadline: float) -> bytes:
    """The same, where there has to be more; raises _Failed at the end."""
    data = _receive(sock, deadline)
    if not data:
        raise _Failed
    return data


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
