"""TLS sockets behave as the relay expects of sockets, and nobody is trusted without a certificate."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import trustme

from llamaswap_lib.net.tls_stream import prepared, secure, verifying_context
from tests.web.certificates import TlsEnd, trusted_upstream, trusting
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, answers, chat, sized


class Link:
    """Two ends of a connection: `near` is ours, `far` a blocking TLS server."""

    def __init__(self, *, name: str = "peer.test", is_trusted: bool = True) -> None:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("peer.test").configure_cert(server)
        client = trusting(authority if is_trusted else trustme.CA())
        ours, theirs = socket.socketpair()
        theirs.settimeout(DEADLINE)
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(server.wrap_socket, theirs, server_side=True)
            try:
                self.near = secure(ours, name, DEADLINE, prepared(client))
            except BaseException:
                assert accepted.exception(DEADLINE) is not None
                theirs.close()
                raise
            self.far = accepted.result(DEADLINE)

    def receive(self) -> bytes:
        """What comes next, waited for as the relay waits."""
        while True:
            try:
                return self.near.recv(65_536)
            except BlockingIOError:  # noqa: PERF203 - as often as nothing is there
                assert select.select([self.near], [], [], DEADLINE)[0], "nothing comes"

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.close()


def test_bytes_pass_and_nothing_there_is_a_blocking_error(link: Link) -> None:
    with pytest.raises(BlockingIOError):
        link.near.recv(10)
    assert link.near.send(b"hello", socket.MSG_DONTWAIT) == 5
    assert link.far.recv(10) == b"hello"
    link.far.sendall(b"answer")
    assert link.receive() == b"answer"


def test_tickets_of_tls_itself_leave_a_connection_quiet(link: Link) -> None:
    assert link.far.version() == "TLSv1.3"
    assert select.select([link.near], [], [], DEADLINE)[0], "the server sends session tickets after the handshake"
    assert link.near.is_quiet()
    assert not select.select([link.near], [], [], 0)[0]


def test_bytes_that_were_found_by_looking_are_not_lost(link: Link) -> None:
    link.far.sendall(b"early")
    while link.near.is_quiet():
        assert select.select([link.near], [], [], DEADLINE)[0]
    assert link.near.recv() == b"early"
    assert link.near.is_quiet()


def test_proper_end_is_an_end_and_a_cut_is_an_error() -> None:
    proper, cut = Link(), Link()
    proper.far.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):  # its goodbye is said, ours is not waited for
        proper.far.unwrap()
    assert proper.receive() == b""
    assert not proper.near.is_quiet()
    cut.far.sendall(b"half")
    socket.socket.shutdown(cut.far, socket.SHUT_RDWR)
    assert cut.receive() == b"half"
    with pytest.raises(ConnectionResetError):
        cut.receive()
    assert not cut.near.is_quiet()
    for link in (proper, cut):
        link.close()


def test_large_bodies_pass_in_parts_and_with_retries(link: Link) -> None:
    sent = bytes(range(256)) * 20_000
    received = bytearray()

    def read() -> None:
        while len(received) < len(sent):
            received.extend(link.far.recv(65_536))

    reader = threading.Thread(target=read, name="reader")
    rest = memoryview(sent)
    refusals = 0
    while rest:
        try:
            rest = rest[link.near.send(rest) :]
        except BlockingIOError:  # noqa: PERF203 - as often as there is no room
            refusals += 1
            if refusals == 1:
                reader.start()
            assert select.select([], [link.near], [], DEADLINE)[1]
    assert refusals
    reader.join(DEADLINE)
    assert received == sent


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Link(is_trusted=False), "certificate is not trusted: unable to get local issuer certificate"),
        (lambda: Link(name="other.test"), "certificate is not trusted: Hostname mismatch"),
    ],
)
def test_wrong_certificates_are_refused_with_their_reason(make: Callable[[], Link], reason: str) -> None:
    with pytest.raises(ConnectionError, match=reason):
        make()


def test_one_that_does_not_shake_hands_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(TimeoutError, match="handshake took too long"):
        secure(ours, "peer.test", 0.05, prepared(trusting()))
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with theirs, pytest.raises(ConnectionError, match="no TLS connection: "):
        secure(ours, "peer.test", DEADLINE, prepared(trusting()))


def test_everybody_else_is_verified_with_tls_1_2_at_least() -> None:
    context = verifying_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def say_last(peer: Peer, data: bytes) -> None:
    """Have `data` and TLS's farewell come in one piece, on a connection that stays."""
    assert isinstance(peer.sock, TlsEnd)
    peer.sock.say_last(data)


def wait_for_end(peer: Peer) -> None:
    """Block until we are gone, whether or not with the farewell."""
    with suppress(ConnectionError, ssl.SSLEOFError):
        peer.read_to_end()


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\nwhole"], b"whole"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"whole"], b"whole"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"who", b"le"], b"whole"),
        ([b"HTTP/1.1 200", b" OK\r\nConnection: close\r\n\r\nwhole"], b"whole"),
        ([CHUNKED_HEAD, b"5\r\nwhole\r\n0\r\n\r\n"], b"5\r\nwhole\r\n0\r\n\r\n"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5_000_000], b"x" * 5_000_000),
    ],
    ids=[
        "one piece",
        "head first",
        "within the body",
        "within the head",
        "chunked",
        "more than a client takes at once",
    ],
)
def test_an_end_that_comes_with_the_last_data_is_seen(pieces: list[bytes], answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        for piece in pieces[:-1]:
            peer.send(piece)
            assert go_on.wait(DEADLINE)
        say_last(peer, pieces[-1])
        wait_for_end(peer)

    go_on = threading.Event()
    with World(script, upstream_context=trusted_upstream()) as world, world.connect() as client:
        client.send(chat(version=b"1.1" if answer.startswith(b"5") else b"1.0"))
        if len(pieces) > 1 and b"\r\n\r\n" in pieces[0]:
            client.read_until(b"\r\n\r\n")
        go_on.set()
        if answer.startswith(b"5"):
            client.read_until(answer)
        else:
            assert client.read_to_end().endswith(answer)


def test_an_end_that_comes_within_the_head_is_a_bad_gateway() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        say_last(peer, b"HTTP/1.1 200 OK\r\n")
        wait_for_end(peer)

    with World(script, upstream_context=trusted_upstream()) as world:
        assert world.ask(chat())[0].startswith(b"HTTP/1.1 502 ")


def test_an_answer_that_ends_without_the_farewell_is_cut() -> None:
    seen = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        assert seen.wait(DEADLINE)

    with World(script, upstream_context=trusted_upstream()) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"half")
        seen.set()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


def idle_count(world: World) -> int:
    return world.loop.ask(lambda: world.app.pool.idle_count(1))


MODELS = """
models:
  m:
    cmd: server
    proxy: PROXY
    timeouts: {idleConn: 1}
"""


@pytest.mark.slow
def test_an_idle_connection_is_closed_after_its_time() -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        wait_for_end(peer)
        ended.set()

    ended = threading.Event()
    with World(script, upstream_context=trusted_upstream(), config=MODELS) as world:
        assert world.ask(chat())[1] == b"ok"
        assert ended.wait(DEADLINE)
        assert idle_count(world) == 0


def test_an_idle_connection_that_its_upstream_ends_is_not_used_again() -> None:
    said = threading.Event()

    def ends(peer: Peer) -> None:
        peer.read_message()
        peer.send(OK)
        say_last(peer, b"")
        wait_for_end(peer)
        said.set()

    with World(ends, answers(sized(b"second")), upstream_context=trusted_upstream()) as world:
        assert world.ask(chat())[1] == b"ok"
        assert said.wait(DEADLINE)
        assert idle_count(world) == 0
        assert world.ask(chat())[1] == b"second"
