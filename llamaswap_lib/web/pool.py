"""Connections to upstreams: made, kept alive between requests, found dead in time.

Any thread. Owns the idle connections of each run; one that is taken belongs to whoever took it, until it is given
back or closed. Guarantees: a connection of one run never serves another; one that its upstream closed, or that holds
bytes nobody asked for, is not handed out; `forget` closes what is idle, and what comes back later. There is no lock:
a list's `append` and `pop` are each one step, and a lock here would make a convoy of busy threads.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection
from urllib.parse import urlsplit

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.web.sockets import prepare

MAX_IDLE = 64  # connections kept for one run
FIRST_LOOK = 0.02  # seconds that a `recv` waits: a client's hang-up is not seen meanwhile


@dataclass(frozen=True, slots=True)
class Origin:
    """A `proxy` taken apart: where to connect, and what is joined in front of a request's path and query."""

    host: str
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def target(self, path: str, query: str) -> str:
        """The request target for a path and a query (with its question mark, or ''), both as the client sent them."""
        if self.path:
            path = self.path.rstrip("/") + path
        if self.query:
            query = f"?{self.query}&{query[1:]}" if query[1:] else f"?{self.query}"
        return path + query


_is_visible = re.compile("[!-~]*").fullmatch  # as the grammar of a request line wants it: nobody checks it later


@lru_cache(maxsize=1024)
def origin_of(proxy: str) -> Origin:
    """Take a `proxy` apart; raises BadGateway for one that is no http:// address."""
    parts = urlsplit(proxy)
    try:
        port = parts.port or 80
    except ValueError:
        raise BadGateway(f"the model's proxy {proxy!r} has no valid port") from None
    if parts.scheme != "http" or not parts.hostname:
        raise BadGateway(f"the model's proxy {proxy!r} is not an http:// address")
    if not _is_visible(proxy):
        raise BadGateway(f"the model's proxy {proxy!r} holds characters that no address has")
    return Origin(parts.hostname, port, parts.path, parts.query)


class Connection(HTTPConnection):
    """One connection to an upstream, in blocking mode; a `recv` gives up after FIRST_LOOK with a BlockingIOError.

    Of `http.client` it takes connecting. Requests and answers are written and read by the relay, through `sock`: the
    parser behind `getresponse` costs more than all the rest of a request.
    """

    sock: socket.socket  # None before `connect` and after `close`

    def __init__(self, run_id: int, host: str, port: int, connect_timeout: float | None) -> None:
        super().__init__(host, port, timeout=connect_timeout)
        self.run_id = run_id
        self.is_fresh = True

    def connect(self) -> None:
        """Connect to the first of the host's addresses that answers; raises OSError."""
        super().connect()
        try:
            prepare(self.sock, receive_timeout=FIRST_LOOK)
        except BaseException:
            self.close()
            raise
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether it is open and holds no byte, as it should between requests."""
        return not self._poll.poll(0)


class _Run:
    """What is remembered of one run."""

    __slots__ = ("address", "idle")

    def __init__(self, address: str) -> None:
        self.address = address  # the one of the host's addresses that answered: `localhost` is ::1 and 127.0.0.1
        self.idle: list[Connection] = []


class Pool:
    """The idle connections of all runs."""

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}

    # -- any thread --

    def take(self, run_id: int, origin: Origin, *, connect_timeout: float | None, fresh: bool = False) -> Connection:
        """A connection to the run, an idle one unless `fresh`, to be given back or closed; raises OSError."""
        run = self._runs.get(run_id)
        if run is not None and not fresh:
            while connection := _pop(run.idle):
                if connection.is_quiet():
                    return connection
                connection.close()
        return self._connect(run_id, origin, connect_timeout)

    def give(self, connection: Connection) -> None:
        """Take back a connection whose last answer was read to the end."""
        run = self._runs.get(connection.run_id)
        if run is None or len(run.idle) >= MAX_IDLE:
            connection.close()
            return
        connection.is_fresh = False
        run.idle.append(connection)
        if self._runs.get(connection.run_id) is not run:  # forgotten meanwhile: either we close it or `forget` did
            _close_all(run.idle)

    def forget(self, run_id: int) -> None:
        """The run has ended: close its connections."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            _close_all(run.idle)

    def keep_only(self, run_ids: Collection[int]) -> None:
        """Forget every other run: they are ending, or have ended."""
        for run_id in list(self._runs):
            if run_id not in run_ids:
                self.forget(run_id)

    def close(self) -> None:
        """Close all idle connections."""
        self.keep_only(())

    def idle_count(self, run_id: int) -> int:
        run = self._runs.get(run_id)
        return len(run.idle) if run is not None else 0

    def _connect(self, run_id: int, origin: Origin, timeout: float | None) -> Connection:
        run = self._runs.get(run_id)
        connection = Connection(run_id, origin.host if run is None else run.address, origin.port, timeout)
        connection.connect()
        if run is None:
            self._runs.setdefault(run_id, _Run(connection.sock.getpeername()[0]))
        return connection


def _pop(idle: list[Connection]) -> Connection | None:
    """The connection that was used last, in one step."""
    try:
        return idle.pop()
    except IndexError:
        return None


def _close_all(idle: list[Connection]) -> None:
    while connection := _pop(idle):
        connection.close()
