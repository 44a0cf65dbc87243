"""One connection to an upstream, plain or with TLS, direct or through a proxy.

Owned by one thread at a time, an http thread or the pump. Whoever made or took it gives it back to the pool, or closes
it. Of `http.client` it takes connecting: requests and answers are written and read by the relay, through `sock`, for
the parser behind `getresponse` costs more than all the rest of a request.
"""

from __future__ import annotations

import math
import select
import socket
import time
from http.client import HTTPConnection
from typing import NamedTuple

from llamaswap_lib.config.schema import Timeouts
from llamaswap_lib.net.sockets import prepare, probe_when_silent
from llamaswap_lib.net.tls_stream import TlsSocket
from llamaswap_lib.net.upstream_tls import secure, verifying_context
from llamaswap_lib.proxy.traffic import Traffic
from llamaswap_lib.proxy.upstream_url import Origin
from llamaswap_lib.runtime.forward_proxies import ForwardProxy, is_tunnel_open
from llamaswap_lib.wire.head_cache import Recall
from llamaswap_lib.wire.parser import parse_response_head

READ_BYTES = 4_096  # of a proxy's answer
FIRST_LOOK = 0.02  # seconds that a `recv` waits: a client's hang-up is not seen meanwhile

Key = int | str  # a run, by its number, or a peer, by its name and address


class Way(NamedTuple):
    """How a connection leads through a proxy."""

    proxy: ForwardProxy
    is_tunnel: bool  # as if the proxy were not there; else it reads each request


def open_tunnel(sock: socket.socket, request: bytes, timeout: float | None) -> None:
    """Have the proxy at the other end lead on; blocks for up to `timeout` seconds, None for ever; raises OSError."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    sock.sendall(request)
    answer = b""
    while not is_tunnel_open(answer):
        if timeout is not None:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = sock.recv(READ_BYTES)
        except TimeoutError:
            raise TimeoutError(None, "the proxy took too long to lead on") from None
        if not data:
            raise ConnectionError("the proxy closed the connection")
        answer += data


class Connection(HTTPConnection):
    """A plain one, in blocking mode; a `recv` gives up after FIRST_LOOK with a BlockingIOError."""

    sock: socket.socket  # None before `connect` and after `close`

    def __init__(self, key: Key, host: str, origin: Origin, timeouts: Timeouts, way: Way | None) -> None:
        super().__init__(host, origin.port if way is None else way.proxy.port, timeout=timeouts.connect or None)
        self.key = key
        self.is_for_one_request = way is not None and way.is_tunnel and not origin.is_secure
        self._origin = origin
        self._way = way
        self.is_fresh = True
        self.idle_timeout = timeouts.idle_connection or math.inf
        self.idle_until = math.inf  # once it is idle
        self.answers = Recall(parse_response_head)
        self.is_cut = False  # its run hangs: what comes of it is no answer, and nobody is to ask it again
        self._keepalive = timeouts.keepalive
        self._traffic: Traffic | None = None

    def connect(self) -> None:
        """Connect to the first of the host's addresses that answers; raises OSError."""
        way = self._way
        if way is not None and way.proxy.fault:
            raise ConnectionError(way.proxy.fault)
        super().connect()
        try:
            if self._keepalive:
                probe_when_silent(self.sock, self._keepalive)
            if way is not None and way.is_tunnel:
                open_tunnel(self.sock, way.proxy.connect_request(self._origin.host, self._origin.port), self.timeout)
            self._make_ready()
        except BaseException:
            self.close()
            raise

    def report_to(self, traffic: Traffic, run_id: int) -> None:
        """Be known as an open connection of the run, until it is closed."""
        self._traffic = traffic
        traffic.add(run_id, self)

    def close(self) -> None:
        """Any thread that owns it; more than once does no harm."""
        if self._traffic is not None and isinstance(self.key, int):
            self._traffic.remove(self.key, self)
        super().close()

    def _make_ready(self) -> None:
        prepare(self.sock, receive_timeout=FIRST_LOOK)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether it is open and holds no byte, as it should between requests."""
        return not self._poll.poll(0)


class TlsConnection(Connection):
    """One with TLS, in non-blocking mode."""

    sock: TlsSocket

    def __init__(self, key: Key, host: str, origin: Origin, timeouts: Timeouts, way: Way | None) -> None:
        super().__init__(key, host, origin, timeouts, way)
        self._name = origin.host
        self._handshake_timeout = timeouts.tls_handshake or None

    def _make_ready(self) -> None:
        self.sock = secure(self.sock, self._name, self._handshake_timeout, verifying_context())

    def is_quiet(self) -> bool:
        """The same. Bytes of TLS itself, such as a new session's ticket, are no bytes."""
        return self.sock.is_quiet()


def connect(key: Key, host: str, origin: Origin, timeouts: Timeouts, way: Way | None = None) -> Connection:
    """A new connection to `host`, which is the origin's or its address, or that of a proxy; raises OSError."""
    connection = (TlsConnection if origin.is_secure else Connection)(key, host, origin, timeouts, way)
    connection.connect()
    return connection
