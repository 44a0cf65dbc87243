"""The listening socket and its connections: starting, stopping in order, running short of descriptors."""

from __future__ import annotations

import gc
import itertools
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from llamaswap_lib.server.connection import ClientConnection
from llamaswap_lib.server.connection_table import ConnectionTable
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.listener import TOO_MANY, Server
from tests.shortage import no_descriptor_left
from tests.web.certificates import TlsEnd, issue, trusting
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, answers, chat, get


def test_begin_stop_closes_idle_connections_and_lets_requests_finish() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        asked.set()
        assert go_on.wait(DEADLINE)
        peer.send(b"0\r\n\r\n")

    with World(script) as world, world.connect() as idle, world.connect() as busy:
        idle.send(get("/health"))
        idle.read_message()
        busy.send(chat())
        assert asked.wait(DEADLINE)
        assert world.server.count() == (2, 1)
        address = world.server.address
        world.server.begin_stop()
        assert idle.read_to_end() == b""
        with Peer(socket.create_connection(address, DEADLINE)) as late:
            assert b"shutting down" in late.read_message()[1]
        assert not world.server.wait_idle(0.01)
        go_on.set()
        assert busy.read_to_end().endswith(b"1\r\nx\r\n0\r\n\r\n")
        assert world.server.wait_idle(DEADLINE)


def wait_for_count(world: World, count: tuple[int, int]) -> None:
    """Until there are so many connections, and so many of them with a request in progress."""
    deadline, pause = time.monotonic() + DEADLINE, threading.Event()
    while world.server.count() != count:
        assert time.monotonic() < deadline
        pause.wait(0.01)


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "further"])
def test_a_request_that_was_sent_before_the_end_is_answered(is_first: bool) -> None:
    with World(answers(OK)) as world, ExitStack() as stack:
        clients = [stack.enter_context(world.connect()) for _ in range(40)]
        for client in clients if not is_first else ():
            client.send(get("/health"))
            client.read_message()
        wait_for_count(world, (40, 0))
        for client in clients:
            client.send(get("/health"))
        world.server.begin_stop()
        for client in clients:
            assert client.read_to_end().startswith(b"HTTP/1.1 200 ")
        assert world.server.wait_idle(DEADLINE)


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "further"])
@pytest.mark.slow
def test_half_a_head_does_not_hold_up_the_end(is_first: bool) -> None:
    with World(answers(OK)) as world, ExitStack() as stack:
        clients = [stack.enter_context(world.connect()) for _ in range(40)]
        for client in clients if not is_first else ():
            client.send(get("/health"))
            client.read_message()
        for client in clients:
            client.send(b"GET /health HTTP/1.1\r\nHost")
        wait_for_count(world, (40, 40))
        world.server.begin_stop()
        for client in clients:
            assert b"shutting down" in client.read_to_end()
        assert world.server.wait_idle(DEADLINE)


def test_where_no_descriptor_is_left_at_the_end_it_stops_listening() -> None:
    """Turning clients away must not take what the end of the models needs."""
    with World(answers(OK)) as world, socket.socket() as late:
        late.settimeout(DEADLINE)
        address = world.server.address
        world.server.begin_stop()
        gc.collect()  # or it may give a descriptor back meanwhile
        with no_descriptor_left(), suppress(ConnectionResetError):  # at once, or when it is accepted
            late.connect(address)
            assert late.recv(1) == b""
        assert world.server.socket.fileno() == -1  # another program may have the port by now


def test_abort_breaks_off_what_is_left() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        peer.wait_for_hang_up()

    with World(script) as world, world.connect() as client:
        client.send(chat())
        assert asked.wait(DEADLINE)
        world.server.begin_stop()
        assert world.server.abort(DEADLINE)
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        world.controller.wait_empty()


@pytest.mark.slow
def test_connection_that_was_too_busy_to_make_room_is_reached_by_the_end() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        peer.wait_for_hang_up()

    with World(script, limits=Limits(connections=1)) as world, world.connect() as busy:
        busy.send(chat())
        assert asked.wait(DEADLINE)
        with world.connect() as late:
            assert late.read_message()[0].startswith(b"HTTP/1.1 503 ")
        world.server.begin_stop()
        assert world.server.count() == (1, 1)
        assert world.server.abort(DEADLINE)


def test_request_in_progress_when_the_stop_begins_is_told_that_its_connection_ends() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        world.server.begin_stop()
        peer.send(OK)

    with World(script) as world, world.connect() as client:
        client.send(chat())
        assert b"\r\nConnection: close\r\n" in client.read_message()[0]
        assert client.read_to_end() == b""


@contextmanager
def no_descriptor_left_behind(sock: socket.socket) -> Iterator[None]:
    """Every number up to that of `sock`, which was opened last, is in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_no_descriptor_is_left_an_idle_connection_makes_room() -> None:
    with World(answers(OK)) as world, world.connect() as first:
        first.send(get("/health"))
        first.read_message()
        with socket.socket() as late, no_descriptor_left_behind(late):
            late.settimeout(DEADLINE)
            late.connect(world.server.address)
            late.sendall(get("/health"))
            assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert first.read_to_end() == b""
    assert "cannot accept a connection (Too many open files)" in world.log


def test_where_no_descriptor_is_left_a_client_that_was_answered_and_does_not_leave_makes_room() -> None:
    with World(answers(OK), limits=Limits(linger_timeout=DEADLINE)) as world, world.connect() as first:
        first.send(get("/health", extra=b"Content-Length: 9\r\n"))  # and nothing of its body
        assert first.read_to_end().startswith(b"HTTP/1.1 200 ")
        assert world.server.wait_idle(DEADLINE)
        with socket.socket() as late, no_descriptor_left_behind(late):
            late.settimeout(DEADLINE)
            late.connect(world.server.address)
            late.sendall(get("/health"))
            assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert "1 closed that had been answered and did not leave" in world.log


@pytest.mark.slow
def test_connections_that_cannot_be_accepted_wait_until_they_can() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        assert go_on.wait(DEADLINE)
        peer.send(OK)

    with World(script) as world, world.connect() as busy:
        busy.send(chat())
        assert asked.wait(DEADLINE)
        with socket.socket() as late:
            with no_descriptor_left_behind(late):
                late.settimeout(DEADLINE)
                late.connect(world.server.address)
                world.wait_for_log_without_descriptors("cannot accept a connection")
            late.sendall(get("/health"))
            assert late.recv(65536).startswith(b"HTTP/1.1 200 ")
        go_on.set()
        assert busy.read_message()[0].startswith(b"HTTP/1.1 200 ")


def test_address_in_use_is_an_error_at_once() -> None:
    with World(answers(OK)) as world, pytest.raises(OSError, match="in use"):
        Server(world.server.settings, world.loop, *world.server.address)


@pytest.mark.parametrize(
    ("host", "reached_at"), [("", "127.0.0.1"), ("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")]
)
def test_it_listens_where_it_is_told(host: str, reached_at: str) -> None:
    with World(answers(OK)) as world:
        server = Server(world.server.settings, world.loop, host, 0)
        server.start()
        with Peer(socket.create_connection((host or "127.0.0.1", server.address[1]), DEADLINE)) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        server.begin_stop()
        assert server.wait_idle(DEADLINE)
        server.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_client_of_both_kinds_of_address_is_known_by_its_own() -> None:
    with World(answers(OK)) as world:
        server = Server(world.server.settings, world.loop, "", 0)
        server.start()
        for host in ("127.0.0.1", "::1"):
            with Peer(socket.create_connection((host, server.address[1]), DEADLINE)) as client:
                client.send(get("/health"))
                client.read_message()
        server.begin_stop()
        assert server.wait_idle(DEADLINE)
        server.close()
        requests = [line for line in world.log.splitlines() if line.startswith("[INFO] Request ")]
        assert {line.split()[2] for line in requests} == {"127.0.0.1", "::1"}


def test_threads_are_named_for_what_they_do() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/running"))
        client.read_message()
        names = {thread.name for thread in threading.enumerate()}
        assert {"loop", "handlers", "http-1"} <= names


def wait_until_idle(world: World) -> None:
    """Block until no request is in progress: who has its answer may find that its line of log is yet to be written."""
    pause, deadline = threading.Event(), time.monotonic() + DEADLINE
    while world.server.count()[1]:
        assert time.monotonic() < deadline
        pause.wait(0.005)


@pytest.mark.parametrize("last_asked", ["old", "young"])
def test_beyond_the_limit_the_connection_that_is_idle_for_longest_makes_room(last_asked: str) -> None:
    with World(answers(OK), limits=Limits(connections=2)) as world, world.connect() as old, world.connect() as young:
        in_use, unused = (old, young) if last_asked == "old" else (young, old)
        for client in (old, young, in_use):
            client.send(get("/health"))
            client.read_message()
            wait_until_idle(world)
        with world.connect() as late:
            late.send(get("/health"))
            assert late.read_message()[0].startswith(b"HTTP/1.1 200 ")
            assert unused.read_to_end() == b""
            in_use.send(get("/health"))
            assert in_use.read_message()[0].startswith(b"HTTP/1.1 200 ")


def test_request_that_comes_as_its_idle_connection_is_ended_is_not_served_at_all() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/health"))
        client.read_message()
        wait_until_idle(world)
        seen, go_on = threading.Event(), threading.Event()

        def close_idle() -> None:
            seen.set()
            assert go_on.wait(DEADLINE)
            world.server.table.close_idle(b"")

        world.loop.call(close_idle)
        assert seen.wait(DEADLINE)
        client.send(chat())  # the loop does not look at sockets meanwhile
        go_on.set()
        with suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        wait_for_count(world, (0, 0))
        assert (world.controller.leased, world.upstream.accepted) == ([], 0)


@pytest.mark.slow
def test_every_request_that_is_served_is_answered_whatever_makes_room() -> None:
    served, answered = itertools.count(), itertools.count()

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            peer.read_message()
            next(served)
            peer.send(OK)

    def keep_asking() -> None:
        for _ in range(30):
            with world.connect() as client:
                try:
                    for _ in range(10):
                        client.send(chat())
                        head, _body = client.read_message()
                        if head.startswith(b"HTTP/1.1 200 "):
                            next(answered)
                except (AssertionError, OSError):
                    pass  # ended, or turned away

    with World(script, limits=Limits(connections=2)) as world:
        asking = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        wait_until_idle(world)
        assert next(served) == next(answered) > 0


@pytest.mark.slow
def test_where_all_connections_are_busy_a_newcomer_is_turned_away_and_nobody_else() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        assert go_on.wait(DEADLINE)
        peer.send(OK)

    with World(script, limits=Limits(connections=1)) as world, world.connect() as busy:
        busy.send(chat())
        assert asked.wait(DEADLINE)
        with world.connect() as late:
            head, body = late.read_message()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in head
            assert b"\r\nx-should-retry: true\r\n" in head
            assert json.loads(body)["error"]["code"] == "service_unavailable"
        go_on.set()
        assert busy.read_message()[0].startswith(b"HTTP/1.1 200 ")
        wait_until_idle(world)
        with world.connect() as next_one:
            next_one.send(get("/health"))
            assert next_one.read_message()[0].startswith(b"HTTP/1.1 200 ")
    assert "more than 1 connections: 1 turned away" in world.log


HALF_A_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
HALF_A_BODY = HALF_A_HEAD + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


@pytest.mark.parametrize("half", [HALF_A_HEAD, HALF_A_BODY], ids=["head", "body"])
def test_those_that_do_not_send_the_rest_of_a_request_make_room_and_are_told(half: bytes) -> None:
    with World(answers(OK), limits=Limits(connections=8)) as world, ExitStack() as stack:
        staying = stack.enter_context(world.connect())
        for _ in range(30):
            stack.enter_context(world.connect()).send(half)
            staying.send(get("/health"))
            assert staying.read_message()[0].startswith(b"HTTP/1.1 200 ")
            assert world.ask(get("/health", extra=b"Connection: close\r\n"))[0].startswith(b"HTTP/1.1 200 ")
    assert "more than 8 connections: 1 closed within their request" in world.log


def test_one_that_is_closed_within_its_request_hears_503() -> None:
    with World(answers(OK), limits=Limits(connections=1)) as world, world.connect() as slow:
        slow.send(HALF_A_HEAD)
        with world.connect() as late:
            late.send(get("/health"))
            assert late.read_message()[0].startswith(b"HTTP/1.1 200 ")
        head, body = slow.read_message()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nConnection: close\r\n" in head
        assert json.loads(body)["error"]["message"] == "too many connections"
        assert slow.read_to_end() == b""


def test_a_request_whose_rest_comes_when_its_connection_was_closed_for_another_is_not_served() -> None:
    with World(answers(OK), limits=Limits(connections=1)) as world, world.connect() as slow:
        request = chat()
        slow.send(request[:-1])
        with world.connect() as late:
            late.send(get("/health"))
            assert late.read_message()[0].startswith(b"HTTP/1.1 200 ")
        assert slow.read_message()[0].startswith(b"HTTP/1.1 503 ")
        with suppress(OSError):
            slow.send(request[-1:])
        wait_until_idle(world)
    assert (world.controller.leased, world.upstream.accepted) == ([], 0)


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_makes_room_and_sees_that_it_is_cut() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        with suppress(OSError):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000_000)

    with World(script, limits=Limits(connections=1)) as world, world.connect() as stalled:
        stalled.send(chat())
        stalled.read(1)
        with world.connect() as late:
            late.send(get("/health"))
            assert late.read_message()[0].startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionResetError):
            stalled.read_to_end()
        world.controller.wait_empty()


@pytest.mark.parametrize("path", ["/logs/stream", "/api/events"])
def test_those_that_follow_make_room_for_requests(path: str) -> None:
    with World(answers(OK), limits=Limits(connections=2)) as world, ExitStack() as stack:
        for _ in range(6):
            follower = stack.enter_context(world.connect())
            follower.send(get(path))
            follower.read_until(b"\r\n\r\n")
            honest = stack.enter_context(world.connect())
            honest.send(get("/health", extra=b"Connection: close\r\n"))
            assert honest.read_message()[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_an_answer_that_is_read_is_never_cut_for_others() -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"1\r\nx\r\n")
        assert go_on.wait(DEADLINE)
        peer.send(b"0\r\n\r\n")

    with World(script, limits=Limits(connections=2)) as world, world.connect() as reading, ExitStack() as stack:
        reading.send(chat())
        reading.read_until(b"x\r\n")
        for _ in range(6):
            stack.enter_context(world.connect()).send(HALF_A_HEAD)
            client = stack.enter_context(world.connect())
            client.send(get("/health"))
            client.read_message()
        go_on.set()
        assert reading.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"


class FullTable(ConnectionTable[ClientConnection]):
    """One that finds no memory for the first connection, when it knows half of it."""

    has_failed = False

    def add(self, connection: ClientConnection) -> None:
        super().add(connection)
        if not self.has_failed:
            self.has_failed = True
            raise MemoryError


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_connection_for_which_the_table_has_no_memory_is_told_so_and_forgotten(
    tmp_path: Path, is_secure: bool
) -> None:
    with World(answers(OK), certificate=issue(tmp_path) if is_secure else None) as world:
        world.server.table = FullTable(TOO_MANY, world.app.clock)
        with world.connect() as client:
            assert client.read_to_end() == (b"" if is_secure else TOO_MANY)
        wait_for_count(world, (0, 0))
        with world.connect() as client:
            client.sock = TlsEnd(client.sock, trusting(), "localhost") if is_secure else client.sock
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        assert "cannot serve a connection: not enough memory" in world.log
