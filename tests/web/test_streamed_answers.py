"""Answers that take their time: what their clients get of them, and how they end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from llamaswap_lib.server.limits import Limits
from tests.web.upstreams import (
    EVENT,
    LAST,
    Teller,
    always,
    borrowed_threads,
    ok_then,
    streaming,
    wait_until,
    warm,
)
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    Peer,
    World,
    answers,
    chat,
    sized,
)


def test_a_stream_flows_without_a_thread_and_the_next_request_is_served_too() -> None:
    teller = Teller()
    with World(ok_then(teller.answer, teller.answer, answers(sized(b"next")))) as world:
        with streaming(world, teller) as client:
            assert world.controller.inside == 1
            teller.words.put(LAST)
            assert client.read_until(LAST) == b"\r\n" + LAST
            world.controller.wait_empty()
            client.send(chat())
            teller.words.put(EVENT)
            teller.words.put(LAST)
            client.read_until(LAST)
            client.send(chat())
            assert client.read_message()[1] == b"next"
            assert borrowed_threads() == 0
        assert world.upstream.accepted == 1
        body_bytes = len(EVENT + LAST)
        wait_until(lambda: world.log.count(f'HTTP/1.1" 200 {body_bytes} ""') == 2)


def test_a_request_that_is_sent_ahead_of_the_end_of_a_stream_is_answered_behind_it() -> None:
    teller = Teller()
    with World(ok_then(teller.answer, answers(sized(b"next")))) as world, streaming(world, teller) as client:
        client.send(chat())
        teller.words.put(EVENT)
        client.read_until(b"data:")
        teller.words.put(LAST)
        client.read_until(LAST)
        assert client.read_message()[1] == b"next"


@pytest.mark.parametrize("leave", [Peer.close, Peer.reset])
def test_a_client_that_leaves_a_stream_ends_it_at_once(leave: Callable[[Peer], None]) -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(OK)) as world:
        with streaming(world, teller) as client:
            teller.words.put(b"")
            leave(client)
            assert teller.was_left.wait(DEADLINE)
            world.controller.wait_empty()
            wait_until(lambda: world.server.count() == (0, 0) and f" 200 {len(EVENT)} " in world.log)
        with warm(world):
            pass


@pytest.mark.parametrize(("version", "is_reset"), [(b"1.1", False), (b"1.0", True)])
def test_a_stream_that_breaks_off_does_not_end_like_a_whole_one(version: bytes, is_reset: bool) -> None:
    teller = Teller()
    request = chat(extra=b"Connection: keep-alive\r\n", version=version)
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller, request) as client:
        teller.words.put(None)
        if is_reset:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            assert client.read_to_end() == b"\r\n"
        world.wait_for_log("m: the answer broke off after")
        world.controller.wait_empty()


def test_what_an_upstream_sends_behind_a_stream_is_nobodys() -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(sized(b"other"))) as world, streaming(world, teller) as client:
        teller.words.put(LAST + sized(b"unasked"))
        teller.words.put(b"")
        client.read_until(LAST)
        assert teller.was_left.wait(DEADLINE)
        client.send(chat())
        assert client.read_message()[1] == b"other"


def test_an_upstream_that_wants_to_close_behind_a_stream_is_let_go() -> None:
    teller = Teller(CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller) as client:
        teller.words.put(EVENT + LAST[:2])
        teller.words.put(LAST[2:])
        teller.words.put(b"")
        client.read_until(LAST)
        assert teller.was_left.wait(DEADLINE)
        client.send(chat())
        assert client.read_message()[1] == b"ok"


def test_a_client_that_takes_nothing_of_a_stream_holds_up_nobody_and_loses_no_byte() -> None:
    body = bytes(range(256)) * 20_000
    with World(ok_then(answers(sized(body))), always(OK)) as world:
        with warm(world) as client, world.connect() as other:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.send(chat())
            wait_until(lambda: world.controller.inside == 1)
            for _ in range(20):
                other.send(chat())
                assert other.read_message()[1] == b"ok"
            assert client.read_message()[1] == body
        world.controller.wait_empty()
        wait_until(lambda: f" 200 {len(body)} " in world.log)


def test_a_client_that_takes_nothing_of_a_stream_for_too_long_is_given_up() -> None:
    body, is_asked = bytes(range(256)) * 40_000, threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        is_asked.set()
        with suppress(ConnectionError):
            peer.send(sized(body))

    with World(ok_then(script), limits=Limits(write_timeout=0.2)) as world, warm(world) as client:
        client.send(chat())
        assert is_asked.wait(DEADLINE)
        world.controller.wait_empty()
        wait_until(lambda: world.server.count() == (0, 0))


def test_a_server_that_is_broken_off_breaks_streams_off() -> None:
    teller = Teller()
    with World(ok_then(teller.answer)) as world, streaming(world, teller) as client:
        teller.words.put(b"")
        world.server.begin_stop()
        assert world.server.abort()
        assert teller.was_left.wait(DEADLINE)
        with suppress(ConnectionResetError):
            assert LAST not in client.read_to_end()
        world.controller.wait_empty()


def test_a_mistake_of_ours_at_the_end_of_a_stream_costs_one_connection() -> None:
    teller = Teller()
    with World(ok_then(teller.answer), always(OK)) as world, streaming(world, teller) as client:
        world.controller.fault_of_leaving = ZeroDivisionError()
        teller.words.put(LAST)
        assert client.read_to_end() == b"\r\n" + LAST
        assert "ZeroDivisionError" in world.log
        with warm(world):
            pass
