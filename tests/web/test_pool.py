"""Connections to upstreams: kept, found dead, forgotten."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.errors import BadGateway
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.proxy.connection import Key, Origin, UpstreamConnection, origin_of
from llamaswap_lib.proxy.pool import Pool, Waiter
from tests.web.errand import run_on
from tests.web.world import DEADLINE

TIMEOUTS = Timeouts(connect=DEADLINE)
MOST_IDLE = 64  # connections that are kept for one run or peer


class Place:
    """A listener and a pool that connects to it, on a loop."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.loop = Loop(on_error=self.errors.append)
        self.loop.start()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.pool = Pool(self.loop)
        self.accepted: list[socket.socket] = []
        self.timeouts = TIMEOUTS

    def take(self, key: Key = 1, *, fresh: bool = False) -> UpstreamConnection:
        """An idle connection if there is one, unless a fresh one is asked for; else a new one."""
        origin = Origin("127.0.0.1", self.listener.getsockname()[1], "", "")
        if not fresh and (idle := run_on(self.loop, lambda waiter: self._take_idle(key, origin, waiter))) is not None:
            return idle
        connection = self.connect(key, origin)
        self.accepted.append(self.listener.accept()[0])
        return connection

    async def _take_idle(self, key: Key, origin: Origin, waiter: Waiter) -> UpstreamConnection | None:
        return self.pool.take_idle(key, origin, waiter)

    def connect(self, key: Key, origin: Origin) -> UpstreamConnection:
        return run_on(self.loop, lambda waiter: self.pool.connect(waiter, key, origin, self.timeouts))

    def give(self, connection: UpstreamConnection) -> None:
        self.loop.ask(lambda: self.pool.give(connection, may_stay=True))

    async def give_and_take(self, connection: UpstreamConnection, waiter: Waiter) -> UpstreamConnection | None:
        """Have it idle for a moment."""
        self.pool.give(connection, may_stay=True)
        return self.pool.take_idle(connection.key, connection.origin, waiter)

    def drop(self, connection: UpstreamConnection) -> None:
        self.loop.ask(connection.close)

    def settle(self) -> None:
        """Block until the loop has done what it was called for."""
        self.loop.ask(lambda: None)

    def close(self) -> None:
        self.pool.close()
        self.loop.stop()
        for sock in (*self.accepted, self.listener):
            sock.close()
        assert self.errors == []


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def test_connection_given_back_is_taken_again(place: Place) -> None:
    first = place.take()
    place.give(first)
    second = place.take()
    assert second is first
    place.drop(second)


def test_connection_of_one_run_never_serves_another(place: Place) -> None:
    first = place.take(1)
    place.give(first)
    other = place.take(2)
    assert other is not first
    place.drop(other)


def test_fresh_connection_is_made_when_one_is_asked_for(place: Place) -> None:
    first = place.take()
    place.give(first)
    second = place.take(fresh=True)
    assert second is not first
    place.drop(second)


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
def test_connection_that_is_closed_or_holds_bytes_is_not_handed_out(place: Place, last_words: bytes) -> None:
    first = place.take()
    place.give(first)
    place.accepted[0].sendall(last_words)
    place.accepted[0].close()
    second = place.take()
    assert second is not first
    assert first.sock is None
    place.drop(second)


def test_forgotten_run_has_no_connections_left_nor_gets_any_back(place: Place) -> None:
    idle, busy = place.take(), place.take()
    place.give(idle)
    place.pool.forget(1)
    place.give(busy)
    assert not any([idle.sock, busy.sock])
    assert place.pool.idle_count(1) == 0


def test_only_the_runs_that_go_on_keep_their_connections(place: Place) -> None:
    ending, going_on = place.take(1), place.take(2)
    place.give(ending)
    place.give(going_on)
    place.pool.keep_only({2, 3})
    place.settle()
    assert (place.pool.idle_count(1), place.pool.idle_count(2)) == (0, 1)
    assert ending.sock is None


def test_no_more_connections_are_kept_than_the_bound(place: Place) -> None:
    for connection in [place.take() for _ in range(MOST_IDLE + 1)]:
        place.give(connection)
    assert place.pool.idle_count(1) == MOST_IDLE


def localhost_has_ipv6() -> bool:
    return any(found[0] is socket.AF_INET6 for found in socket.getaddrinfo("localhost", 1))


@pytest.mark.skipif(not localhost_has_ipv6(), reason="localhost has one address here")
def test_upstream_on_one_address_of_localhost_only_is_found_and_found_again(place: Place) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        for _ in range(2):
            connection = place.connect(7, Origin("localhost", other.getsockname()[1], "", ""))
            assert connection.sock.getpeername()[0] == "::1"
            place.drop(connection)


def test_unreachable_upstream_is_an_error(place: Place) -> None:
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionRefusedError):
            place.connect(1, Origin(host, 1, "", ""))


@pytest.mark.parametrize(
    ("proxy", "origin"),
    [
        ("http://localhost:5801", Origin("localhost", 5801, "", "")),
        ("http://h", Origin("h", 80, "", "")),
        ("http://[::1]:9/a/b?x=1", Origin("::1", 9, "/a/b", "x=1")),
    ],
)
def test_proxy_is_taken_apart(proxy: str, origin: Origin) -> None:
    assert origin_of(proxy) == origin


@pytest.mark.parametrize("proxy", ["localhost:5801", "ftp://x", "http://", "http://x:99999", "http://x:a", ""])
def test_proxy_that_is_no_http_address_is_a_bad_gateway(proxy: str) -> None:
    with pytest.raises(BadGateway):
        origin_of(proxy)


def test_authority_of_an_ipv6_address_is_in_brackets() -> None:
    assert origin_of("http://[::1]:9").authority == "[::1]:9"


def test_authority_leaves_out_the_port_of_its_scheme() -> None:
    assert origin_of("https://api.example.com/v1").authority == "api.example.com"
    assert origin_of("https://h:80").authority == "h:80"
    assert origin_of("http://h:80").authority == "h"
    assert str(origin_of("https://me:hush@h:444/x?key=hush")) == "https://h:444"


@pytest.mark.parametrize("proxy", ["http://a..b", "http://.a", f"https://{'x' * 64}.org", "http://h/\u00e9"])
def test_host_that_no_look_up_takes_is_a_bad_gateway(proxy: str) -> None:
    with pytest.raises(BadGateway):
        origin_of(proxy)


def test_a_peer_keeps_its_connections_when_runs_end(place: Place) -> None:
    place.give(place.take("peer"))
    place.pool.keep_only(set())
    place.settle()
    assert place.pool.idle_count("peer") == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="other names for it here")
def test_keepalive_is_set_for_the_life_of_a_connection(place: Place) -> None:
    first = place.take()
    place.timeouts = Timeouts(connect=DEADLINE, keepalive=0)
    second = place.take()
    sock, silent = first.sock, second.sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 30
    assert silent.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    place.drop(first)
    place.drop(second)


def test_connecting_takes_no_longer_than_its_timeout(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # more than the backlog holds: the kernel answers no further one
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        place.timeouts = Timeouts(connect=0.1)
        for host in ("127.0.0.1", "localhost"):  # by the loop, and by a thread that asks for addresses first
            with pytest.raises(TimeoutError):
                place.connect(1, Origin(host, address[1], "", ""))
        for sock in waiting:
            sock.close()


# -- idle for too long --


def is_closed_by_us(accepted: socket.socket) -> bool:
    """Block until the pool's end of the connection is closed."""
    accepted.settimeout(DEADLINE)
    return not accepted.recv(1)


def test_connection_idle_for_too_long_is_closed(place: Place) -> None:
    place.timeouts = Timeouts(idle_connection=0.05)
    place.give(place.take())
    assert is_closed_by_us(place.accepted[0])
    assert place.pool.idle_count(1) == 0


def test_each_connection_has_its_own_time(place: Place) -> None:
    place.give(place.take("slow"))
    place.timeouts = Timeouts(idle_connection=0.05)
    place.give(place.take("quick"))
    assert is_closed_by_us(place.accepted[1])
    place.timeouts = Timeouts(idle_connection=0)
    place.give(place.take("never"))
    assert (place.pool.idle_count("slow"), place.pool.idle_count("never")) == (1, 1)


def test_connection_in_use_is_not_closed_however_old(place: Place) -> None:
    place.timeouts = Timeouts(idle_connection=0.05)
    busy = place.take()
    assert run_on(place.loop, lambda waiter: place.give_and_take(busy, waiter)) is busy
    place.give(place.take(fresh=True))
    assert is_closed_by_us(place.accepted[1])
    assert place.loop.ask(busy.is_quiet)
    place.drop(busy)


def test_a_run_that_has_moved_is_asked_where_it_is_and_what_led_elsewhere_is_closed(place: Place) -> None:
    kept, lent = place.take(fresh=True), place.take(fresh=True)
    place.give(kept)
    place.listener.close()
    place.listener = socket.create_server(("127.0.0.1", 0))
    place.listener.settimeout(DEADLINE)
    moved = place.take()
    assert moved is not kept
    assert kept.sock is None
    place.give(lent)
    assert lent.sock is None
    place.give(moved)
    again = place.take()
    assert again is moved
    place.drop(again)
