"""TLS for clients: what holds for plain connections holds behind it, and no handshake stops anybody else."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.net import bridge
from llamaswap_lib.net.sockets import PlainEnd
from llamaswap_lib.net.tls_stream import TlsSocket
from llamaswap_lib.server import certificate as tls
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import issue, trusting
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, Script, World, answers, chat, get, sized


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


def test_certificates_that_cannot_be_used_are_an_error_that_names_them(tmp_path: Path) -> None:
    issue(tmp_path)
    (tmp_path / "other").mkdir()
    issue(tmp_path / "other")
    for certificate, key in (("missing.pem", "key.pem"), ("key.pem", "key.pem"), ("certificate.pem", "other/key.pem")):
        with pytest.raises(ConfigError, match=certificate):
            Certificate(tmp_path / certificate, tmp_path / key)


class Faulty(bridge.Bridge):
    def move(self) -> None:
        raise RuntimeError("a fault of ours")


def test_a_fault_of_ours_ends_connections_and_not_the_service(certificate: Certificate) -> None:
    faults: list[str] = []
    front = tls.TlsFront(certificate, faults.append)
    ours, theirs = socket.socketpair()
    plain, plain_end = socket.socketpair()
    tls_socket = TlsSocket(ours, certificate.context())
    served = PlainEnd(fileno=plain_end.detach())
    front._arrivals.append(Faulty(tls_socket, plain, served, bridge.Patience()))
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


@contextmanager
def fronted(
    certificate: Certificate, patience: bridge.Patience
) -> Iterator[tuple[bridge.Bridge, ssl.SSLSocket, PlainEnd]]:
    """One bridge with little room on the way to the client, that client, and the plain end at the other side."""
    faults: list[str] = []
    front = tls.TlsFront(certificate, faults.append, patience)
    front.start()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as plain:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)  # what it accepts inherits it
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # loopback's are as large as all that room
        plain.settimeout(DEADLINE)
        plain.connect(listener.getsockname())
        with (
            front.adopt(listener.accept()[0]) as end,
            trusting().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client,
        ):
            end.settimeout(DEADLINE)
            client.sendall(b"hello")
            assert end.recv(100) == b"hello"
            [crossed] = front._bridges
            try:
                yield crossed, client, end
            finally:
                front.stop()
    assert faults == []


def fill(end: PlainEnd, seconds: float) -> int:
    """Send until nothing was taken for `seconds`; how many bytes were."""
    end.settimeout(seconds)
    sent_bytes = 0
    try:
        while True:
            sent_bytes += end.send(b"x" * 65_536)
    except TimeoutError:
        end.settimeout(DEADLINE)
        return sent_bytes


def wait_for_end(crossed: bridge.Bridge) -> None:
    pause, deadline = threading.Event(), time.monotonic() + DEADLINE
    while crossed.tls.fileno() >= 0 or crossed.plain.fileno() >= 0:
        assert time.monotonic() < deadline, "its descriptors are still open"
        pause.wait(0.01)


def test_client_that_takes_nothing_of_what_is_left_for_it_costs_nothing_in_the_end(certificate: Certificate) -> None:
    with fronted(certificate, bridge.Patience(farewell_timeout=0.1)) as (crossed, _, end):
        fill(end, 0.3)
        end.close()
        wait_for_end(crossed)


def test_client_that_takes_nothing_for_a_while_is_waited_for_while_it_is_served(certificate: Certificate) -> None:
    with fronted(certificate, bridge.Patience(farewell_timeout=0.2)) as (crossed, client, end):
        sent_bytes = fill(end, 0.5)
        end.shutdown(socket.SHUT_WR)
        assert len(Peer(client).read_to_end()) == sent_bytes
        client.close()
        wait_for_end(crossed)


@pytest.mark.slow
def test_slow_client_gets_all_that_is_left_for_it(certificate: Certificate) -> None:
    with fronted(certificate, bridge.Patience(farewell_timeout=0.8)) as (crossed, client, end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        filled_bytes = fill(end, 0.2)
        end.close()
        peer, pause = Peer(client), threading.Event()
        for _ in range(14):  # longer than the bound in all, and never so long without a byte
            peer.read(filled_bytes // 20)
            pause.wait(0.1)
        assert len(peer.read_to_end()) == filled_bytes - 14 * (filled_bytes // 20)
        wait_for_end(crossed)


def test_refusal_is_heard_by_a_client_that_goes_on_sending(certificate: Certificate) -> None:
    limits = Limits(max_body_bytes=1000, linger_timeout=DEADLINE)
    with World(certificate=certificate, limits=limits) as world, talk(world) as client:
        client.send(chat(b"x" * 5_000_000))
        assert client.read_to_end().startswith(b"HTTP/1.1 413 ")


@pytest.mark.slow
def test_newcomer_who_is_turned_away_hears_why(certificate: Certificate) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD)
        peer.seconds_to_hang_up()

    with World(script, certificate=certificate, limits=Limits(connections=1)) as world, talk(world) as busy:
        busy.send(chat())
        busy.read_until(b"\r\n\r\n")
        with talk(world) as late:
            assert late.read_to_end().startswith(b"HTTP/1.1 503 ")


def test_half_closed_plain_end_still_gets_what_the_client_sends(certificate: Certificate) -> None:
    with fronted(certificate, bridge.Patience()) as (crossed, client, end):
        end.sendall(b"refused")
        end.shutdown(socket.SHUT_WR)
        assert Peer(client).read_to_end() == b"refused"
        sender = threading.Thread(target=client.sendall, args=(b"x" * 5_000_000,))
        sender.start()
        assert Peer(end).read(5_000_000) == b"x" * 5_000_000
        sender.join(DEADLINE)
        assert crossed.tls.fileno() >= 0
        client.close()
        assert end.recv(1) == b""
        wait_for_end(crossed)


@pytest.mark.slow
def test_client_that_does_not_end_after_the_farewell_goes_with_its_thread(certificate: Certificate) -> None:
    with fronted(certificate, bridge.Patience()) as (crossed, client, end):
        end.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        end.close()
        wait_for_end(crossed)


@pytest.mark.slow
def test_what_was_on_its_way_as_the_farewell_was_said_is_not_lost(certificate: Certificate) -> None:
    for size in (1, 100, 300_000):
        with fronted(certificate, bridge.Patience()) as (_, client, end):
            sender = threading.Thread(target=client.sendall, args=(b"x" * size,))
            sender.start()
            end.shutdown(socket.SHUT_WR)
            assert Peer(end).read(size) == b"x" * size
            sender.join(DEADLINE)
            assert client.recv(1) == b""


@contextmanager
def asked(script: Script, certificate: Certificate | None, version: bytes) -> Iterator[tuple[World, Peer]]:
    """A world, with TLS or without, and a client that has asked."""
    with World(script, certificate=certificate) as world, talk(world) if certificate else world.connect() as client:
        client.send(chat(version=version))
        yield world, client


@pytest.mark.parametrize("is_secure", [False, True])
def test_answer_that_the_end_of_the_server_breaks_off_does_not_look_whole(
    certificate: Certificate, is_secure: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        peer.seconds_to_hang_up()

    with asked(script, certificate if is_secure else None, b"1.0") as (world, client):
        client.read_until(b"half")
        world.server.begin_stop()
        assert world.server.abort(grace=DEADLINE)
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.read_to_end()


@pytest.mark.parametrize("is_secure", [False, True])
def test_client_that_takes_nothing_does_not_keep_the_server_from_ending(
    certificate: Certificate, is_secure: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        try:
            peer.send(sized(b"x" * 60_000_000))
        except OSError:
            pass

    with asked(script, certificate if is_secure else None, b"1.1") as (world, client):
        client.read_until(b"xxx")
        world.server.begin_stop()
        assert not world.server.wait_idle(0.3)
        assert world.server.abort(grace=1)
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.read_to_end()
