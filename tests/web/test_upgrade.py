"""Upgrades: what passes once a connection has left HTTP behind, and how it ends."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import TlsEnd, issue, trusted_upstream, trusting
from tests.web.upstreams import LeapingClock
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, Running, World, answers, chat, get, sized

ASKED = b"Connection: keep-alive, Upgrade\r\nUpgrade: Raw/1\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\nX-Told: yes\r\n\r\n"
BIG = 30_000_000  # more than all buffers on the way


class Held:
    """An upstream whose end of the tunnel the test holds itself."""

    def __init__(self, answer: bytes = SWITCH) -> None:
        self.answer = answer
        self.head = b""
        self._is_there = threading.Event()
        self._may_end = threading.Event()
        self._peer: Peer | None = None

    def __call__(self, peer: Peer) -> None:
        self.head = b"".join(peer.read_message())
        peer.send(self.answer)
        self._peer = peer
        self._is_there.set()
        assert self._may_end.wait(DEADLINE)

    def peer(self) -> Peer:
        assert self._is_there.wait(DEADLINE)
        assert self._peer is not None
        return self._peer

    def release(self) -> None:
        self._may_end.set()


Tunnelled = AbstractContextManager[tuple[World, Peer, Peer]]


@pytest.fixture(params=["plain", "client", "upstream", "both"])
def across(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Tunnelled]:
    """`tunnelled`, with TLS on some side, or on none."""
    certificate = issue(tmp_path) if request.param in ("client", "both") else None
    context = trusted_upstream() if request.param in ("upstream", "both") else None
    return partial(tunnelled, certificate=certificate, upstream_context=context)


@contextmanager
def tunnelled(
    limits: Limits | None = None,
    receive_bytes: int = 0,
    certificate: Certificate | None = None,
    upstream_context: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[World, Peer, Peer]]:
    """A world, the client's end of a tunnel and the upstream's; `receive_bytes`: the size of the client's buffer."""
    held = Held()
    with (
        World(held, limits=limits, certificate=certificate, upstream_context=upstream_context, clock=clock) as world,
        Peer(socket.socket()) as client,
    ):
        if receive_bytes:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.sock.connect(world.server.address)
        if certificate is not None:
            client.sock = TlsEnd(client.sock, trusting(), "localhost")
        try:
            client.send(get("/upstream/m/ws?a=%20", extra=ASKED))
            client.read_until(b"\r\n\r\n")
            yield world, client, held.peer()
        finally:
            held.release()


def test_upgrade_is_asked_for_and_granted_in_both_heads() -> None:
    held = Held()
    with World(held) as world, world.connect() as client:
        client.send(get("/upstream/m/ws?a=%20", extra=ASKED + b"Sec-WebSocket-Key: k\r\n"))
        assert client.read_until(b"\r\n\r\n") == (
            b"HTTP/1.1 101 Switching Protocols\r\nX-Told: yes\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\n\r\n"
        )
        held.peer()
        assert held.head == (
            b"GET /ws?a=%20 HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: k\r\n"
            b"Connection: Upgrade\r\nUpgrade: Raw/1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
        )
        held.release()


def test_bytes_pass_both_ways_and_count_as_a_place(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        for word in (b"one", b"\0\xff\r\n", b"three"):
            client.send(word)
            assert upstream.read(len(word)) == word
            upstream.send(word[::-1])
            assert client.read(len(word)) == word[::-1]
        assert world.controller.inside == 1
        client.end()
        assert upstream.read_to_end() == b""
        upstream.end()
        world.controller.wait_empty()
        world.wait_for_log('"GET /upstream/m/ws HTTP/1.1" 101 12 ')


def test_what_came_ahead_of_the_switch_is_not_lost() -> None:
    held = Held(SWITCH + b"from the upstream")
    with World(held) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED) + b"from the client")
        client.read_until(b"\r\n\r\n")
        assert client.read(17) == b"from the upstream"
        assert held.peer().read(15) == b"from the client"
        held.release()


def test_nothing_of_the_new_protocol_is_sent_before_the_switch() -> None:
    held = Held(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + SWITCH)
    with World(held) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED) + b"ahead")
        client.read_until(b"\r\n\r\n")
        assert held.head.endswith(b"\r\n\r\n")
        assert held.peer().rest + held.peer().read(5 - len(held.peer().rest)) == b"ahead"
        held.release()


@pytest.mark.parametrize("size", [1, 5])
def test_heads_and_first_bytes_may_come_in_pieces(size: int) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        whole = SWITCH + b"hello"
        for at in range(0, len(whole), size):
            peer.send(whole[at : at + size])
        assert peer.read(3) == b"bye"

    with World(script) as world, world.connect() as client:
        whole = get("/upstream/m/ws", extra=ASKED)
        for at in range(0, len(whole), size):
            client.send(whole[at : at + size])
        client.read_until(b"\r\n\r\n")
        assert client.read(5) == b"hello"
        for at in range(3):
            client.send(b"bye"[at : at + 1])
        assert client.read_to_end() == b""


def test_body_of_an_upgrade_is_sent_on_before_the_switch() -> None:
    held = Held()
    body = b'{"model":"m","x":1.0}'
    with World(held) as world, world.connect() as client:
        client.send(chat(body, extra=ASKED) + b"ahead")
        client.read_until(b"\r\n\r\n")
        assert held.head.endswith(b"\r\n\r\n" + body)
        assert held.peer().read(5) == b"ahead"
        held.release()


# -- its end --


def test_client_that_has_said_all_still_hears_the_upstream(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        client.send(b"all")
        client.end()
        assert upstream.read_to_end() == b"all"
        upstream.send(b"answer, ")
        assert client.read(8) == b"answer, "
        assert world.controller.inside == 1
        upstream.send(b"end")
        upstream.end()
        assert client.read_to_end() == b"end"
        world.controller.wait_empty()


def test_upstream_that_has_said_all_still_hears_the_client(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        upstream.send(b"all")
        upstream.end()
        assert client.read_to_end() == b"all"
        client.send(b"answer")
        assert upstream.read(6) == b"answer"
        assert world.controller.inside == 1
        client.close()
        assert upstream.read_to_end() == b""
        world.controller.wait_empty()


@pytest.mark.parametrize("waits_for_room", [False, True])
def test_end_that_comes_in_one_piece_with_data_is_seen(waits_for_room: bool) -> None:
    with tunnelled(upstream_context=trusted_upstream()) as (world, client, upstream):
        sent_bytes = fill(upstream) if waits_for_room else 0
        if waits_for_room:
            client.read(sent_bytes // 2)
        assert isinstance(upstream.sock, TlsEnd)
        upstream.sock.say_last(b"the end")
        assert client.read_to_end().endswith(b"the end")
        client.send(b"answer")
        assert upstream.read(6) == b"answer"
        client.end()
        assert upstream.read_to_end() == b""
        world.controller.wait_empty()


def test_client_that_resets_is_a_reset_to_a_silent_upstream_at_once(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        client.reset()
        with pytest.raises(ConnectionResetError):
            upstream.read_to_end()
        world.controller.wait_empty()


def test_upstream_that_resets_is_a_reset_to_a_silent_client(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        upstream.reset()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        world.controller.wait_empty()


def test_last_word_of_an_upstream_that_does_not_listen_arrives() -> None:
    """A closing handshake, crossed by messages: the upstream's socket answers those with a reset."""
    with tunnelled(receive_bytes=4096) as (world, client, upstream):
        upstream.send(b"x" * 50_000)
        upstream.close()
        for _ in range(20):
            client.send(b"crossed")
            assert not threading.Event().wait(0.01)
        assert len(client.read_to_end()) == 50_000
        client.close()
        world.controller.wait_empty()


@pytest.mark.slow
def test_reset_is_seen_while_the_other_side_takes_nothing(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        fill(client)
        client.reset()
        world.controller.wait_empty()
        with pytest.raises(ConnectionResetError):
            upstream.read_to_end()


@pytest.mark.slow
def test_end_behind_much_that_waits_comes_after_all_of_it() -> None:
    with tunnelled() as (world, client, upstream):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # so that its end gets through to us
        sent_bytes = fill(client)
        upstream.sock.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b""
        client.close()
        upstream.read(sent_bytes // 2)
        assert len(upstream.read_to_end()) == sent_bytes - sent_bytes // 2
        world.controller.wait_empty()


@pytest.mark.slow
def test_side_that_has_hung_up_is_not_looked_at_again_and_again() -> None:
    with tunnelled() as (world, client, upstream):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # so that its end gets through to us
        sent_bytes = fill(client)
        upstream.sock.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b""
        client.close()  # its hang-up is told by every look from now on
        spent = time.process_time()
        assert not threading.Event().wait(0.4)
        assert time.process_time() - spent < 0.2
        assert len(upstream.read_to_end()) == sent_bytes
        world.controller.wait_empty()
        world.wait_for_log('"GET /upstream/m/ws HTTP/1.1" 101 0 ')


@pytest.mark.slow
def test_silence_is_not_the_end_whatever_the_limits_of_requests(across: Callable[..., Tunnelled]) -> None:
    clock = LeapingClock()
    with across(clock=clock) as (world, client, upstream):
        clock.leap(world, 1_000.0)  # longer than any of them
        client.send(b"still")
        assert upstream.read(5) == b"still"
        upstream.send(b"here")
        assert client.read(4) == b"here"


def test_end_of_the_server_ends_it(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        world.server.begin_stop()
        assert not world.server.wait_idle(0.05)
        upstream.send(b"not yet")
        assert client.read(7) == b"not yet"
        assert world.server.abort(grace=DEADLINE), "it waits for an upstream that goes on"
        for peer in (client, upstream):
            with pytest.raises(ConnectionResetError):
                peer.read_to_end()


def test_end_of_the_server_ends_it_though_the_client_has_said_its_last_word(across: Callable[..., Tunnelled]) -> None:
    with across() as (world, client, upstream):
        client.end()
        assert upstream.read_to_end() == b""
        world.server.begin_stop()
        assert world.server.abort(grace=DEADLINE)
        client.wait_for_hang_up()


# -- slow sides --


def fill(peer: Peer) -> int:
    """Send until nothing more is taken; how many bytes that was."""
    sent_bytes, data = 0, b"x" * 65536
    peer.sock.settimeout(0.3)
    try:
        while sent_bytes < BIG:
            sent_bytes += peer.sock.send(data)
    except TimeoutError:
        pass
    peer.sock.settimeout(DEADLINE)
    assert sent_bytes < BIG, "it is collected somewhere"
    return sent_bytes


@pytest.mark.slow
def test_side_that_takes_nothing_holds_up_the_other_and_its_own_way_only(across: Callable[..., Tunnelled]) -> None:
    with across(limits=Limits(write_timeout=0.05)) as (_, client, upstream):
        sent_bytes = fill(upstream)
        client.send(b"meanwhile")
        assert upstream.read(9) == b"meanwhile"
        client.read(sent_bytes - 20_000)  # the last record may stand half in the upstream
        upstream.send(b"and on")
        assert client.read(20_006).endswith(b"xxxand on")


@pytest.mark.slow
def test_streams_both_ways_at_once_arrive_whole_in_any_pieces(across: Callable[..., Tunnelled]) -> None:
    seed = 7
    there, back = random.Random(seed).randbytes(3_000_000), random.Random(seed + 1).randbytes(3_000_000)

    def send(peer: Peer, data: bytes) -> None:
        dice, at = random.Random(seed), 0
        while at < len(data):
            size = dice.choice((1, 100, 5_000, 300_000))
            peer.send(data[at : at + size])
            at += size
        peer.sock.shutdown(socket.SHUT_WR)

    with across() as (world, client, upstream):
        senders = [threading.Thread(target=send, args=it) for it in ((client, there), (upstream, back))]
        for sender in senders:
            sender.start()
        heard: list[bytes] = []
        reader = threading.Thread(target=lambda: heard.append(upstream.read_to_end()))
        reader.start()
        assert client.read_to_end() == back
        for thread in (*senders, reader):
            thread.join(DEADLINE)
        assert heard == [there]
        world.controller.wait_empty()


# -- what is no upgrade --


@pytest.mark.parametrize("refusal", [sized(b"no", b"X: y\r\n"), OK.replace(b"200 OK", b"426 Upgrade Required")])
def test_upgrade_that_is_not_granted_is_answered_like_any_request(refusal: bytes) -> None:
    with World(answers(refusal, OK)) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED))
        head, body = client.read_message()
        assert (head + body).split(b" ", 1)[1] == refusal.split(b" ", 1)[1]
        client.send(chat())  # on the same connections
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 1


def test_upgrade_that_is_answered_with_a_stream_streams() -> None:
    with World(answers(CHUNKED_HEAD + b"3\r\none\r\n0\r\n\r\n")) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED))
        client.read_until(b"\r\n\r\n")
        assert client.read(13) == b"3\r\none\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(b"raw/1", b"raw/2"),
        SWITCH.replace(b"Upgrade: raw/1\r\n", b""),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        SWITCH.replace(b"raw/1", b"raw/1, raw/2"),
    ],
)
def test_switch_to_anything_but_what_was_asked_for_is_a_bad_gateway(switch: bytes) -> None:
    with World(answers(switch)) as world:
        assert world.ask(get("/upstream/m/ws", extra=ASKED))[0].startswith(b"HTTP/1.1 502 ")


def test_switch_before_the_request_is_whole_is_a_bad_gateway() -> None:
    def script(peer: Peer) -> None:
        peer.read_until(b"\r\n\r\n")
        peer.send(SWITCH)
        peer.sock.settimeout(DEADLINE)
        peer.wait_for_hang_up()

    with World(script) as world, world.connect() as client:
        body = b'{"model":"m","x":"%b"}' % (b"x" * BIG)
        client.send(chat(body, extra=ASKED))
        assert client.read_message()[0].startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "asked",
    [b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n", b"Upgrade: raw/1\r\n"],
)
def test_other_upgrades_are_not_asked_for(asked: bytes) -> None:
    held = Held(OK)
    with World(held) as world:
        held.release()
        assert world.ask(get("/upstream/m/ws", extra=asked))[1] == b"ok"
        assert b"upgrade" not in held.head.lower()


def test_client_that_leaves_before_the_switch_is_not_waited_for() -> None:
    asked, gone = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        peer.wait_for_hang_up()
        gone.set()

    with World(script) as world:
        with world.connect() as client:
            client.send(get("/upstream/m/ws", extra=ASKED))
            assert asked.wait(DEADLINE)
        assert gone.wait(DEADLINE)
        world.controller.wait_empty()


# -- compat.ignoreWebsockets --

IGNORING = """
models:
  m:
    cmd: server
    proxy: PROXY
    concurrencyLimit: 1
    compat:
      ignoreWebsockets: true
"""
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n"


def test_ignored_websocket_neither_loads_a_model_nor_takes_a_place() -> None:
    held = Held(SWITCH.replace(b"raw/1", b"websocket"))
    with World(held, config=IGNORING) as world, world.connect() as client:
        for state in ("starting", "stopping"):
            world.controller.running = [Running("m", 1, state)]
            client.send(get("/upstream/m/ws", extra=WEBSOCKET))
            head, body = client.read_message()
            assert head.startswith(b"HTTP/1.1 409 ")
            assert b'"code":"conflict"' in body
        world.controller.running = [Running("m", 1, "ready")]
        client.send(get("/upstream/m/ws", extra=WEBSOCKET))
        client.read_until(b"\r\n\r\n")
        held.peer().send(b"hello")
        assert client.read(5) == b"hello"
        assert (world.controller.leased, world.controller.inside) == ([], 0)
        held.release()


def test_other_upgrades_and_requests_are_not_ignored() -> None:
    with World(answers(OK, OK, OK), config=IGNORING) as world:
        assert world.ask(get("/upstream/m/ws", extra=ASKED))[1] == b"ok"
        assert world.ask(get("/upstream/m/ws", extra=b"Upgrade: websocket\r\n"))[1] == b"ok"
        assert world.ask(chat())[1] == b"ok"
        assert world.controller.leased == ["m"] * 3


@pytest.mark.slow
def test_a_client_that_takes_nothing_makes_room_for_another_one() -> None:
    broke = threading.Event()

    def flood(upstream: Peer) -> None:
        try:
            upstream.send(b"x" * BIG)
        except OSError:
            broke.set()

    with tunnelled(Limits(connections=1)) as (world, client, upstream):
        client.send(b"x" * 1_000)  # which its upstream never reads
        flooding = threading.Thread(target=flood, args=(upstream,))
        flooding.start()
        deadline = time.monotonic() + DEADLINE
        while not world.ask(get("/health"))[0].startswith(b"HTTP/1.1 200 "):
            assert time.monotonic() < deadline, "it makes no room"
        assert broke.wait(DEADLINE), "its upstream is not told"
        flooding.join()
