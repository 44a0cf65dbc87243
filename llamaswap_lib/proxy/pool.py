"""Connections to upstreams: kept alive between requests, found dead in time, closed when they were idle for too long.

Thread `loop`, but what stands under `# -- any thread --`. Owns the idle connections of each run and each peer; one that
is taken belongs to the exchange that took it, until it is given back or closed. Guarantees: a connection of one never
serves another; one that its upstream closed, or that holds bytes nobody asked for, is not handed out; `forget` closes
what is idle, and what comes back later.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import Protocol, TypeVar

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.net.loop import DUE, Loop, Timer, suspended
from llamaswap_lib.net.poller import IN, OUT
from llamaswap_lib.net.spool import Spools
from llamaswap_lib.proxy.connection import (
    Key,
    Origin,
    TlsUpstreamConnection,
    UpstreamConnection,
    User,
    Way,
    is_loopback,
    origin_of,
)
from llamaswap_lib.proxy.traffic import Traffic
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES, ForwardProxies, ForwardProxy

MAX_IDLE = 64  # connections kept for one run or peer
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)

_T = TypeVar("_T")


class Waiter(User, Protocol):
    """The life of a client's connection, which waits for the connection to its upstream."""

    async def in_thread(self, function: Callable[[], _T]) -> _T: ...

    def set_deadline(self, seconds: float | None) -> None:
        """Be resumed with DUE then; None: not."""


class _Upstream:
    """What is remembered of one run or peer."""

    __slots__ = ("address", "idle", "origin")

    def __init__(self, origin: Origin, address: str) -> None:
        self.origin = origin  # a run may move to another one
        self.address = address  # the one of the host's addresses that answered: `localhost` is ::1 and 127.0.0.1
        self.idle: list[UpstreamConnection] = []  # the one used last at the end


class Pool:
    """The idle connections of all runs and peers."""

    def __init__(self, loop: Loop, *, proxies: ForwardProxies = NO_PROXIES) -> None:
        self.traffic = Traffic()
        self.spools = Spools(loop)
        self.proxies = proxies  # on the way to other machines; for as long as it lives: each run and peer has one way
        self._loop = loop
        self._upstreams: dict[Key, _Upstream] = {}
        self._timer = Timer(loop, self._close_overdue, self)
        self.way_to = lru_cache(maxsize=1024)(self._find_way)  # by the address of an upstream, as it is configured

    # -- any thread --

    def forget(self, key: Key) -> None:
        """The run has ended: close its connections. Does not block."""
        self._loop.call(self._forget, key)

    def keep_only(self, run_ids: Collection[int]) -> None:
        """Forget every other run: they are ending, or have ended. Peers stay. Does not block."""
        self._loop.call(self._keep_only, run_ids)

    def close(self) -> None:
        """Close all idle connections; blocks until that is done."""
        self._loop.ask(self._close)

    # -- loop thread only --

    def _find_way(self, url: str) -> tuple[Origin, ForwardProxy | None]:
        """What the address means, and through which proxy it is asked; raises BadGateway."""
        origin = origin_of(url)
        return origin, self.proxies.way_to(origin.scheme, origin.host, origin.port)

    def take_idle(self, key: Key, origin: Origin, waiter: Waiter) -> UpstreamConnection | None:
        """An idle connection, heard by `waiter` from now on, to be given back or closed, if there is one."""
        upstream = self._upstreams.get(key)
        if upstream is not None and upstream.origin is not origin:
            upstream = self._of(key, origin)
        while upstream is not None and upstream.idle:
            connection = upstream.idle.pop()
            if connection.is_quiet():
                connection.listen(waiter)
                return connection
            connection.close()
        return None

    def _of(self, key: Key, origin: Origin) -> _Upstream | None:
        """What is remembered of it where it is; connections to where it was are closed."""
        upstream = self._upstreams.get(key)
        if upstream is not None and not upstream.origin.is_same_server(origin):
            self._forget(key)
            return None
        return upstream

    async def connect(
        self, waiter: Waiter, key: Key, origin: Origin, timeouts: Timeouts, *, tunnel: bool = False
    ) -> UpstreamConnection:
        """A new connection, heard by `waiter`, to be given back or closed; raises OSError, and ClientGone.

        `tunnel`: one that leads through a proxy as if it were not there, and is for one request.
        """
        try:
            return await self._connect(waiter, key, origin, timeouts, tunnel=tunnel)
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
        for upstream in self._upstreams.values():  # give those back that nobody uses at the moment
            _close_all(upstream.idle)
        return await self._connect(waiter, key, origin, timeouts, tunnel=tunnel)

    async def _connect(
        self, waiter: Waiter, key: Key, origin: Origin, timeouts: Timeouts, *, tunnel: bool
    ) -> UpstreamConnection:
        upstream = self._of(key, origin)
        make = TlsUpstreamConnection if origin.is_secure else UpstreamConnection
        through = self.proxies.way_to(origin.scheme, origin.host, origin.port)
        if through is not None:
            connection = make(key, through.host, origin, timeouts, Way(through, tunnel or origin.is_secure))
            await waiter.in_thread(connection.connect)
        else:
            # A run stays where it says it is; the name of a peer may come to mean another address.
            address = upstream.address if upstream is not None and isinstance(key, int) else origin.host
            connection = make(key, address, origin, timeouts, None)
            if isinstance(key, int) and not origin.is_secure and is_loopback(address):
                await self._open_here(waiter, connection, timeouts.connect)
            else:
                await waiter.in_thread(connection.connect)
        if connection.sock is None:
            raise ConnectionAbortedError(errno.ECONNABORTED, "it was closed")
        try:
            if isinstance(key, int):
                self.traffic.add(key, connection)
                connection.on_close = partial(self.traffic.remove, key)
            if self._of(key, origin) is None:
                self._upstreams[key] = _Upstream(origin, connection.sock.getpeername()[0])
            if not connection.is_watched:
                connection.join(self._loop, self._lose)
            connection.listen(waiter)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _open_here(self, waiter: Waiter, connection: UpstreamConnection, timeout: float) -> None:
        """Open a connection to this machine, without a thread."""
        if connection.open_now():
            return
        try:
            connection.join(self._loop, self._lose)
            connection.listen(waiter)
            connection.watch_for(OUT)
            waiter.set_deadline(timeout or None)
            try:
                mask = await suspended()
            finally:
                waiter.set_deadline(None)
            if mask == DUE:
                raise TimeoutError(errno.ETIMEDOUT, "timed out")
            connection.check_open()
            connection.watch_for(IN)
        except BaseException:
            connection.close()
            raise

    def give(self, connection: UpstreamConnection, *, may_stay: bool) -> None:
        """Take back a connection; it is closed unless another request may follow on it."""
        upstream = self._upstreams.get(connection.key)
        origin = connection.origin
        if upstream is not None and upstream.origin is not origin and not upstream.origin.is_same_server(origin):
            upstream = None
        is_used_up = connection.is_for_one_request or (connection.is_secure and connection.has_ended)
        if not may_stay or upstream is None or is_used_up or len(upstream.idle) >= MAX_IDLE:
            connection.close()
            return
        connection.user = None
        self._loop.on_ready[connection.sock.fileno()] = connection.close_stray
        connection.idle_until = self._loop.clock() + connection.idle_timeout
        upstream.idle.append(connection)
        if connection.idle_until < self._timer.at:
            self._timer.set(connection.idle_timeout)

    def _close_overdue(self) -> None:
        """Close those that have been idle for too long, now and when the next one will be."""
        now = self._loop.clock()
        due = math.inf
        for upstream in self._upstreams.values():
            for connection in tuple(upstream.idle):
                if connection.idle_until > now:
                    due = min(due, connection.idle_until)
                else:
                    upstream.idle.remove(connection)
                    connection.close()
        if due != math.inf:
            self._timer.set(due - now)

    def fail(self, error: Exception) -> None:
        """The timer's owner: the loop has reported it, and the next connection sets the timer anew."""

    def idle_count(self, key: Key) -> int:
        upstream = self._upstreams.get(key)
        return len(upstream.idle) if upstream is not None else 0

    def _forget(self, key: Key) -> None:
        upstream = self._upstreams.pop(key, None)
        if upstream is not None:
            _close_all(upstream.idle)

    def _keep_only(self, run_ids: Collection[int]) -> None:
        for key in list(self._upstreams):
            if isinstance(key, int) and key not in run_ids:
                self._forget(key)

    def _close(self) -> None:
        for key in list(self._upstreams):
            self._forget(key)

    def _lose(self, connection: UpstreamConnection) -> None:
        """It was closed while nobody used it."""
        upstream = self._upstreams.get(connection.key)
        if upstream is not None and connection in upstream.idle:
            upstream.idle.remove(connection)


def _close_all(idle: list[UpstreamConnection]) -> None:
    while idle:
        idle.pop().close()
