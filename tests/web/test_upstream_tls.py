"""TLS sockets behave as the relay expects of sockets, and nobody is trusted without a certificate."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from llamaswap_lib.net.upstream_tls import prepared, secure, verifying_context
from tests.web.world import DEADLINE


class Link:
    """Two ends of a connection: `near` is ours, `far` a blocking TLS server."""

    def __init__(self, *, name: str = "peer.test", is_trusted: bool = True) -> None:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("peer.test").configure_cert(server)
        client = ssl.create_default_context()
        if is_trusted:
            authority.configure_trust(client)
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
        secure(ours, "peer.test", 0.05, prepared(ssl.create_default_context()))
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with theirs, pytest.raises(ConnectionError, match="no TLS connection: "):
        secure(ours, "peer.test", DEADLINE, prepared(ssl.create_default_context()))


def test_everybody_else_is_verified_with_tls_1_2_at_least() -> None:
    context = verifying_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
