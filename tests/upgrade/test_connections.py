"""Connections that change the server: what is idle goes at once, what is busy when it has been answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from llamaswap_lib.upgrade.connections import Leaving, take
from llamaswap_lib.upgrade.link import Message
from tests.web.certificates import issue, trusting
from tests.web.world import CHUNKED_HEAD, DEADLINE, Peer, World, chat, get

VERSION = get("/api/version")


def retire(old: World, new: World, tls_idle_seconds: float = 60.0) -> None:
    """The one serves from now on what the other one gives away."""

    def give(client: Message, descriptors: Sequence[int]) -> None:
        take(new.server, new.loop, client, *descriptors)

    Leaving(old.server, old.loop, give, tls_idle_seconds).begin()


def is_served_by(world: World, client: Peer) -> None:
    client.send(VERSION)
    assert client.read_message()[0].startswith(b"HTTP/1.1 200")
    world.wait_for_log('"GET /api/version HTTP/1.1" 200')


def test_connections_that_are_idle_are_served_by_the_other_one() -> None:
    with World() as old, World() as new, old.connect() as used, old.connect() as fresh:
        used.send(get("/health"))
        assert used.read_message()[1] == b"OK"
        retire(old, new)
        assert old.server.wait_idle(DEADLINE)
        for client in (used, fresh):
            is_served_by(new, client)
        assert new.server.count()[0] == 2
        assert "/api/version" not in old.log


def test_a_request_that_was_on_its_way_is_answered_by_the_other_one() -> None:
    with World() as old, World() as new, old.connect() as client:
        client.send(get("/health"))
        assert client.read_message()[1] == b"OK"

        def begin() -> None:
            client.send(VERSION)  # it comes while the loop is busy with us
            retire(old, new)

        old.loop.ask(begin)
        assert client.read_message()[0].startswith(b"HTTP/1.1 200")
        new.wait_for_log('"GET /api/version HTTP/1.1" 200')


@pytest.mark.parametrize("beginning", [b"G", b"\r\n\r\nGET /health HT", b"GET /health HTTP/1.1\r\nX: \xe9\r\nHo"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "further"])
def test_a_head_that_has_begun_goes_along(beginning: bytes, is_first: bool) -> None:
    whole = b"GET /health HTTP/1.1\r\nX: \xe9\r\nHost: x\r\n\r\n"
    with World() as old, World() as new, old.connect() as client:
        if not is_first:
            client.send(get("/running"))
            client.read_message()
        client.send(beginning)
        while not old.loop.ask(lambda: old.server.table._reading):
            pass
        retire(old, new)
        assert old.server.wait_idle(DEADLINE)
        client.send(whole[len(beginning.lstrip()) :])
        assert client.read_message()[1] == b"OK"
        new.wait_for_log('"GET /health HTTP/1.1" 200')
        is_served_by(new, client)


def test_a_stream_goes_on_and_what_was_sent_ahead_is_answered() -> None:
    goes_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        assert goes_on.wait(DEADLINE)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    with World(script) as old, World() as new, old.connect() as client:
        client.send(chat() + get("/health"))
        client.read_until(b"one")
        retire(old, new)
        client.send(b"GET /api/ver")
        goes_on.set()
        client.read_until(b"two\r\n0\r\n\r\n")
        assert client.read_message()[1] == b"OK"
        assert old.server.wait_idle(DEADLINE)
        client.send(b"sion HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_message()[0].startswith(b"HTTP/1.1 200")
        is_served_by(new, client)


def test_a_client_that_has_left_costs_nothing() -> None:
    with World() as old, World() as new:
        with old.connect() as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"

            def begin() -> None:
                client.reset()
                retire(old, new)

            old.loop.ask(begin)
        assert old.server.wait_idle(DEADLINE)
        assert new.ask(get("/health"))[1] == b"OK"
        assert new.server.wait_idle(DEADLINE)


def test_what_comes_to_one_that_ends_is_closed_and_a_request_is_told_why() -> None:
    with World() as old, World() as new, old.connect() as idle, old.connect() as asking:
        for client in (idle, asking):
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        new.server.begin_stop()

        def begin() -> None:
            asking.send(VERSION)
            retire(old, new)

        old.loop.ask(begin)
        assert idle.read_to_end() == b""
        assert asking.read_message()[0].startswith(b"HTTP/1.1 503")
        assert new.server.wait_idle(DEADLINE)


def test_nobody_is_accepted_any_more() -> None:
    with World() as old, World() as new:
        address = old.server.address
        retire(old, new)
        with socket.socket() as sock:
            assert sock.connect_ex(address) != 0


def test_over_tls_the_next_answer_is_the_last(tmp_path: Path) -> None:
    with World(certificate=issue(tmp_path)) as old, World() as new:
        plain = socket.create_connection(old.server.address, DEADLINE)
        with trusting().wrap_socket(plain, server_hostname="localhost") as sock, Peer(sock) as client:
            client.send(get("/health"))
            head, body = client.read_message()
            assert (b"Connection: close" in head, body) == (False, b"OK")
            retire(old, new)
            client.send(get("/health"))
            head, body = client.read_message()
            assert (b"Connection: close" in head, body) == (True, b"OK")
            assert client.read_to_end() == b""
        assert old.server.wait_idle(DEADLINE)
        assert new.log == ""


def test_over_tls_what_stays_idle_is_closed_after_a_while(tmp_path: Path) -> None:
    with World(certificate=issue(tmp_path)) as old, World() as new:
        plain = socket.create_connection(old.server.address, DEADLINE)
        with trusting().wrap_socket(plain, server_hostname="localhost") as sock, Peer(sock) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
            retire(old, new, tls_idle_seconds=0.1)
            assert client.read_to_end() == b""


@pytest.mark.slow
def test_one_that_follows_a_log_and_does_not_read_is_cut_off() -> None:
    with World() as old, World() as new, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(old.server.address)
        client = Peer(sock)
        client.send(get("/logs/stream/proxy?no-history"))
        client.read_until(b"\r\n\r\n")
        table = old.server.table
        while not old.loop.ask(lambda: table._stalled and table._followers):
            old.logs.proxy.write(b"x" * 10_000 + b"\n")
        retire(old, new)
        old.logs.close_streams()
        assert old.server.wait_idle(DEADLINE / 2)  # without that it has a minute
