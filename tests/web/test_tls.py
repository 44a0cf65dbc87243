"""TLS for clients: what holds for plain connections holds behind it, and no handshake stops anybody else."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.web import tls
from llamaswap_lib.web.app import Limits
from llamaswap_lib.web.sockets import PlainEnd
from llamaswap_lib.web.tls import Certificate
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, answers, chat, get

AUTHORITY = trustme.CA()


def issue(folder: Path, name: str = "localhost", authority: trustme.CA = AUTHORITY) -> Certificate:
    """A certificate for `name`, in files in `folder`."""
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return Certificate(folder / "certificate.pem", folder / "key.pem")


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@contextmanager
def talk(world: World, context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A client that demands TLS's farewell at the end."""
    plain = socket.create_connection(world.server.address, DEADLINE)
    with (
        (context or trusting()).wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as sock,
        Peer(sock) as peer,
    ):
        yield peer


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return issue(tmp_path)


def test_requests_are_served_one_after_the_other(certificate: Certificate) -> None:
    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.read_message()
            peer.send(OK)

    with World(script, certificate=certificate) as world, talk(world) as client:
        for _ in range(3):
            client.send(chat())
            assert client.read_message()[1] == b"ok"


def test_stream_arrives_piece_by_piece(certificate: Certificate) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        assert go_on.wait(DEADLINE)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    with World(script, certificate=certificate) as world, talk(world) as client:
        client.send(chat())
        client.read_until(b"3\r\none\r\n")
        go_on.set()
        client.read_until(b"3\r\ntwo\r\n0\r\n\r\n")


def test_big_bodies_pass_both_ways(certificate: Certificate) -> None:
    body = b'{"model":"m","x":"%b"}' % (b"x" * 3_000_000)

    def script(peer: Peer) -> None:
        assert peer.read_message()[1] == body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"y" * 5_000_000)

    with World(script, certificate=certificate) as world, talk(world) as client:
        client.send(chat(body))
        assert client.read_message()[1] == b"y" * 5_000_000


def test_client_that_leaves_ends_the_upstreams_work(certificate: Certificate) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        peer.seconds_to_hang_up()
        gone.set()

    with World(script, certificate=certificate) as world:
        with talk(world) as client:
            client.send(chat())
            client.read_until(b"3\r\none\r\n")
        assert gone.wait(DEADLINE)
        world.controller.wait_empty()


def test_answer_that_breaks_off_does_not_end_like_a_whole_one(certificate: Certificate) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")

    seen = threading.Event()

    def endless(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        assert seen.wait(DEADLINE)
        peer.reset()

    with World(script, certificate=certificate) as world, talk(world) as client:
        client.send(chat())
        client.read_until(b"half")
        assert client.read_to_end() == b""  # Content-Length shows it
    with World(endless, certificate=certificate) as world, talk(world) as client:
        client.send(chat())
        client.read_until(b"half")
        seen.set()
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.read_to_end()


def test_whole_answer_until_close_ends_with_the_farewell(certificate: Certificate) -> None:
    with World(answers(b"HTTP/1.1 200 OK\r\n\r\nwhole"), certificate=certificate) as world, talk(world) as client:
        client.send(chat())
        assert client.read_to_end().endswith(b"whole")


def test_plain_http_is_told_what_to_speak(certificate: Certificate) -> None:
    with World(certificate=certificate) as world, world.connect() as client:
        client.send(get("/health"))
        answer = client.read_until(b"plain HTTP.\n")
        assert answer.startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b"SSH-2.0-OpenSSH_9\r\n"])
def test_rubbish_in_place_of_a_handshake_ends_that_connection_only(certificate: Certificate, rubbish: bytes) -> None:
    with World(certificate=certificate) as world:
        with world.connect() as bad:
            bad.send(rubbish)
            bad.seconds_to_hang_up()
        with talk(world) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"


def test_handshake_that_does_not_come_stops_nobody_and_is_given_up(certificate: Certificate) -> None:
    with World(certificate=certificate) as world, world.connect() as silent:
        with talk(world) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        world.server.begin_stop()
        assert silent.read_to_end() == b""


def test_old_protocols_are_refused(certificate: Certificate) -> None:
    context = trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        World(certificate=certificate) as world,
        pytest.raises(OSError, match=r"alert|EOF|reset|version"),
        talk(world, context),
    ):
        pass


def test_client_that_takes_nothing_is_given_up(certificate: Certificate) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD)
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            while True:
                peer.send(piece)
        except OSError:
            pass

    with World(script, certificate=certificate, limits=Limits(write_timeout=0.3)) as world, talk(world) as client:
        client.send(chat())
        world.controller.wait_empty()


def test_renewed_certificate_is_used_from_the_next_handshake_on(tmp_path: Path) -> None:
    other = trustme.CA()
    with World(certificate=issue(tmp_path)) as world:
        with talk(world) as client:
            client.send(get("/health"))
            client.read_message()
        issue(tmp_path, authority=other)
        with talk(world, trusting(other)) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        (tmp_path / "key.pem").write_text("half written")
        with talk(world, trusting(other)) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"


def test_certificates_that_can_not_be_used_are_an_error_that_names_them(tmp_path: Path) -> None:
    issue(tmp_path)
    (tmp_path / "other").mkdir()
    issue(tmp_path / "other")
    for certificate, key in (("missing.pem", "key.pem"), ("key.pem", "key.pem"), ("certificate.pem", "other/key.pem")):
        with pytest.raises(ConfigError, match=certificate):
            Certificate(tmp_path / certificate, tmp_path / key)


class Faulty(tls._Bridge):
    def move(self) -> None:
        raise RuntimeError("a fault of ours")


def test_a_fault_of_ours_ends_connections_and_not_the_service(certificate: Certificate) -> None:
    faults: list[str] = []
    front = tls.TlsFront(certificate, faults.append)
    ours, theirs = socket.socketpair()
    plain, plain_end = socket.socketpair()
    tls_socket = certificate.context().wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    served = PlainEnd(fileno=plain_end.detach())
    front._arrivals.append(Faulty(tls_socket, plain, served))
    front._wakeup.set()
    front.start()
    try:
        theirs.settimeout(DEADLINE)
        assert theirs.recv(1) == b""
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as client,
            front.adopt(listener.accept()[0]) as end,
        ):
            client.close()
            end.settimeout(DEADLINE)
            assert end.recv(1) == b""
    finally:
        front.stop()
        theirs.close()
        served.close()
    assert "a fault of ours" in faults[0]
