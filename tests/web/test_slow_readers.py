"""Clients that read slowly: each holds up its own upstream, nobody else, and loses no byte."""

from __future__ import annotations

import socket
import threading
from functools import partial

import pytest

from llamaswap_lib.net.poller import new_poller
from tests.web.certificates import trusted_upstream
from tests.web.upstreams import CountingPoller, wait_until
from tests.web.world import Peer, Script, World, chat, sized

SMALL_BUFFER = 65_536


def is_held_up(world: World) -> bool:
    """Whether some client takes nothing of what is sent to it."""
    return world.loop.ask(lambda: len(world.server.table._stalled)) > 0


def fill(world: World, client: Peer) -> int:
    """Have the client ask without reading until it takes no more; how often it has asked."""
    before, count = world.log.count("\n"), 0
    while not stays_held_up(world):
        client.send(chat())
        count += 1
        wait_until(partial(is_logged_or_held_up, world, before + count))
        assert count < 1_000
    return count


def stays_held_up(world: World) -> bool:
    """The same for a while: a busy system may move bytes on a moment after they were taken from us."""
    return is_held_up(world) and not threading.Event().wait(0.1) and is_held_up(world)


def is_logged_or_held_up(world: World, count: int) -> bool:
    return world.log.count("\n") == count or is_held_up(world)


def begun(body: bytes, last_bytes: int) -> Script:
    """An upstream whose answers come in two pieces."""
    answer = sized(body)
    first_bytes = len(answer) - last_bytes

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            peer.read_message()
            peer.send(answer[:first_bytes])
            threading.Event().wait(0.005)  # so that they are read one by one
            peer.send(answer[first_bytes:])

    return script


@pytest.mark.slow
@pytest.mark.parametrize("with_tls", [False, True])
def test_a_connection_whose_last_bytes_had_to_wait_for_the_client_is_used_again(with_tls: bool) -> None:
    body = bytes(range(256)) * 200
    context = trusted_upstream() if with_tls else None
    with World(begun(body, len(body) - 1), upstream_context=context) as world, world.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        count = fill(world, client)
        assert world.controller.inside == 1
        assert [client.read_message()[1] for _ in range(count)] == [body] * count
        world.controller.wait_empty()
        for _ in range(3):
            client.send(chat())
            assert client.read_message()[1] == body
        assert world.upstream.accepted == 1
        wait_until(lambda: world.log.count(f" 200 {len(body)} ") == count + 3)


@pytest.mark.slow
@pytest.mark.parametrize("last_bytes", [10, 51_199])
def test_the_loop_rests_while_a_client_takes_nothing_and_its_upstream_has_more_to_say(last_bytes: int) -> None:
    body = bytes(range(256)) * 200
    poller = CountingPoller(new_poller())
    with World(begun(body, last_bytes), poller=lambda: poller) as world, world.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        count = fill(world, client)
        threading.Event().wait(0.1)  # until the upstream has said it
        before = poller.count
        assert before > count
        threading.Event().wait(0.3)
        assert poller.count - before < 20
        assert [client.read_message()[1] for _ in range(count)] == [body] * count
        client.send(chat())
        assert client.read_message()[1] == body
        assert world.upstream.accepted == 1
