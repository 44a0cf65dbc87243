"""The end of a connection: a client that still sends gets all of its answer, and holds nobody up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llamaswap_lib.server.limits import Limits
from tests.web.certificates import TlsEnd, issue, trusting
from tests.web.world import DEADLINE, Peer, World, answers, chat, get, sized

LARGE = b"x" * 900_000
CLOSE = b"Connection: close\r\n"
STRAY = {
    "a-stray-line-end": b"\r\n",
    "a-pipelined-request": get("/health"),
    "much": b"y" * 300_000,
}


def wait_until(world: World, count: tuple[int, int]) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE / 0.01)):
        if world.server.count() == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"there are {world.server.count()} connections")


def send_for_ever(client: Peer) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE / 0.01)):
        client.send(b"\r\n")
        pause.wait(0.01)


def read_slowly(client: Peer) -> bytes:
    """All that comes, 8 KB at a time, with a pause after each for what may break meanwhile."""
    pause, pieces = threading.Event(), []
    while data := client.sock.recv(8192):
        pieces.append(data)
        pause.wait(0.0005)
    return b"".join(pieces)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_all_of_an_answer_arrives_whatever_the_client_sent_behind_its_request(stray: bytes) -> None:
    with World(answers(sized(LARGE))) as world, world.connect() as client:
        client.send(chat(extra=CLOSE) + stray)
        assert read_slowly(client).endswith(LARGE)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_all_of_an_answer_arrives_if_something_is_sent_while_it_is_read(stray: bytes) -> None:
    with World(answers(sized(LARGE))) as world, world.connect() as client:
        client.send(chat(extra=CLOSE))
        client.read_until(b"\r\n\r\n")
        wait_until(world, (0, 0))
        client.send(stray)
        assert len(client.rest) + len(read_slowly(client)) == len(LARGE)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_all_of_a_stream_arrives_that_was_passed_on(stray: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = b"%x\r\n%b\r\n" % (len(LARGE), LARGE) + b"0\r\n\r\n"
    with World(answers(head + stream)) as world, world.connect() as client:
        client.send(get("/health"))
        client.read_message()
        client.send(chat(extra=CLOSE) + stray)
        assert read_slowly(client).endswith(stream)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
def test_all_of_an_answer_arrives_through_tls(tmp_path: Path, stray: bytes) -> None:
    with World(answers(sized(LARGE)), certificate=issue(tmp_path)) as world, world.connect() as plain:
        plain.sock.settimeout(DEADLINE)
        with Peer(TlsEnd(plain.sock, trusting(), "localhost")) as client:
            client.send(chat(extra=CLOSE) + stray)
            got = b""
            while data := client.sock.recv(8192):
                got += data
            assert got.endswith(LARGE)


def test_a_refused_body_that_goes_on_for_long_does_not_hide_the_refusal() -> None:
    limits = Limits(max_body_bytes=1_000_000, linger_timeout=DEADLINE)
    with World(limits=limits) as world, world.connect() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
        for _ in range(300):
            client.send(b"z" * 100_000)
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 413")
        client.read_to_end()
        wait_until(world, (0, 0))


@pytest.mark.slow
def test_who_is_turned_away_gets_to_see_it_though_its_request_was_not_read() -> None:
    asked = threading.Event()

    def thinks(peer: Peer) -> None:
        peer.read_message()
        asked.set()
        peer.wait_for_hang_up()

    with World(thinks, limits=Limits(connections=1)) as world, world.connect() as busy:
        busy.send(chat())
        assert asked.wait(DEADLINE)
        for _ in range(20):
            with world.connect() as client:
                client.send(chat(b'{"model":"m","x":"' + b"w" * 100_000 + b'"}'))
                assert client.read_to_end().startswith(b"HTTP/1.1 503")


def test_a_client_that_never_closes_is_closed_after_a_while() -> None:
    with World(answers(sized(b"ok")), limits=Limits(linger_timeout=0.1)) as world, world.connect() as client:
        client.send(chat(extra=CLOSE) + b"\r\n")
        assert client.read_to_end().endswith(b"ok")
        with pytest.raises(ConnectionError):  # it is nobody's any more, which a sender is told
            send_for_ever(client)


def test_an_answer_that_broke_off_still_ends_with_a_reset() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"  # ends where its connection does

    def breaks(peer: Peer) -> None:
        peer.read_message()
        peer.send(head + b"begun")
        peer.reset()

    with World(breaks) as world, world.connect() as client:
        client.send(chat(extra=CLOSE) + b"\r\n")
        with pytest.raises(ConnectionResetError):
            client.read_to_end()


def test_closing_what_is_read_costs_no_wait() -> None:
    with World(answers(sized(b"ok")), limits=Limits(linger_timeout=DEADLINE)) as world, world.connect() as client:
        client.send(chat(extra=CLOSE))
        assert client.read_to_end().endswith(b"ok")
        wait_until(world, (0, 0))
