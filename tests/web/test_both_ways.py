"""An upstream that answers before it has read the request: both directions flow, and each is noticed to end."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from llamaswap_lib.net.poller import new_poller
from tests.web.certificates import trusted_upstream
from tests.web.upstreams import CountingPoller, wait_until
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, chat, length_of, sized

BIG = 12_000_000  # more than two sockets hold
BODY = b'{"model":"m","x":"' + b"a" * BIG + b'"}'


def read_all(peer: Peer, head: bytes) -> int:
    """Read the rest of the request; how many bytes came."""
    return len(peer.read(length_of(head)))


def has_next(peer: Peer) -> bool:
    """Block until the next request begins; False if the connection ends."""
    try:
        peer.rest += peer.sock.recv(65_536)
    except (ConnectionError, ssl.SSLEOFError):
        return False
    return bool(peer.rest)


def begins_early(*pieces: bytes, last: Callable[[int], bytes]) -> Callable[[Peer], None]:
    """A script: of each request, `pieces` are sent before the body is read, `last` behind it."""

    def script(peer: Peer) -> None:
        while has_next(peer):
            head = peer.read_until(b"\r\n\r\n")
            for piece in pieces:
                peer.send(piece)
            peer.send(last(read_all(peer, head)))

    return script


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def got(size: int) -> bytes:
    return chunk(b"data: got %d\n\n" % size) + b"0\r\n\r\n"


def test_an_answer_that_begins_before_the_body_was_read_is_passed_on_as_it_comes() -> None:
    is_seen = threading.Event()

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED_HEAD + chunk(b"data: begun\n\n"))
        assert is_seen.wait(DEADLINE), "the client does not see the beginning of the answer before its body is read"
        peer.send(got(read_all(peer, head)))

    with World(script) as world, world.connect() as client:
        client.send(chat(BODY))
        client.read_until(b"data: begun\n\n")
        is_seen.set()
        client.read_until(b"data: got %d\n\n" % len(BODY))
        client.read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [100_000, 800_000, BIG], ids=["small", "in-memory", "in-a-file"])
def test_a_connection_on_which_both_ways_ended_well_is_used_again(size: int) -> None:
    body = b'{"model":"m","x":"' + b"a" * size + b'"}'
    with World(begins_early(CHUNKED_HEAD, last=got)) as world, world.connect() as client:
        for _ in range(2):
            client.send(chat(body))
            client.read_until(b"data: got %d\n\n" % len(body))
            client.read_until(b"0\r\n\r\n")
        assert world.upstream.accepted == 1


def turns_in_a_while(poller: CountingPoller) -> int:
    before = poller.count
    threading.Event().wait(0.1)
    return poller.count - before


@pytest.mark.parametrize("with_tls", [False, True])
def test_the_loop_rests_after_an_answer_that_was_whole_before_the_request_was(with_tls: bool) -> None:
    has_begun, is_seen, go_on = threading.Event(), threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        peer.send(OK[:-1])
        assert has_begun.wait(DEADLINE)  # so that the rest is no part of what comes with the head
        peer.send(OK[-1:])
        read_all(peer, head)
        peer.read_message()
        is_seen.set()
        assert go_on.wait(DEADLINE)
        peer.send(OK)

    poller = CountingPoller(new_poller())
    context = trusted_upstream() if with_tls else None
    with World(script, upstream_context=context, poller=lambda: poller) as world, world.connect() as client:
        client.send(chat(BODY))
        client.read_until(b"\r\n\r\no")
        has_begun.set()
        assert client.read(1) == b"k"
        wait_until(lambda: world.app.pool.idle_count(1) == 1)
        assert turns_in_a_while(poller) < 20
        client.send(chat())
        assert is_seen.wait(DEADLINE)
        assert turns_in_a_while(poller) < 20
        go_on.set()
        assert client.read_message()[1] == b"ok"


def test_interim_heads_stop_nothing() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with World(begins_early(early, last=lambda _: OK)) as world, world.connect() as client:
        client.send(chat(BODY))
        assert client.read_message()[1] == b"ok"


def test_the_client_of_an_answer_that_is_whole_before_the_body_waits_no_longer() -> None:
    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(OK)
        peer.wait_for_hang_up()

    with World(script, begins_early(last=lambda _: OK)) as world, world.connect() as client:
        client.send(chat(BODY))
        assert client.read_message()[1] == b"ok"
        client.send(chat())  # and the connection, in the middle of a body, is for nobody
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 2


def test_an_error_that_closes_ends_the_sending() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n"

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(refusal + b"too ")
        peer.send(b"large")  # and what comes is not read
        peer.end()
        peer.wait_for_hang_up()

    with World(script) as world, world.connect() as client:
        client.send(chat(BODY))
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 413")
        assert client.read_to_end().endswith(b"too large")


def test_an_error_that_does_not_close_lets_the_body_go_on() -> None:
    head = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
    with World(begins_early(head, last=got)) as world, world.connect() as client:
        client.send(chat(BODY))
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 404")
        client.read_until(b"data: got %d\n\n" % len(BODY))


def test_a_client_of_http_1_0_gets_the_answer_without_chunks() -> None:
    with World(begins_early(CHUNKED_HEAD + chunk(b"begun "), last=got)) as world, world.connect() as client:
        client.send(chat(BODY, version=b"1.0"))
        assert client.read_to_end().endswith(b"\r\n\r\nbegun data: got %d\n\n" % len(BODY))


def test_a_client_that_leaves_ends_both_ways() -> None:
    has_ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED_HEAD + chunk(b"begun"))
        peer.wait_for_hang_up()
        has_ended.set()

    with World(script) as world:
        with world.connect() as client:
            client.send(chat(BODY))
            client.read_until(b"begun")
        assert has_ended.wait(DEADLINE), "the upstream is not told that its client has left"
        world.controller.wait_empty()


def test_an_upstream_that_breaks_off_in_the_middle_of_both_is_a_cut_answer() -> None:
    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED_HEAD + chunk(b"begun"))
        peer.read(100_000)
        peer.reset()

    with World(script) as world, world.connect() as client:
        client.send(chat(BODY))
        client.read_until(b"begun")
        assert client.read_to_end() == b"\r\n"
        world.wait_for_log("the answer broke off")


def test_an_upstream_that_answers_faster_than_it_reads_gets_all_of_the_body() -> None:
    """It answers without a pause, so that there is always something to read."""

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        peer.send(CHUNKED_HEAD)
        is_read = threading.Event()
        sizes: list[int] = []

        def read() -> None:
            sizes.append(read_all(peer, head))
            is_read.set()

        reader = threading.Thread(target=read)
        reader.start()
        while not is_read.is_set():
            peer.send(chunk(b"x" * 50_000))
        reader.join()
        peer.send(got(sizes[0]))

    with World(script) as world, world.connect() as client:
        client.send(chat(BODY))
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            data = client.sock.recv(1 << 20)
            assert data, "the answer broke off"
            tail = (tail + data)[-100:]
        assert b"data: got %d\n\n" % len(BODY) in tail


@pytest.mark.slow
def test_a_slow_client_holds_the_answer_up_and_nothing_breaks() -> None:
    answer = b"y" * 8_000_000

    def script(peer: Peer) -> None:
        head = peer.read_until(b"\r\n\r\n")
        sender = threading.Thread(target=peer.send, args=(sized(answer),))
        sender.start()
        assert read_all(peer, head) == len(BODY)
        sender.join()

    with World(script) as world, world.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.send(chat(BODY))
        client.read_until(b"\r\n\r\n")
        assert client.read(len(answer)) == answer


def test_an_upstream_with_tls_may_answer_early_too() -> None:
    script = begins_early(CHUNKED_HEAD, last=got)
    with World(script, upstream_context=trusted_upstream()) as world, world.connect() as client:
        client.send(chat(BODY))
        client.read_until(b"data: got %d\n\n" % len(BODY))
        client.read_until(b"0\r\n\r\n")
