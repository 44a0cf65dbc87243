"""What moves on the connections to a run, as the system counts it, and their end if the run hangs."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from llamaswap_lib.config.sections import Timeouts
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.proxy.connection import Origin, UpstreamConnection
from llamaswap_lib.proxy.pool import Pool
from llamaswap_lib.runtime.health.watchdog import Movement
from tests.web.errand import Errand, run_on
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE


class Model:
    """Run 1: a listener, connections to it that the test reads itself, and the server's end of each."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.loop = Loop()
        self.loop.start()
        self.pool = Pool(self.loop)
        self.open: list[tuple[UpstreamConnection, socket.socket]] = []

    def connect(self) -> tuple[UpstreamConnection, socket.socket]:
        connection = run_on(self.loop, self._connect)
        server = self.listener.accept()[0]
        server.settimeout(DEADLINE)
        self.open.append((connection, server))
        return connection, server

    async def _connect(self, waiter: Errand[UpstreamConnection]) -> UpstreamConnection:
        origin = Origin("127.0.0.1", self.listener.getsockname()[1], "", "")
        connection = await self.pool.connect(waiter, 1, origin, Timeouts(connect=DEADLINE))
        self.loop.pause(connection.sock)
        return connection

    def drop(self, connection: UpstreamConnection) -> None:
        self.loop.ask(connection.close)

    def look(self) -> Movement:
        movement = self.pool.traffic.look_at(1)
        assert movement is not None
        return movement

    def moved(self) -> int:
        return self.look().moved

    def close(self) -> None:
        for connection, server in self.open:
            self.drop(connection)
            server.close()
        self.listener.close()
        self.pool.close()
        self.loop.stop()


def receive(connection: UpstreamConnection, size: int, flags: int = 0) -> bytes:
    """What has come, once there is something."""
    assert select.select([connection.sock], [], [], DEADLINE)[0]
    return connection.sock.recv(size, flags)


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


def test_a_request_that_comes_in_is_seen(model: Model) -> None:
    connection, server = model.connect()
    before = model.pool.traffic.look_at(1)
    connection.sock.sendall(b"xyz")
    assert server.recv(3) == b"xyz"
    assert before is not None
    wait_until(lambda: model.look().taken == before.taken + 3)  # the system may tell of it a moment later
    assert model.look().moved == before.moved


def test_bytes_of_an_answer_move_it(model: Model) -> None:
    connection, server = model.connect()
    before = model.moved()
    assert model.moved() == before
    server.sendall(b"x")
    assert receive(connection, 1) == b"x"
    assert model.moved() == before + 1


def test_a_body_that_a_server_takes_moves_it(model: Model) -> None:
    connection, server = model.connect()
    sent_bytes = 0
    with suppress(BlockingIOError):
        while True:
            sent_bytes += connection.sock.send(bytes(1 << 20))
    wait_until(lambda: model.moved() == model.moved())  # the system may go on for a moment
    before = model.moved()
    while sent_bytes:
        sent_bytes -= len(server.recv(1 << 20))
    assert model.moved() > before


def test_what_only_the_system_takes_for_it_does_not(model: Model) -> None:
    """It does so for a server that hangs: a client that asks again and again would make that look alive."""
    before = model.moved()
    connection, _ = model.connect()
    for _ in range(3):
        connection.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert model.moved() == before


def test_an_answer_between_two_looks_is_seen_though_its_connection_is_closed_by_then(model: Model) -> None:
    before = model.moved()
    connection, server = model.connect()
    server.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    server.close()
    assert receive(connection, 100)
    model.drop(connection)
    assert model.moved() > before


def test_a_connection_that_is_closed_without_an_answer_is_no_movement(model: Model) -> None:
    before = model.moved()
    connection, _ = model.connect()
    connection.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    model.drop(connection)
    assert model.moved() == before


def test_what_we_do_not_read_is_seen(model: Model) -> None:
    connection, server = model.connect()
    server.sendall(b"x")
    assert receive(connection, 1, socket.MSG_PEEK) == b"x"
    assert model.look().unread
    receive(connection, 1)
    assert not model.look().unread


def test_a_cut_ends_what_is_open_and_what_is_opened_later(model: Model) -> None:
    early, _ = model.connect()
    model.pool.traffic.cut(1)
    late, _ = model.connect()
    for connection in (early, late):
        assert connection.is_cut
        assert receive(connection, 1) == b""


def test_of_a_run_that_is_gone_nothing_is_kept(model: Model) -> None:
    connection, server = model.connect()
    model.pool.traffic.keep_only({2})
    server.sendall(b"x")
    assert receive(connection, 1) == b"x"
    model.drop(connection)
    assert model.moved() == 0


def test_what_came_on_the_connections_that_are_open_is_counted(model: Model) -> None:
    connection, server = model.connect()
    server.sendall(b"12345")
    wait_until(lambda: model.pool.traffic.received(1) == 5)
    model.drop(connection)
    assert model.pool.traffic.received(1) == 0


def test_a_machine_that_acknowledges_is_heard(model: Model) -> None:
    assert not model.pool.traffic.is_heard(1)
    model.connect()
    model.pool.traffic.is_heard(1)


def test_to_ask_a_machine_for_a_sign_of_life_does_not_end_the_connection_sooner(model: Model) -> None:
    connection, _ = model.connect()

    def patience() -> int:
        idle, pause, tries = (
            connection.sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        return idle + pause * tries

    before = patience()
    model.pool.traffic.is_heard(1)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
    assert patience() >= before
