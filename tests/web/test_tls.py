"""TLS for clients: what holds for plain connections holds behind it, and no handshake stops anybody else."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.connection import ClientConnection
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import TlsEnd, issue, trusted_upstream, trusting
from tests.web.upstreams import LeapingClock
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, FakeQueue, Peer, Script, World, answers, chat, get, sized

Stream = TypeVar("Stream", bound=TlsStream)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


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


def test_body_that_is_put_aside_while_more_of_it_comes_arrives_whole(certificate: Certificate) -> None:
    body = b'{"model":"m","x":"%b"}' % b"".join(b"%07d " % number for number in range(100_000))

    def script(peer: Peer) -> None:
        assert peer.read_message()[1] == body
        peer.send(OK)

    limits = Limits(memory_body_bytes=1000)
    with World(script, certificate=certificate, limits=limits) as world, talk(world) as client:
        client.send(chat(body))
        assert client.read_message()[1] == b"ok"


def test_client_that_leaves_ends_the_upstreams_work(certificate: Certificate) -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        peer.wait_for_hang_up()
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
            bad.wait_for_hang_up()
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
        client.read_until(b"\r\n\r\n")
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


def small_client(world: World) -> Peer:
    """A client with little room on the way to it, that can say TLS's farewell and stay."""
    world.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5_000)  # what it accepts inherits it
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5_000)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # loopback's are as large as all that room
    plain.settimeout(DEADLINE)
    plain.connect(world.server.address)
    return Peer(TlsEnd(plain, trusting(), "localhost"))


def precise(world: World) -> TlsEnd:
    """A client that can say TLS's farewell and stay."""
    return TlsEnd(socket.create_connection(world.server.address, DEADLINE), trusting(), "localhost")


def say_farewell(client: TlsEnd) -> None:
    client.say_last(b"")


def reset(client: TlsEnd) -> None:
    Peer(client).reset()


class Queue(FakeQueue):
    """One that tells that somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waited_for = threading.Event()

    def fileno(self) -> int:
        self.is_waited_for.set()
        return super().fileno()


def wait_until(condition: Callable[[], object], world: World) -> None:
    """Block until the loop finds it true."""
    pause, deadline = threading.Event(), time.monotonic() + DEADLINE
    while not world.loop.ask(condition):
        assert time.monotonic() < deadline, "it does not come true"
        pause.wait(0.01)


def is_read_ahead(world: World, data: bytes) -> bool:
    """Whether the server holds `data` of its only client."""
    [connection] = world.server.table.all()
    assert isinstance(connection.stream, TlsStream)
    return connection.requests._received + connection.stream.ahead == data


LEAVING = pytest.mark.parametrize(
    "leave",
    [
        say_farewell,
        reset,
        lambda client: client.shutdown(socket.SHUT_WR),
        lambda client: socket.socket.shutdown(client, socket.SHUT_WR),
        lambda client: client.say_last(get("/health")),
    ],
    ids=["farewell", "reset", "farewell and end", "end", "farewell behind another request"],
)


@LEAVING
def test_client_that_leaves_while_the_upstream_thinks_ends_its_work(
    certificate: Certificate, leave: Callable[[TlsEnd], None]
) -> None:
    heard = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        heard.set()
        peer.wait_for_hang_up()

    with World(script, certificate=certificate) as world, precise(world) as client:
        client.sendall(chat())
        assert heard.wait(DEADLINE)
        leave(client)
        world.controller.wait_empty()


@LEAVING
def test_client_that_leaves_while_it_waits_for_a_model_waits_no_more(
    certificate: Certificate, leave: Callable[[TlsEnd], None]
) -> None:
    with World(certificate=certificate) as world, precise(world) as client:
        world.controller.waiting = queue = Queue()
        client.sendall(chat())
        client.sendall(get("/health"))  # that another request has come makes no difference
        assert queue.is_waited_for.wait(DEADLINE)
        leave(client)
        world.wait_for_log("POST /v1/chat/completions")
        assert world.upstream.accepted == 0
    queue.is_over.close()


@LEAVING
def test_client_that_leaves_while_nothing_of_a_stream_comes_ends_it(
    certificate: Certificate, leave: Callable[[TlsEnd], None]
) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"3\r\none\r\n")
        peer.wait_for_hang_up()

    with World(script, certificate=certificate) as world, precise(world) as client:
        client.sendall(chat())
        Peer(client).read_until(b"3\r\none\r\n")
        leave(client)
        world.controller.wait_empty()


@LEAVING
def test_client_that_leaves_while_it_takes_nothing_ends_the_stream(
    certificate: Certificate, leave: Callable[[TlsEnd], None]
) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD)
        try:
            while True:
                peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            pass

    with World(script, certificate=certificate) as world, precise(world) as client:
        client.sendall(chat())
        wait_until(lambda: len(world.server.table._stalled) == 1, world)
        leave(client)
        world.controller.wait_empty()


def test_request_that_comes_with_the_last_of_the_handshake_is_served(certificate: Certificate) -> None:
    with World(certificate=certificate) as world:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with world.connect() as client:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.send(outgoing.read())
                    incoming.write(client.sock.recv(65_536))
            tls.write(get("/health"))
            client.send(outgoing.read())
            answer = b""
            while not answer.endswith(b"OK"):
                incoming.write(client.sock.recv(65_536))
                try:
                    answer += tls.read(65_536)
                except ssl.SSLWantReadError:
                    pass
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_client_that_left_before_it_was_accepted_keeps_nobody_out(certificate: Certificate) -> None:
    go_on = threading.Event()
    with World(certificate=certificate) as world:
        world.loop.call(go_on.wait, DEADLINE)
        for leave in (Peer.reset, Peer.close):
            early = world.connect()
            early.send(b"GET / HTTP/1.1\r\n\r\n")
            leave(early)
        go_on.set()
        with talk(world) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        assert "Traceback" not in world.log


def test_request_that_comes_with_the_farewell_is_answered_where_that_takes_no_time(certificate: Certificate) -> None:
    with World(certificate=certificate) as world, precise(world) as client:
        client.say_last(get("/health"))
        assert Peer(client).read_to_end().endswith(b"OK")


def test_requests_to_us_that_come_with_the_farewell_are_answered(certificate: Certificate) -> None:
    with World(certificate=certificate) as world, precise(world) as client:
        client.say_last(get("/running") + get("/v1/models") + get("/logs"))
        peer = Peer(client)
        assert [peer.read_message()[0][9:12] for _ in range(3)] == [b"200"] * 3
        assert peer.read_to_end() == b""


@pytest.mark.parametrize("quick_count", [0, 31, 32, 70])
def test_request_that_comes_with_the_farewell_ends_where_it_has_to_wait(
    certificate: Certificate, quick_count: int
) -> None:
    def script(peer: Peer) -> None:
        peer.wait_for_hang_up()

    with World(script, certificate=certificate) as world, precise(world) as client:
        client.say_last(get("/health") * quick_count + chat())
        peer = Peer(client)
        assert [peer.read_message()[1] for _ in range(quick_count)] == [b"OK"] * quick_count
        with pytest.raises(OSError, match=r"reset|EOF"):
            peer.read_to_end()
        world.controller.wait_empty()


def test_body_that_breaks_off_with_the_farewell_is_not_waited_for(certificate: Certificate) -> None:
    with World(certificate=certificate) as world, precise(world) as client:
        client.say_last(chat()[:-1])
        assert Peer(client).read_to_end() == b""


def test_handshake_has_its_time(certificate: Certificate) -> None:
    limits = Limits(handshake_timeout=0.1)
    with World(certificate=certificate, limits=limits) as world, world.connect() as silent:
        assert silent.read_to_end() == b""


def test_client_that_is_closed_before_its_handshake_hears_why(certificate: Certificate) -> None:
    with World(certificate=certificate, limits=Limits(connections=1)) as world:
        first = socket.create_connection(world.server.address, DEADLINE)
        with talk(world) as client:
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
            with TlsEnd(first, trusting(), "localhost") as late:
                assert Peer(late).read_to_end().startswith(b"HTTP/1.1 503 ")


def test_newcomer_hears_that_the_server_ends(certificate: Certificate) -> None:
    with World(certificate=certificate) as world:
        world.server.begin_stop()
        with talk(world) as late:
            assert b"the server is shutting down" in late.read_to_end()


def test_newcomer_who_is_turned_away_and_does_not_shake_hands_is_given_up(certificate: Certificate) -> None:
    with World(certificate=certificate, limits=Limits(handshake_timeout=0.1)) as world:
        world.server.begin_stop()
        with world.connect() as silent:
            assert silent.read_to_end() == b""


def test_client_that_stays_after_the_farewell_is_not_waited_for_long(certificate: Certificate) -> None:
    script = answers(b"HTTP/1.1 200 OK\r\n\r\nwhole")
    limits = Limits(linger_timeout=0.1)
    with World(script, certificate=certificate, limits=limits) as world, precise(world) as client:
        client.sendall(chat())
        assert Peer(client).read_to_end().endswith(b"whole")
        wait_until(lambda: not world.server.lingering, world)


def test_connection_that_was_idle_for_too_long_ends_with_the_farewell(certificate: Certificate) -> None:
    clock, limits = LeapingClock(), Limits(idle_timeout=1_000.0)
    with World(certificate=certificate, limits=limits, clock=clock) as world, talk(world) as client:
        client.send(get("/health"))
        client.read_message()
        clock.leap(world, 1_000.0)
        assert client.read_to_end() == b""


def test_client_that_takes_nothing_of_the_last_bytes_is_given_up(certificate: Certificate) -> None:
    limits = Limits(write_timeout=0.2, linger_timeout=0.1)

    def script(peer: Peer) -> None:
        peer.read_message()
        with suppress(OSError):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000)

    with World(script, certificate=certificate, limits=limits) as world, small_client(world) as client:
        client.send(chat())
        client.read_until(b"\r\n\r\n")
        world.controller.wait_empty()
        wait_until(lambda: not world.server.lingering and not world.server.table, world)
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.read_to_end()


class Reluctant(TlsStream):
    """One whose client has no room for the farewell at first."""

    refusals = 0

    def shutdown(self, how: int) -> None:
        if self.refusals < 3:
            self.refusals += 1
            raise BlockingIOError
        super().shutdown(how)


class Partial(TlsStream):
    """One whose client takes what it is sent in some steps."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock, context)
        self.dues: list[float] = []  # when it would have been given up, as of each step
        self.when_due: Callable[[], float] = lambda: math.inf

    def send(self, data: Any, flags: int = 0) -> int:
        if len(self.dues) < 5:
            self.dues.append(self.when_due())
            raise BlockingIOError
        return super().send(data, flags)


@contextmanager
def served_over(
    kind: type[Stream], certificate: Certificate, script: Script
) -> Iterator[tuple[Stream, ClientConnection, TlsEnd]]:
    """A stream of that kind, the server's connection over it, and its client."""
    with World(script, certificate=certificate) as world, socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname(), DEADLINE)
        stream = kind(listener.accept()[0], certificate.context())
        connection = ClientConnection(world.server, world.loop, stream, "127.0.0.1")
        world.loop.ask(connection.begin)
        with TlsEnd(plain, trusting(), "localhost") as client:
            yield stream, connection, client


def test_farewell_waits_for_room(certificate: Certificate) -> None:
    script = answers(b"HTTP/1.1 200 OK\r\n\r\nwhole")
    with served_over(Reluctant, certificate, script) as (stream, _, client):
        client.sendall(chat())
        assert Peer(client).read_to_end().endswith(b"whole")
        assert stream.refusals == 3


def test_client_that_takes_a_part_of_a_piece_gets_more_time(certificate: Certificate) -> None:
    with served_over(Partial, certificate, answers(OK)) as (stream, connection, client):
        stream.when_due = lambda: connection.timer.at
        client.sendall(chat())
        assert Peer(client).read_message()[1] == b"ok"
        dues = [due for due in stream.dues if due < math.inf]
        assert len(dues) == 3  # it was tried twice before it was waited for
        assert dues == sorted(set(dues))


@pytest.mark.parametrize("is_secure", [False, True])
def test_end_of_the_server_resets_both_sides_of_an_upgraded_connection(
    certificate: Certificate, is_secure: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(SWITCH)
        with pytest.raises(ConnectionResetError):
            peer.read_to_end()

    upgrade = get("/upstream/m/ws", extra=b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
    context = trusted_upstream() if is_secure else None
    with (
        World(script, certificate=certificate if is_secure else None, upstream_context=context) as world,
        precise(world) if is_secure else world.connect().sock as client,
    ):
        client.sendall(upgrade)
        Peer(client).read_until(b"\r\n\r\n")
        assert world.server.abort(grace=DEADLINE)
        with pytest.raises(ConnectionResetError):
            Peer(client).read_to_end()


def test_what_comes_ahead_of_a_switch_of_protocols_is_passed_on_in_order(certificate: Certificate) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        assert go_on.wait(DEADLINE)
        peer.send(SWITCH)
        assert peer.read_to_end() == b"one two three"
        peer.send(b"heard")

    upgrade = get("/upstream/m/ws", extra=b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
    with World(script, certificate=certificate) as world, precise(world) as client:
        client.sendall(upgrade + b"one ")
        client.sendall(b"two ")
        wait_until(lambda: is_read_ahead(world, b"one two "), world)
        go_on.set()
        Peer(client).read_until(b"\r\n\r\n")
        client.sendall(b"three")
        client.shutdown(socket.SHUT_WR)
        assert Peer(client).read_to_end() == b"heard"


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
        peer.wait_for_hang_up()

    with World(script, certificate=certificate, limits=Limits(connections=1)) as world, talk(world) as busy:
        busy.send(chat())
        busy.read_until(b"\r\n\r\n")
        with talk(world) as late:
            assert late.read_to_end().startswith(b"HTTP/1.1 503 ")


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
        peer.wait_for_hang_up()

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
        assert world.server.abort(grace=DEADLINE)
        with pytest.raises(OSError, match=r"reset|EOF"):
            client.read_to_end()
