"""Requests whose process died before a byte of the answer: once more, on the next one, and never after a byte."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from contextlib import closing

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.net.loop import Timer
from llamaswap_lib.server.limits import Limits
from tests.web.upstreams import warm
from tests.web.world import DEADLINE, OK, FakeQueue, Peer, Upstream, World, answers, chat


def test_request_whose_process_died_is_tried_once_more_on_the_next_one() -> None:
    body = b'{"model":"m","n":1}'
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def dies(peer: Peer) -> None:
        heard.put(peer.read_message()[1])

    def serves(peer: Peer) -> None:
        heard.put(peer.read_message()[1])
        peer.send(OK)

    with World(dies, serves) as world:
        world.controller.successor = world.upstream.proxy
        assert world.ask(chat(body))[1] == b"ok"
        assert [heard.get(timeout=DEADLINE) for _ in range(2)] == [body, body]
        assert world.controller.moved_on == 1
        assert world.controller.leased == ["m"]
        world.controller.wait_empty()


def test_body_in_a_file_is_sent_to_the_next_process_from_its_beginning() -> None:
    body = b'{"model":"m","pad":"%b"}' % (b"x" * 300_000)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def dies(peer: Peer) -> None:
        peer.read(1000)
        peer.reset()

    def serves(peer: Peer) -> None:
        received.put(peer.read_message()[1])
        peer.send(OK)

    with World(dies, serves, limits=Limits(memory_body_bytes=1000)) as world:
        world.controller.successor = world.upstream.proxy
        assert world.ask(chat(body))[1] == b"ok"
        assert received.get(timeout=DEADLINE) == body


def test_request_that_loses_two_processes_is_a_bad_gateway() -> None:
    with World(answers()) as world:
        world.controller.successor = world.upstream.proxy
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"did not answer" in body
        assert world.controller.moved_on == 1
        assert world.upstream.accepted == 2


def test_request_whose_process_hung_up_but_lives_is_not_tried_again() -> None:
    with World(answers()) as world:
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"the server of m did not answer" in body
        assert (world.controller.moved_on, world.upstream.accepted) == (1, 1)
        assert world.controller.was_sent is True
        world.controller.wait_empty()


def test_request_is_refused_as_the_next_process_is() -> None:
    with World(answers()) as world:
        world.controller.successor = BadGateway("it keeps dying", headers={"Retry-After": "2"})
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"\r\nRetry-After: 2\r\n" in head
        assert b"it keeps dying" in body


def test_request_that_has_had_a_byte_of_its_answer_is_not_tried_again() -> None:
    def begins(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 2")

    with World(begins) as world:
        world.controller.successor = world.upstream.proxy
        assert world.ask(chat())[0].startswith(b"HTTP/1.1 502 ")
        assert (world.controller.moved_on, world.upstream.accepted) == (0, 1)


def test_request_that_finds_nobody_listening_is_tried_on_the_next_process() -> None:
    with World(answers(OK)) as world, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.controller.proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        world.controller.successor = world.upstream.proxy
        assert world.ask(chat())[1] == b"ok"
        assert world.controller.was_sent is False


def test_a_process_that_dies_with_a_connection_that_has_served_is_one_retry() -> None:
    with closing(Upstream(dies_at_the_second(lambda: dying))) as dying, World(answers(OK)) as world:
        next_one, world.controller.proxy = world.controller.proxy, dying.proxy
        with warm(world) as client:
            world.controller.successor = next_one
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        assert [record.retries for record in world.journal.wait_for(2)] == [0, 1]


def dies_at_the_second(upstream: Callable[[], Upstream]) -> Callable[[Peer], None]:
    """Answers one request; at the next one nobody listens any more, and the connection is closed."""

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        peer.read_message()
        upstream().listener.shutdown(socket.SHUT_RDWR)

    return script


def test_model_without_a_health_check_that_does_not_listen_is_a_bad_gateway_at_once() -> None:
    config = "models: {m: {cmd: server, proxy: PROXY, checkEndpoint: none}}"
    with World(answers(OK), config=config) as world, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        world.controller.proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"cannot connect to m at " in body
        assert world.controller.moved_on == 0


def test_a_deadline_for_the_lost_answer_does_not_end_the_wait_for_the_next_process() -> None:
    config = "models:\n  m:\n    cmd: server\n    proxy: PROXY\n    timeouts: {responseHeader: 1}\n"
    has_died, is_past = threading.Event(), threading.Event()
    waiting = FakeQueue()

    def dies(peer: Peer) -> None:
        peer.read_message()
        world.controller.waiting = waiting
        has_died.set()

    with World(dies, answers(OK), config=config) as world, world.connect() as client:
        world.controller.successor = world.upstream.proxy
        client.send(chat())
        assert has_died.wait(DEADLINE)
        world.loop.ask(lambda: Timer(world.loop, is_past.set, world.server).set(1.0))
        assert is_past.wait(DEADLINE)
        waiting.is_over.set()
        assert client.read_message()[1] == b"ok"
        assert "[ERROR]" not in world.log
    waiting.is_over.close()
