"""Clients and upstreams that leave, at each moment of an exchange, and connections that are let go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from llamaswap_lib.errors import ClientGone
from llamaswap_lib.net.poller import Poller, SelectorPoller, new_poller
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.limits import Limits
from tests.web.upstreams import (
    LeapingClock,
    Thinker,
    always,
    hang_up,
    ok_then,
    wait_until,
    warm,
)
from tests.web.world import (
    DEADLINE,
    MODELS,
    OK,
    FakeQueue,
    Peer,
    World,
    answers,
    chat,
    get,
    sized,
)


@pytest.mark.parametrize("leave", [Peer.close, Peer.end, Peer.reset])
def test_a_client_that_leaves_ends_the_upstreams_work(leave: Callable[[Peer], None]) -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        leave(client)
        assert thinker.go.wait(DEADLINE)
        world.controller.wait_empty()
        wait_until(lambda: ' 499 0 "" ' in world.log)
        assert "[WARN]" not in world.log
        wait_until(lambda: world.server.count() == (0, 0))


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
def test_an_idle_connection_that_ends_or_speaks_unasked_is_closed_there_and_then(last_words: bytes) -> None:
    speak = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        assert speak.wait(DEADLINE)
        if last_words:
            peer.send(last_words)
            peer.wait_for_hang_up()

    with World(script, always(sized(b"new"))) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        speak.set()
        wait_until(lambda: world.app.pool.idle_count(1) == 0)
        client.send(chat())
        assert client.read_message()[1] == b"new"


def test_a_run_that_ends_is_hung_up_on_at_once() -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        peer.wait_for_hang_up()
        has_ended.set()

    with World(script) as world, warm(world) as client:
        client.send(chat())
        client.read_message()
        world.app.pool.keep_only([2])
        assert has_ended.wait(DEADLINE)


@pytest.mark.parametrize("ending", [Peer.close, Peer.reset])
def test_a_connection_that_dies_without_an_answer_is_tried_again_once(ending: Callable[[Peer], None]) -> None:
    def die(peer: Peer) -> None:
        peer.read_message()
        ending(peer)

    with World(ok_then(die), always(sized(b"second"))) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[1] == b"second"
        assert world.upstream.accepted == 2
    with World(ok_then(die), die, die) as world, warm(world) as client:
        client.send(chat())
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")
        assert world.upstream.accepted == 2


def test_a_run_that_dies_under_a_request_is_followed_by_the_next() -> None:
    with World(ok_then(hang_up), always(sized(b"next"))) as world, warm(world) as client:
        world.controller.successor = world.upstream.proxy
        world.upstream.scripts[1] = hang_up
        world.upstream.scripts.append(always(sized(b"next")))
        client.send(chat())
        assert client.read_message()[1] == b"next"
        assert world.controller.moved_on == 1
        world.controller.wait_empty()


def test_an_upstream_that_wants_to_close_is_let_go() -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, sized(b"bye", b"Connection: close\r\n"))(peer)
        peer.wait_for_hang_up()
        has_ended.set()

    with World(script, always(sized(b"new"))) as world, warm(world) as client:
        for expected in (b"bye", b"new"):
            client.send(chat())
            assert client.read_message()[1] == expected
        assert world.upstream.accepted == 2
        assert has_ended.wait(DEADLINE)


IDLE_FOR_A_WHILE = MODELS.rstrip() + "\n    timeouts: {idleConn: 1000}\n"


def test_a_connection_that_was_in_use_when_it_was_looked_for_is_closed_later() -> None:
    thinker, has_ended, clock = Thinker(), threading.Event(), LeapingClock()

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        thinker.answer(peer)
        peer.wait_for_hang_up()
        has_ended.set()

    with World(script, config=IDLE_FOR_A_WHILE, clock=clock) as world, warm(world) as client:
        client.send(chat())
        assert thinker.asked.wait(DEADLINE)
        clock.leap(world, 1_200.0)
        thinker.go.set()
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        clock.leap(world, 1_200.0)
        assert has_ended.wait(DEADLINE)


def test_a_connection_in_use_is_not_closed_for_having_been_idle() -> None:
    clock, limits = LeapingClock(), Limits(idle_timeout=10_000.0)
    with World(always(OK), config=IDLE_FOR_A_WHILE, limits=limits, clock=clock) as world, warm(world) as client:
        for _ in range(6):
            client.send(chat())
            assert client.read_message()[1] == b"ok"
            clock.leap(world, 300.0)
        assert world.upstream.accepted == 1


@pytest.mark.parametrize("poller", [new_poller, SelectorPoller])
@pytest.mark.parametrize("path", ["/v1/models", "/running", "/logs", "/unload", "/health", "/nope"])
def test_a_client_that_ends_its_direction_gets_the_answers_of_our_own_endpoints(
    path: str, poller: Callable[[], Poller]
) -> None:
    with World(poller=poller) as world, world.connect() as client:
        client.send(get(path) + get(path))
        client.end()
        expected = b"404" if path == "/nope" else b"200"
        statuses = [client.read_message()[0][9:12] for _ in range(2)]
        assert statuses == [expected, expected]
        assert client.read_to_end() == b""
        assert world.server.wait_idle(DEADLINE)
    assert world.controller.unloaded == ([None, None] if path == "/unload" else [])


def test_a_client_that_ends_its_direction_while_its_answer_is_made_gets_all_of_it() -> None:
    body, has_begun, has_ended = bytes(20_000_000), threading.Event(), threading.Event()

    def make(exchange: Exchange) -> None:
        has_begun.set()
        assert has_ended.wait(DEADLINE)
        exchange.answer(200, body)

    async def serve(exchange: Exchange) -> None:
        with exchange.client.awaiting_answer():
            await exchange.in_thread(lambda: make(exchange))

    with World() as world, world.connect() as client:
        world.server.change(replace(world.server.settings, serve=serve))
        client.send(get("/"))
        assert has_begun.wait(DEADLINE)
        client.end()
        world.loop.ask(lambda: None)  # it has heard of the end
        has_ended.set()
        assert client.read_message()[1] == body
        assert client.read_to_end() == b""


def test_a_long_answer_that_was_there_goes_out_though_its_client_ends_its_direction() -> None:
    body = b"x" * 60_000
    with World(always(sized(body))) as world, socket.socket() as sock:
        world.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections have it from there
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(world.server.address)
        client = Peer(sock)
        client.send(chat())
        wait_until(lambda: len(world.server.table._stalled) == 1)
        client.end()
        world.loop.ask(lambda: None)  # it has heard of the end
        assert client.read_message()[1] == body
        assert client.read_to_end() == b""


def test_behind_an_answer_of_ours_a_request_for_a_model_ends_with_its_client() -> None:
    thinker = Thinker()
    with World(ok_then(thinker.hear_hang_up)) as world, warm(world) as client:
        client.send(get("/running") + chat())
        client.end()
        assert client.read_message()[1] == b'{"running":[]}'
        assert client.read_to_end() == b""
        world.controller.wait_empty()
        wait_until(lambda: ' 499 0 "" ' in world.log)


@pytest.mark.parametrize("path", ["/api/events", "/logs/stream"])
def test_a_stream_of_ours_ends_with_its_clients_direction(path: str) -> None:
    with World() as world, world.connect() as client:
        client.send(get(path))
        client.read_until(b"\r\n\r\n")
        client.end()
        assert world.server.wait_idle(DEADLINE)


def test_a_load_by_hand_ends_with_its_clients_direction() -> None:
    with World() as world:
        world.controller.waiting = waiting = FakeQueue()
        with world.connect() as client:
            client.send(get("/api/models/load/m", method="POST"))
            client.end()
            assert client.read_to_end() == b""
        wait_until(lambda: ' 499 0 "" ' in world.log)
    waiting.is_over.close()


def test_a_client_that_is_gone_altogether_is_no_longer_waited_for_by_an_endpoint_of_ours() -> None:
    has_begun, was_told = threading.Event(), threading.Event()

    def wait(exchange: Exchange) -> None:
        has_begun.set()
        try:
            exchange.watch.wait(timeout=DEADLINE)
        except ClientGone:
            was_told.set()
            raise

    async def serve(exchange: Exchange) -> None:
        with exchange.client.awaiting_answer():
            await exchange.in_thread(lambda: wait(exchange))

    with World() as world:
        world.server.change(replace(world.server.settings, serve=serve))
        with world.connect() as client:
            client.send(get("/"))
            assert has_begun.wait(DEADLINE)
            client.end()
            world.loop.ask(lambda: None)  # it has heard of the end
            assert not was_told.is_set()
            client.reset()
        assert was_told.wait(DEADLINE)
