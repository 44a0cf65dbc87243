"""One connection to an upstream, plain or with TLS, direct or through a proxy.

The loop watches it from the moment it is open (`join`), idle or in use, until it is closed. To this machine the loop
opens it without waiting (`open_now`); a handler thread connects to all others. Of `http.client` it takes connecting:
requests and answers are written and read through `sock`, for the parser behind `getresponse` costs more than all the
rest of a request. Guarantees: an idle one that its upstream closes, or that says something unasked, is closed at once.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection
from typing import Any, ClassVar, NamedTuple, Protocol
from urllib.parse import urlsplit

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.errors import BadGateway
from llamaswap_lib.net.loop import Loop, Owner
from llamaswap_lib.net.poller import IN
from llamaswap_lib.net.stream import prepare, probe_when_silent
from llamaswap_lib.net.tls_stream import TlsStream, secure, verifying_context
from llamaswap_lib.runtime.forward_proxies import ForwardProxy, is_tunnel_open
from llamaswap_lib.runtime.wakeup import LONGEST_WAIT
from llamaswap_lib.wire.head_cache import AnswerRecall

READ_BYTES = 4_096  # of a proxy's answer
PORTS = {"http": 80, "https": 443}

_LOGIN = re.compile(r"//[^/]*@")
_is_visible = re.compile("[!-~]*").fullmatch

Key = int | str  # a run, by its number, or a peer, by its name and address


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an upstream is, as its address says it: `origin_of` takes that apart."""

    host: str
    port: int
    path: str
    query: str
    scheme: str = "http"

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def is_same_server(self, other: Origin) -> bool:
        """Whether a connection to the one leads to the other, too."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)

    def __str__(self) -> str:
        """For people: without the password that an address may hold."""
        return f"{self.scheme}://{self.authority}"

    def target(self, path: str, query: str) -> str:
        """The request target for a path and a query (with its question mark, or ''), both as the client sent them."""
        if self.path:
            path = self.path.rstrip("/") + path
        if self.query:
            query = f"?{self.query}&{query[1:]}" if query[1:] else f"?{self.query}"
        return path + query


@lru_cache(maxsize=1024)
def origin_of(proxy: str) -> Origin:
    """Take a `proxy` apart; raises BadGateway for one that is no http:// or https:// address.

    What comes out is fit for a request line and a Host header: nobody checks it later.
    """
    parts = urlsplit(proxy)
    shown = repr(_LOGIN.sub("//", proxy).partition("?")[0])  # a login and a query may be secret
    try:
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise BadGateway(f"the proxy {shown} has no valid port") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise BadGateway(f"the proxy {shown} is not an http:// or https:// address")
    if not _is_visible(proxy):
        raise BadGateway(f"the proxy {shown} has characters that are not allowed in an address")
    if not _is_name(parts.hostname):
        raise BadGateway(f"the proxy {shown} has no valid host name")
    return Origin(parts.hostname, port, parts.path, parts.query, parts.scheme)


def _is_name(host: str) -> bool:
    """Whether a look-up takes it: one with an empty or endless label is an error of another kind there."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


class Way(NamedTuple):
    """How a connection leads through a proxy."""

    proxy: ForwardProxy
    is_tunnel: bool  # as if the proxy were not there; else it reads each request


def open_tunnel(sock: socket.socket, request: bytes, timeout: float | None) -> None:
    """Have the proxy at the other end open a tunnel; blocks for `timeout` seconds, None: for ever; raises OSError."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    sock.sendall(request)
    answer = b""
    while not is_tunnel_open(answer):
        if timeout is not None:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = sock.recv(READ_BYTES)
        except TimeoutError:
            raise TimeoutError(None, "the proxy took too long to open the tunnel") from None
        if not data:
            raise ConnectionError("the proxy closed the connection")
        answer += data


def is_loopback(address: str) -> bool:
    """Whether that is an address of this machine to which a connection is opened without waiting."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class User(Owner, Protocol):
    """The life of a client's connection, whose request is in progress."""

    def resume(self, value: Any, /) -> object: ...


class UpstreamConnection(HTTPConnection):
    """A plain one, never blocking once it is open."""

    is_secure: ClassVar[bool] = False  # with TLS
    sock: socket.socket  # None before it is opened and after `close`

    def __init__(self, key: Key, host: str, origin: Origin, timeouts: Timeouts, way: Way | None) -> None:
        port = origin.port if way is None else way.proxy.port
        super().__init__(host, port, timeout=min(timeouts.connect, LONGEST_WAIT) or None)
        self.key = key
        self.is_for_one_request = way is not None and way.is_tunnel and not origin.is_secure
        self.idle_timeout = timeouts.idle_connection or math.inf
        self.idle_until = math.inf  # once it is idle
        self.answers = AnswerRecall()
        self.is_cut = False  # its run hangs: what comes of it is no answer, and nobody is to ask it again
        self.origin = origin
        self._way = way
        self._keepalive = timeouts.keepalive
        self.on_close: Callable[[UpstreamConnection], None] | None = None  # may be told more than once
        self._loop: Loop | None = None  # that watches it
        self._lose: Callable[[UpstreamConnection], None] = UpstreamConnection.close
        self.user: User | None = None  # whose request is in progress
        self._is_paused = False  # it had something to say while it was muted

    # -- opening --

    def connect(self) -> None:
        """Connect to the first of the host's addresses that answers; blocks; raises OSError."""
        way = self._way
        if way is not None and way.proxy.fault:
            raise ConnectionError(way.proxy.fault)
        super().connect()
        try:
            if self._keepalive:
                probe_when_silent(self.sock, self._keepalive)
            if way is not None and way.is_tunnel:
                open_tunnel(self.sock, way.proxy.connect_request(self.origin.host, self.origin.port), self.timeout)
            self._make_ready()
        except BaseException:
            self.close()
            raise

    def _make_ready(self) -> None:
        prepare(self.sock)

    def open_now(self) -> bool:
        """Begin to connect to the host, which is an address of this machine; whether it is connected already.

        If not, it is once the socket can be written to. Never blocks; raises OSError.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            prepare(self.sock)
            if self._keepalive:
                probe_when_silent(self.sock, self._keepalive)
            self.sock.connect((self.host, self.port))
        except BlockingIOError:
            return False
        except BaseException:
            self.close()
            raise
        return True

    # -- loop thread only --

    def join(self, loop: Loop, lose: Callable[[UpstreamConnection], None]) -> None:
        """Have the loop watch it from now on; `lose` is told when it is closed while nobody uses it."""
        self._lose = lose
        loop.watch(self.sock, IN, self.close_stray, self)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)
        self._loop = loop

    def check_open(self) -> None:
        """Behind `open_now`, once it can be written to; raises OSError where it was refused."""
        if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))

    @property
    def is_watched(self) -> bool:
        return self._loop is not None

    def listen(self, user: User) -> None:
        """A request of `user` is in progress: resume that with what there is to hear."""
        assert self._loop is not None, "nobody watches it"
        self.user = user
        self._loop.on_ready[self.sock.fileno()] = user.resume

    def mute(self) -> None:
        """Hear nothing of it: what is ready and not served would be told of over and over."""
        assert self._loop is not None, "nobody watches it"
        self._loop.on_ready[self.sock.fileno()] = self._pause

    def unmute(self) -> None:
        """Wait for what it says again; `listen`, or whatever takes its place, follows at once."""
        assert self._loop is not None, "nobody watches it"
        if self._is_paused:
            self._is_paused = False
            self._loop.proceed(self.sock, IN)

    def _pause(self, _mask: int) -> None:
        assert self._loop is not None, "nobody watches it"
        self._is_paused = True
        self._loop.pause(self.sock)

    def watch_for(self, mask: int) -> None:
        assert self._loop is not None, "nobody watches it"
        self._loop.change(self.sock, mask)

    def is_quiet(self) -> bool:
        """Whether it is open and holds no byte, as it should between requests."""
        return not self._poll.poll(0)

    @property
    def has_ended(self) -> bool:
        """Whether its upstream has ended it, and no poll tells of that."""
        return False

    def fail(self, error: Exception) -> None:
        """Something of ours broke while it was watched: whose request is in progress ends."""
        if self.user is not None:
            self.user.fail(error)
        else:
            self._lose(self)
            self.close()

    def close(self) -> None:
        """More than once does no harm."""
        if self._loop is not None and self.sock is not None:
            self._loop.unwatch(self.sock)
            self._loop = None
        if self.on_close is not None:
            self.on_close(self)
        self.user = None
        super().close()

    def close_stray(self, _mask: int) -> None:
        """It says something, or has ended, while nobody uses it."""
        self._lose(self)
        self.close()


class TlsUpstreamConnection(UpstreamConnection):
    """One with TLS."""

    is_secure = True
    sock: TlsStream

    def __init__(self, key: Key, host: str, origin: Origin, timeouts: Timeouts, way: Way | None) -> None:
        super().__init__(key, host, origin, timeouts, way)
        self._name = origin.host
        self._handshake_timeout = min(timeouts.tls_handshake, LONGEST_WAIT) or None

    def _make_ready(self) -> None:
        self.sock = secure(self.sock, self._name, self._handshake_timeout, verifying_context())

    @property
    def has_ended(self) -> bool:
        """The same: TLS's farewell may have come together with the last of an answer."""
        return self.sock.is_ready

    def is_quiet(self) -> bool:
        """The same. Bytes of TLS itself, such as a new session's ticket, are no bytes."""
        return self.sock.is_quiet()

    def close_stray(self, mask: int) -> None:
        if not self.sock.is_quiet():
            super().close_stray(mask)
