"""Connections to upstreams over their life: idle, in use, silent, and what goes wrong on them."""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import suppress

import pytest

from llamaswap_lib.server.limits import Limits
from tests.web.certificates import TlsEnd, trusted_upstream
from tests.web.upstreams import LeapingClock, wait_until
from tests.web.world import CHUNKED_HEAD, DEADLINE, MODELS, OK, FakeQueue, Peer, World, answers, chat, length_of


@pytest.mark.parametrize("with_tls", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_connection_that_is_idle_for_too_long_is_closed(with_tls: bool) -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        answers(OK, OK)(peer)
        with suppress(ssl.SSLEOFError):  # without a farewell of TLS
            peer.wait_for_hang_up()
        has_ended.set()

    config = MODELS.rstrip() + "\n    timeouts: {idleConn: 1000}\n"
    context, clock = trusted_upstream() if with_tls else None, LeapingClock()
    with World(script, config=config, upstream_context=context, clock=clock) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        clock.leap(world, 1_000.0)
        assert has_ended.wait(DEADLINE)
        assert world.app.pool.idle_count(1) == 0


def test_an_answer_that_ends_with_tls_farewell_is_whole_though_the_connection_stays_open() -> None:
    """The farewell comes together with the last bytes; the server waits for ours before it closes."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbegun,")
        assert go.wait(DEADLINE)
        assert isinstance(peer.sock, TlsEnd)
        peer.sock.say_last(b"ended")
        with suppress(ssl.SSLEOFError):
            peer.wait_for_hang_up()

    with World(script, upstream_context=trusted_upstream()) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"begun,")
        go.set()
        assert client.read_to_end() == b"ended"


# -- the time within which an answer has to begin --

HASTY = MODELS.rstrip() + "\n    timeouts: {responseHeader: 1000}\n"


def test_the_time_for_a_first_byte_does_not_count_while_another_process_is_waited_for() -> None:
    asked, die, wait, clock = threading.Event(), threading.Event(), FakeQueue(), LeapingClock()

    def dies(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        assert die.wait(DEADLINE)
        peer.reset()

    try:
        with World(dies, answers(OK), config=HASTY, clock=clock) as world, world.connect() as client:
            world.controller.successor = world.upstream.proxy
            client.send(chat())
            assert asked.wait(DEADLINE)
            world.controller.waiting = wait
            die.set()
            wait_until(lambda: world.controller.moved_on == 1)
            clock.leap(world, 1_300.0)
            wait.is_over.set()
            assert client.read_message()[1] == b"ok"
            world.controller.wait_empty()
            assert "Traceback" not in world.log
    finally:
        wait.is_over.close()


def test_the_time_for_a_first_byte_does_not_count_once_the_answer_has_begun() -> None:
    """It is an early one: the rest of the request is taken while it comes, and the answer ends late."""
    read, go, clock = threading.Event(), threading.Event(), LeapingClock()
    body = b'{"model":"m","stream":true,"x":"' + b"x" * 8_000_000 + b'"}'
    wait = FakeQueue()

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n{")
        peer.read(length_of(head))
        read.set()
        assert go.wait(DEADLINE)
        peer.send(b'"a":')

    config = HASTY.rstrip() + "\n    sendLoadingState: true\n"
    try:
        with World(script, config=config, clock=clock) as world, world.connect() as client:
            world.controller.waiting = wait
            client.send(chat(body))
            client.read_until(b"Loading m")
            wait.is_over.set()
            assert read.wait(DEADLINE)
            clock.leap(world, 1_300.0)
            go.set()
            client.read_until(b"the server of m answered 500 No")
            client.read_until(b"0\r\n\r\n")
            world.controller.wait_empty()
            world.controller.waiting = None
    finally:
        wait.is_over.close()


# -- an answer that comes before the request was read --


def test_a_connection_serves_the_next_request_where_the_rest_of_one_was_taken_behind_its_answer() -> None:
    """And nobody is woken meanwhile because the connection takes more."""
    heard, asked, go = threading.Event(), threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED_HEAD + EVENT)
        assert heard.wait(DEADLINE)
        peer.send(LAST)
        peer.read(length_of(head))
        peer.read_message()
        asked.set()
        assert go.wait(DEADLINE)
        peer.send(OK)

    with World(script) as world, world.connect() as client:
        client.send(chat(LARGE) + chat())
        client.read_until(EVENT)
        heard.set()
        client.read_until(LAST)
        assert asked.wait(DEADLINE)
        [connection] = world.app.pool.traffic._runs[1].open
        resumed: list[object] = []
        serve = world.loop.on_ready[connection.sock.fileno()]

        def listen(mask: int) -> object:
            resumed.append(mask)
            return serve(mask)

        world.loop.ask(lambda: world.loop.on_ready.update({connection.sock.fileno(): listen}))
        assert [world.loop.answers(DEADLINE) for _ in range(10)] == [True] * 10
        assert not resumed
        go.set()
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 1


# -- what breaks here --

EVENT = b"5\r\ndata:\r\n"
LAST = b"0\r\n\r\n"
LARGE = b'{"model":"m","x":"' + b"x" * 16_000_000 + b'"}'


def break_upstream_connection(world: World) -> None:
    """Have the next that happens on the connection to the run be a mistake of ours."""

    def fail(_mask: int) -> None:
        raise ZeroDivisionError

    [connection] = world.app.pool.traffic._runs[1].open
    world.loop.ask(lambda: world.loop.on_ready.update({connection.sock.fileno(): fail}))


def test_a_mistake_of_ours_within_a_stream_costs_that_one_connection_and_is_reported() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + EVENT)
        assert go.wait(DEADLINE)
        peer.send(EVENT)
        peer.wait_for_hang_up()

    with World(script, answers(OK)) as world, world.connect() as client, world.connect() as other:
        client.send(chat())
        client.read_until(b"data:")
        break_upstream_connection(world)
        go.set()
        other.send(chat())
        assert other.read_message()[1] == b"ok"
        with suppress(ConnectionResetError):
            assert LAST not in client.read_to_end()
        world.controller.wait_empty()
        wait_until(lambda: "ZeroDivisionError" in world.log and f" 200 {len(EVENT)} " in world.log)
        wait_until(lambda: world.server.count() == (1, 0))


def test_a_mistake_of_ours_while_an_upstream_thinks_is_an_error_for_its_client() -> None:
    asked, go = threading.Event(), threading.Event()

    def thinks(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        assert go.wait(DEADLINE)
        peer.send(OK)

    with World(thinks, answers(OK)) as world, world.connect() as client:
        client.send(chat())
        assert asked.wait(DEADLINE)
        break_upstream_connection(world)
        go.set()
        assert client.read_message()[0].startswith(b"HTTP/1.1 500 ")
        world.controller.wait_empty()
        assert world.ask(chat())[1] == b"ok"


def test_a_mistake_of_ours_on_an_idle_connection_costs_that_connection_alone() -> None:
    def script(peer: Peer) -> None:
        answers(OK)(peer)
        peer.wait_for_hang_up()

    with World(script, answers(OK)) as world, world.connect() as client:
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        [connection] = world.app.pool.traffic._runs[1].open
        world.loop.ask(lambda: connection.fail(ZeroDivisionError()))  # type: ignore[attr-defined]
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the file cannot be found here")  # noqa: PTH112
@pytest.mark.parametrize("head", [CHUNKED_HEAD, b"HTTP/1.1 200 OK\r\n\r\n"], ids=["chunked", "until close"])
def test_a_body_that_cannot_be_read_back_within_its_answer_breaks_that_off(head: bytes) -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(head + EVENT)
        assert go.wait(DEADLINE)
        peer.wait_for_hang_up()

    with World(script, answers(OK), limits=Limits(memory_body_bytes=1_000)) as world, world.connect() as client:
        client.send(chat(LARGE))
        client.read_until(b"data:")
        os.ftruncate(descriptor_of_body(), 0)
        go.set()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        world.wait_for_log("the answer broke off: the body of the request cannot be read back")
        world.controller.wait_empty()
        assert "Traceback" not in world.log
        assert world.ask(chat())[1] == b"ok"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the file cannot be found here")  # noqa: PTH112
def test_nothing_is_said_within_the_words_of_a_server_that_go_on_in_a_stream_of_ours() -> None:
    go, wait, body = threading.Event(), FakeQueue(), LARGE[:-1] + b',"stream":true}'
    config, limits = MODELS.rstrip() + "\n    sendLoadingState: true\n", Limits(memory_body_bytes=1_000)

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\ndata:")
        assert go.wait(DEADLINE)
        peer.wait_for_hang_up()

    try:
        with World(script, config=config, limits=limits) as world, world.connect() as client:
            world.controller.waiting = wait
            client.send(chat(body))
            client.read_until(b"Loading m")
            wait.is_over.set()
            client.read_until(b"3e8\r\ndata:")
            os.ftruncate(descriptor_of_body(), 0)
            go.set()
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
            world.wait_for_log("the answer broke off: the body of the request cannot be read back")
            world.controller.wait_empty()
    finally:
        wait.is_over.close()


def descriptor_of_body() -> int:
    """Of the file that a request's body is in."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - of what is closed meanwhile only the name is there
        with suppress(OSError):
            if os.fstat(int(name)).st_size >= len(LARGE):
                return int(name)
    raise AssertionError("no body is in a file")
