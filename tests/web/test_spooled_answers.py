"""Clients that read slowly while somebody waits for the model: its place is given back, and they get every byte."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from llamaswap_lib.net.poller import IN, OUT
from llamaswap_lib.net.stream import has_unread
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import issue, trusted_upstream, trusting
from tests.web.test_slow_readers import is_held_up
from tests.web.test_spool import disk_of
from tests.web.upstreams import Teller, always, ok_then, wait_until
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, Script, World, answers, chat, sized

MB = 1 << 20
BODY = bytes(range(256)) * (20 * MB // 256)  # more than the buffers of the system take
CHUNKS = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:1000], BODY[1000:])])
PLAIN_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n"
RUN = 1  # of the one that every request of these tests is in


def whole(answer: bytes) -> Script:
    """An upstream that answers so, to a client that may leave."""

    def script(peer: Peer) -> None:
        with suppress(ConnectionError):
            answers(answer)(peer)

    return script


@contextmanager
def idle_client(
    world: World, request: bytes = chat(), *, tls: bool = False, buffer_bytes: int = 65_536
) -> Iterator[Peer]:
    """One that asks, and reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.connect(world.server.address)
    if tls:
        sock = trusting().wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
    with Peer(sock) as client:
        client.send(request)
        yield client


def begin_to_wait(world: World) -> None:
    world.app.pool.spools.note_awaited(frozenset({RUN}))


def held_bytes(world: World) -> int:
    return world.loop.ask(lambda: world.app.pool.spools.size_bytes)


@pytest.mark.slow
def test_the_place_is_given_back_when_the_upstream_is_done_though_the_client_has_read_nothing() -> None:
    with World(ok_then(whole(sized(BODY)), answers(OK))) as world, idle_client(world) as client:
        assert client.read_message()[1] == b"ok"
        client.send(chat())
        wait_until(lambda: is_held_up(world))
        assert (world.controller.inside, held_bytes(world)) == (1, 0)
        begin_to_wait(world)
        world.controller.wait_empty()
        assert held_bytes(world) > 10 * MB
        assert client.read_message()[1] == BODY
        wait_until(lambda: f" 200 {len(BODY)} " in world.log)
        assert held_bytes(world) == 0
        client.send(chat())  # both connections are still of use
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 1


@pytest.mark.slow
def test_it_is_given_back_where_somebody_waited_before_the_client_stopped_to_read() -> None:
    with World(whole(sized(BODY))) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.controller.wait_empty()
            assert client.read_message()[1] == BODY


@pytest.mark.parametrize("is_awaited", [False, True])
@pytest.mark.parametrize("closes", [False, True])
def test_it_is_given_back_where_the_client_does_not_take_the_last_piece(is_awaited: bool, closes: bool) -> None:
    first, last = BODY[:4_096], BODY[:60_000]
    teller = Teller(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(first + last))
    with World(teller.answer) as world:
        world.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        with idle_client(world, buffer_bytes=8_192) as client:
            client.read_until(b"\r\n\r\n")
            teller.words.put(first)  # so much that the next piece may be all of the rest
            assert client.read(len(first)) == first
            if is_awaited:
                begin_to_wait(world)
            teller.words.put(last)
            teller.words.put(None if closes else b"")
            wait_until(lambda: is_held_up(world))
            begin_to_wait(world)
            world.controller.wait_empty()
            assert client.read(len(last)) == last
            wait_until(lambda: f" 200 {len(first + last)} " in world.log)
            assert "broke off" not in world.log
            assert held_bytes(world) == 0


def test_a_client_that_reads_on_before_the_upstream_is_done_gets_its_bytes_in_order() -> None:
    teller = Teller(PLAIN_CHUNKED)
    with World(teller.answer) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            teller.words.put(CHUNKS)
            wait_until(lambda: held_bytes(world) > 10 * MB)
            client.read_until(b"\r\n\r\n")
            assert client.read(len(CHUNKS)) == CHUNKS
            assert world.controller.inside == 1
            assert held_bytes(world) == 0
            teller.words.put(b"3\r\nend\r\n")
            teller.words.put(b"0\r\n\r\n")
            assert client.read(13) == b"3\r\nend\r\n0\r\n\r\n"
            world.controller.wait_empty()


@pytest.mark.parametrize(
    ("answer", "version", "expected"),
    [
        (PLAIN_CHUNKED + CHUNKS + b"0\r\n\r\n", b"1.1", CHUNKS + b"0\r\n\r\n"),
        (PLAIN_CHUNKED + CHUNKS + b"0\r\n\r\n", b"1.0", BODY),
        (PLAIN_CHUNKED + CHUNKS + b"0 \n\n", b"1.1", CHUNKS + b"0\r\n\r\n"),
        (UNTIL_CLOSE + BODY, b"1.1", BODY),
        (UNTIL_CLOSE + BODY, b"1.0", BODY),
    ],
    ids=["chunked", "chunked for HTTP/1.0", "not strict", "until close", "until close for HTTP/1.0"],
)
def test_every_framing_keeps_its_bytes(answer: bytes, version: bytes, expected: bytes) -> None:
    request = chat(extra=b"Connection: close\r\n", version=version)
    with World(whole(answer)) as world:
        begin_to_wait(world)
        with idle_client(world, request) as client:
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.controller.wait_empty()
            assert client.read_to_end().partition(b"\r\n\r\n")[2] == expected


@pytest.mark.slow
@pytest.mark.parametrize(("client_tls", "upstream_tls"), [(True, False), (False, True), (True, True)])
def test_tls_on_either_side_keeps_its_bytes(tmp_path: Path, client_tls: bool, upstream_tls: bool) -> None:
    certificate = issue(tmp_path) if client_tls else None
    context = trusted_upstream() if upstream_tls else None
    with World(whole(sized(BODY)), certificate=certificate, upstream_context=context) as world:
        begin_to_wait(world)
        with idle_client(world, tls=client_tls) as client:
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.controller.wait_empty()
            assert client.read_message()[1] == BODY


def test_an_answer_that_breaks_off_is_cut_behind_all_of_it_that_came() -> None:
    answer = sized(BODY)[: -5 * MB]
    with World(whole(answer)) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            wait_until(lambda: held_bytes(world) > 5 * MB)
            world.controller.wait_empty()
            assert client.read_to_end() == answer
            world.wait_for_log(f"m: the answer broke off after {15 * MB} bytes")


def test_at_the_bound_the_upstream_waits_for_the_client_and_the_log_says_so_once() -> None:
    with World(whole(sized(BODY)), limits=Limits(spool_bytes=4 * MB)) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            world.wait_for_log("while others wait for the model: 1 MB of its answer are stored")
            assert MB <= held_bytes(world) < 2 * MB
            assert world.controller.inside == 1
            assert client.read_message()[1] == BODY
            world.controller.wait_empty()
            assert world.log.count("its client reads slowly") == 1


@pytest.mark.slow
def test_of_a_stream_of_events_1_mb_is_kept() -> None:
    with World(whole(CHUNKED_HEAD + CHUNKS + b"0\r\n\r\n")) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            world.wait_for_log("1 MB of its event stream are stored")
            assert MB <= held_bytes(world) < 2 * MB
            client.read_until(b"\r\n\r\n")
            assert client.read(len(CHUNKS) + 5) == CHUNKS + b"0\r\n\r\n"
            world.controller.wait_empty()


def test_on_a_full_disk_the_upstream_waits_for_the_client_and_no_byte_is_lost() -> None:
    with World(whole(sized(BODY))) as world:
        begin_to_wait(world)
        with disk_of(2 * MB), idle_client(world) as client:
            world.wait_for_log("the answer cannot be stored")
            assert world.controller.inside == 1
            assert client.read_message()[1] == BODY
            world.controller.wait_empty()


@pytest.mark.slow
def test_with_spool_mb_0_the_upstream_waits_for_the_client() -> None:
    with World(whole(sized(BODY)), limits=Limits(spool_bytes=0)) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            wait_until(lambda: is_held_up(world))
            assert (world.controller.inside, held_bytes(world)) == (1, 0)
            assert client.read_message()[1] == BODY
            world.controller.wait_empty()
        assert "its client reads slowly" not in world.log


@pytest.mark.slow
def test_when_nobody_waits_any_more_no_more_is_read_ahead() -> None:
    teller = Teller(PLAIN_CHUNKED)
    with World(teller.answer) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            teller.words.put(CHUNKS)
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.app.pool.spools.note_awaited(frozenset())
            for _ in range(3):  # turns of the loop, in which it is told and stops
                kept_bytes = held_bytes(world)
            teller.words.put(b"5\r\nhello\r\n")
            teller.words.put(b"0\r\n\r\n")
            for _ in range(20):
                assert held_bytes(world) == kept_bytes
            assert world.controller.inside == 1
            client.read_until(b"\r\n\r\n")
            expected = CHUNKS + b"5\r\nhello\r\n0\r\n\r\n"
            assert client.read(len(expected)) == expected
            world.controller.wait_empty()


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_afterwards_leaves_nothing_behind(leave: Callable[[Peer], None]) -> None:
    with World(whole(sized(BODY)), always(OK)) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.controller.wait_empty()
            leave(client)
            wait_until(lambda: world.server.count() == (0, 0))
            assert held_bytes(world) == 0


def test_a_connection_whose_last_bytes_come_as_nobody_waits_any_more_is_used_again() -> None:
    sent, go = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(sized(BODY)[:-3])
        sent.set()
        assert go.wait(DEADLINE)
        peer.send(BODY[-3:])
        answers(OK)(peer)

    with World(script) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            assert sent.wait(DEADLINE)
            [upstream] = [connection.sock for connection in world.app.pool.traffic._runs[RUN].open]
            wait_until(lambda: not has_unread(upstream))
            [stream] = [connection.stream for connection in world.loop.ask(world.server.table.all)]
            client.read_until(b"\r\n\r\n")
            pieces = []

            def serve_both() -> None:
                """As in one turn of the loop, behind the one in which it heard that nobody waits."""
                go.set()
                select.select([upstream], [], [], DEADLINE)
                while not select.select([], [stream], [], 0)[1]:
                    pieces.append(client.read(65_536))
                world.app.pool.spools._take_awaited(frozenset())
                world.loop.on_ready[stream.fileno()](OUT)
                world.loop.on_ready[upstream.fileno()](IN)

            world.loop.ask(serve_both)
            assert b"".join([*pieces, client.read(len(BODY) - 65_536 * len(pieces))]) == BODY
            client.send(chat())
            assert client.read_message()[1] == b"ok"
            assert world.upstream.accepted == 1


def test_a_wait_that_begins_as_the_request_is_cancelled_is_nothing_to_it_any_more() -> None:
    with World(whole(sized(BODY)), always(OK)) as world, idle_client(world):
        wait_until(lambda: is_held_up(world))
        [number] = world.feed.table.entries

        def begin_and_cancel() -> None:
            begin_to_wait(world)  # which the request is told of in a later turn of the loop
            world.loop.call(world.feed.table.cancel, number)

        world.loop.ask(begin_and_cancel)
        wait_until(lambda: world.server.count() == (0, 0))
        assert world.ask(chat())[1] == b"ok"
        assert "Traceback" not in world.log


def test_a_client_that_takes_nothing_afterwards_is_given_up() -> None:
    teller = Teller(PLAIN_CHUNKED)
    with World(teller.answer) as world:
        begin_to_wait(world)
        with idle_client(world):
            teller.words.put(CHUNKS)
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.server.change(replace(world.server.settings, limits=Limits(write_timeout=0.2)))
            teller.words.put(b"0\r\n\r\n")
            world.controller.wait_empty()
            wait_until(lambda: world.server.count() == (0, 0))
            assert held_bytes(world) == 0


def test_a_server_that_is_broken_off_breaks_them_off() -> None:
    with World(whole(sized(BODY))) as world:
        begin_to_wait(world)
        with idle_client(world) as client:
            wait_until(lambda: held_bytes(world) > 10 * MB)
            world.controller.wait_empty()
            world.server.begin_stop()
            assert world.server.abort()
            assert held_bytes(world) == 0
            with suppress(ConnectionResetError):
                assert len(client.read_to_end()) < len(BODY)


def test_a_mistake_of_ours_when_the_place_is_given_back_leaves_nothing_behind() -> None:
    with World(whole(sized(BODY)), always(OK)) as world:
        world.controller.fault_of_leaving = ZeroDivisionError()
        begin_to_wait(world)
        with idle_client(world):
            world.wait_for_log("ZeroDivisionError")
            wait_until(lambda: held_bytes(world) == 0)
