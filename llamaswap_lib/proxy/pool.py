"""Connections to upstreams: kept alive between requests, found dead in time, closed when they were idle for too long.

Any thread; the thread `pool` closes what is overdue. Owns the idle connections of each run and each peer; one that is
taken belongs to whoever took it, until it is given back or closed. Guarantees: a connection of one never serves
another; one that its upstream closed, or that holds bytes nobody asked for, is not handed out; `forget` closes what
is idle, and what comes back later. There is no lock: a list's `append`, `pop` and `remove` are each one step, and a
lock here would make a convoy of busy threads.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from llamaswap_lib.config.schema import Timeouts
from llamaswap_lib.net.loop import Pump
from llamaswap_lib.proxy.connection import Connection, Key, Way, connect
from llamaswap_lib.proxy.standing import Standing
from llamaswap_lib.proxy.traffic import Traffic
from llamaswap_lib.proxy.upstream_url import Origin
from llamaswap_lib.runtime.forward_proxies import NO_PROXIES, ForwardProxies
from llamaswap_lib.runtime.vital import Failures, VitalThread

MAX_IDLE = 64  # connections kept for one run or peer

_T = TypeVar("_T")


class _Upstream:
    """What is remembered of one run or peer."""

    __slots__ = ("address", "idle", "standing")

    def __init__(self, address: str) -> None:
        self.address = address  # the one of the host's addresses that answered: `localhost` is ::1 and 127.0.0.1
        self.idle: list[Connection] = []  # the one used last at the end
        self.standing: list[Standing] = []  # the same, of those that the pump has


class Pool:
    """The idle connections of all runs and peers."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_error: Callable[[str], None] = print,
        proxies: ForwardProxies = NO_PROXIES,
    ) -> None:
        """`on_error` is told the traceback of what must not happen."""
        self.traffic = Traffic()
        self.proxies = (
            proxies  # on the way to other machines; for as long as it lives, so each run and peer has one way
        )
        self._on_error = on_error
        self._upstreams: dict[Key, _Upstream] = {}
        self._clock = clock
        self._next_look = math.inf  # when `_sweep` will look by itself
        self._look = threading.Event()
        self._is_closed = False
        self._sweeper: threading.Thread | None = None

    # -- any thread --

    def start(self) -> None:
        """Begin to close what is overdue."""
        self._sweeper = VitalThread(self._sweep, "pool")
        self._sweeper.start()

    def take(
        self, key: Key, origin: Origin, timeouts: Timeouts, *, fresh: bool = False, tunnel: bool = False
    ) -> Connection:
        """A connection, an idle one unless `fresh`, to be given back or closed; raises OSError.

        `tunnel`: one that leads through a proxy as if it were not there, and is for one request.
        """
        connection = None if fresh or tunnel else self.take_idle(key)
        if connection is not None:
            return connection
        try:
            return self._connect(key, origin, timeouts, tunnel=tunnel)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self._close_idle()
        return self._connect(key, origin, timeouts, tunnel=tunnel)

    def _close_idle(self) -> None:
        """No descriptor is left: give those back that nobody uses at the moment."""
        for upstream in list(self._upstreams.values()):
            _close_all(upstream.idle)
            _hang_up_all(upstream.standing)

    def take_idle(self, key: Key) -> Connection | None:
        """An idle connection, to be given back or closed, if there is one; never blocks."""
        upstream = self._upstreams.get(key)
        if upstream is not None:
            while connection := _pop(upstream.idle):
                if connection.is_quiet():
                    return connection
                connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Take back a connection whose last answer was read to the end."""
        upstream = self._upstreams.get(connection.key)
        if upstream is None or connection.is_for_one_request or len(upstream.idle) >= MAX_IDLE:
            connection.close()
            return
        self._mark_idle(connection)
        upstream.idle.append(connection)
        self._look_in_time(connection)
        if self._upstreams.get(connection.key) is not upstream:  # forgotten meanwhile: we close it, or `forget` did
            _close_all(upstream.idle)

    def _mark_idle(self, connection: Connection) -> None:
        connection.is_fresh = False
        connection.idle_until = self._clock() + connection.idle_timeout

    def _look_in_time(self, connection: Connection) -> None:
        """Have it looked at, once it can be seen, when it is overdue."""
        if connection.idle_until < self._next_look:
            self._look.set()

    def forget(self, key: Key) -> None:
        """The run has ended: close its connections."""
        upstream = self._upstreams.pop(key, None)
        if upstream is not None:
            _close_all(upstream.idle)
            _hang_up_all(upstream.standing)

    def keep_only(self, run_ids: Collection[int]) -> None:
        """Forget every other run: they are ending, or have ended. Peers stay."""
        for key in list(self._upstreams):
            if isinstance(key, int) and key not in run_ids:
                self.forget(key)

    def close(self) -> None:
        """Close all idle connections, and end the thread."""
        for key in list(self._upstreams):
            self.forget(key)
        self._is_closed = True
        self._look.set()
        if self._sweeper is not None:
            self._sweeper.join()

    def idle_count(self, key: Key) -> int:
        upstream = self._upstreams.get(key)
        return len(upstream.idle) + len(upstream.standing) if upstream is not None else 0

    def _connect(self, key: Key, origin: Origin, timeouts: Timeouts, *, tunnel: bool) -> Connection:
        upstream = self._upstreams.get(key)
        through = self.proxies.way_to(origin.scheme, origin.host, origin.port)
        if through is not None:
            connection = connect(key, through.host, origin, timeouts, Way(through, tunnel or origin.is_secure))
        else:
            # A run stays where it is; the name of a peer may come to mean another address.
            address = upstream.address if upstream is not None and isinstance(key, int) else origin.host
            connection = connect(key, address, origin, timeouts)
        if isinstance(key, int):
            connection.report_to(self.traffic, key)
        if upstream is None:
            self._upstreams.setdefault(key, _Upstream(connection.sock.getpeername()[0]))
        return connection

    # -- pump thread only --

    def take_standing(self, key: Key, pump: Pump) -> Standing | None:
        """The pump's hold on an idle connection, to be given back or closed, if there is one; never blocks."""
        upstream = self._upstreams.get(key)
        while upstream is not None and (standing := _pop(upstream.standing)):
            if standing.connection.is_quiet():
                return standing
            standing.close()  # the pump would have heard it next
        connection = self.take_idle(key)
        return None if connection is None else Standing(connection, pump, self._lose)

    def give_standing(self, standing: Standing) -> None:
        """Take back one whose last answer was read to the end."""
        connection = standing.connection
        upstream = self._upstreams.get(connection.key)
        if upstream is None or len(upstream.standing) >= MAX_IDLE:
            standing.close()
            return
        self._mark_idle(connection)
        standing.rest()
        upstream.standing.append(standing)
        self._look_in_time(connection)
        if self._upstreams.get(connection.key) is not upstream:
            _hang_up_all(upstream.standing)

    def _lose(self, standing: Standing) -> None:
        upstream = self._upstreams.get(standing.connection.key)
        if upstream is not None:
            _remove(upstream.standing, standing)

    # -- pool thread only --

    def _sweep(self) -> None:
        failures = Failures("pool", self._on_error)
        while not self._is_closed:
            try:
                self._sweep_on()
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                failures.endure()

    def _sweep_on(self) -> None:
        while True:
            self._look.clear()
            if self._is_closed:
                return
            self._next_look = math.inf  # whoever gives from here on has us look again, and not wait
            self._next_look = due = self._close_overdue()
            self._look.wait(None if due == math.inf else max(0.0, due - self._clock()))

    def _close_overdue(self) -> float:
        """Close what is overdue; when the next one will be."""
        now, due = self._clock(), math.inf
        for upstream in list(self._upstreams.values()):
            for connection in tuple(upstream.idle):
                if connection.idle_until > now:
                    due = min(due, connection.idle_until)
                elif _remove(upstream.idle, connection):
                    connection.close()
            for standing in tuple(upstream.standing):
                if standing.connection.idle_until > now:
                    due = min(due, standing.connection.idle_until)
                elif _remove(upstream.standing, standing):
                    standing.hang_up()
        return due


def _pop(idle: list[_T]) -> _T | None:
    """The one that was used last, in one step."""
    try:
        return idle.pop()
    except IndexError:
        return None


def _remove(idle: list[_T], one: _T) -> bool:
    """Take this one; False if somebody else has."""
    try:
        idle.remove(one)
    except ValueError:
        return False
    return True


def _close_all(idle: list[Connection]) -> None:
    while connection := _pop(idle):
        connection.close()


def _hang_up_all(idle: list[Standing]) -> None:
    while standing := _pop(idle):
        standing.hang_up()
