"""Answers of a model's own server that are not strict HTTP: what the client gets of them, and where that ends.

That a later request gets the same as a first one: see `ANSWERS` in test_life.py.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import h11
import pytest

from tests.web.certificates import trusted_upstream
from tests.web.fuzz_lenient import SLIPS, client_reading, try_lenient_answer
from tests.web.mutations import cut, mutate, random_of
from tests.web.test_loading import STREAM, Loading
from tests.web.test_upgrade import ASKED
from tests.web.world import CHUNKED_HEAD, DEADLINE, OK, Peer, World, answers, chat, get, sized

LOOSE_HEAD = b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
LOOSE_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n"
STRICT_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


def see_the_end(peer: Peer) -> None:
    """Block until we hang up, in whatever way."""
    with suppress(ConnectionError, ssl.SSLError):
        peer.read_to_end()


def stays_open(*pieces: bytes) -> Callable[[Peer], None]:
    """A script: one request is answered, and the connection kept until we close it."""

    def script(peer: Peer) -> None:
        peer.read_message()
        for piece in pieces:
            peer.send(piece)
        see_the_end(peer)

    return script


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (LOOSE_HEAD, OK),
        (sized(b"ok", b"Content-Length: 2\r\n"), OK),
        (sized(b"ok", b"X: a\r\n b\r\n"), sized(b"ok", b"X: a b\r\n")),
        (LOOSE_CHUNKS, STRICT_CHUNKS),
        (LOOSE_CHUNKS.replace(b"Transfer", b"Content-Length: 7\r\nTransfer"), STRICT_CHUNKS),
        (STRICT_CHUNKS.replace(b"HTTP/1.1", b"HTTP/1.0"), STRICT_CHUNKS),
        (b"HTTP/1.1 204 No Content\nContent-Length: 0\n\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\n\n" + OK, OK),
    ],
)
def test_it_is_sent_on_strictly_and_its_connection_is_not_used_again(answer: bytes, expected: bytes) -> None:
    with World(stays_open(answer), answers(OK)) as world, world.connect() as client:
        client.send(chat())
        assert client.read(len(expected)) == expected
        client.send(chat())  # the client's own connection stays
        assert client.read(len(OK)) == OK
        assert world.upstream.accepted == 2


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_slip_in_the_middle_of_a_stream_changes_nothing_before_it(secure: bool, is_early: bool) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(CHUNKED_HEAD + b"05;x\r\nhel" + (b"lo\r\n" if is_early else b"lo\r\n3"))
        assert go_on.wait(DEADLINE)
        peer.send((b"3" if is_early else b"") + b" \nyou\n0\n\n")
        see_the_end(peer)

    context = trusted_upstream() if secure else None
    with World(script, answers(OK), upstream_context=context) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"\r\n\r\n")
        assert client.read(12) == b"05;x\r\nhello\r"
        go_on.set()
        assert client.read(14) == b"\n3\r\nyou\r\n0\r\n\r\n"
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert world.upstream.accepted == 2


def test_a_body_whose_last_chunk_is_the_last_that_comes_is_whole() -> None:
    with World(answers(CHUNKED_HEAD + b"2\r\nok\r\n0\r\n"), answers(OK)) as world, world.connect() as client:
        client.send(chat())
        client.read_until(b"\r\n\r\n")
        assert client.read(12) == b"2\r\nok\r\n0\r\n\r\n"
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert "broke off" not in world.log


def test_a_client_of_http_1_0_gets_the_payload() -> None:
    with World(stays_open(LOOSE_CHUNKS)) as world, world.connect() as client:
        client.send(chat(version=b"1.0"))
        assert client.read_to_end() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"


def test_a_head_above_64_kb_is_passed_on() -> None:
    answer = sized(b"ok", b"X: " + b"x" * 200_000 + b"\r\n")
    with World(stays_open(answer)) as world:
        head, body = world.ask(chat())
        assert head + body == answer


def test_the_head_of_an_upgrade_may_be_loose_too() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\nConnection : Upgrade\nUpgrade: raw/1\n\nhi"

    def script(peer: Peer) -> None:
        peer.read_message()
        peer.send(switch)
        peer.send(peer.read(4))
        see_the_end(peer)

    with World(script) as world, world.connect() as client:
        client.send(get("/upstream/m/ws", extra=ASKED))
        head = client.read_until(b"\r\n\r\n")
        assert head == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\n\r\n"
        client.send(b"ping")
        assert client.read(6) == b"hiping"
        client.end()


def test_a_stream_that_began_while_its_model_was_loaded_goes_on_strictly() -> None:
    loose = CHUNKED_HEAD.replace(b"\r\n", b"\n") + b"9 \ndata: a\n\n\n0\n\n"
    with Loading(stays_open(loose)) as world, world.connect() as client:
        client.send(chat(STREAM))
        world.end_wait(client)
        client.read_until(b"\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "answer", [LOOSE_HEAD, sized(b"ok", b"Content-Length: 2\r\n"), sized(b"ok", b"X: a\r\n b\r\n"), LOOSE_CHUNKS]
)
def test_a_peer_is_read_strictly(answer: bytes) -> None:
    config = "peers:\n  p: {proxy: PROXY, models: [x]}\n"
    with World(answers(answer), config=config) as world:
        head, _ = world.ask(chat(b'{"model":"p/x"}'))
        assert head.startswith(b"HTTP/1.1 502 ")


def test_two_different_lengths_are_refused_with_the_reason() -> None:
    with World(answers(sized(b"ok", b"Content-Length: 3\r\n"))) as world:
        head, body = world.ask(chat())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"the upstream's answer is ambiguous: two different lengths" in body


@pytest.mark.parametrize("number", range(40))
def test_whatever_an_upstream_sends_the_client_reads_strict_http_or_sees_that_it_broke_off(number: int) -> None:
    chance = random_of(7, number)
    answer = mutate(chance, chance.choice(SLIPS), SLIPS)

    def script(peer: Peer) -> None:
        peer.read_message()
        with suppress(OSError):  # it may have been refused before its end
            for piece in cut(chance, answer):
                peer.send(piece)
            peer.end()
        see_the_end(peer)

    with World(script) as world, world.connect() as client:
        client.send(chat(extra=b"Connection: close\r\n"))
        reader = client_reading("POST")
        is_reset = False
        try:
            while data := client.sock.recv(65_536):
                reader.receive_data(data)
        except ConnectionResetError:
            is_reset = True
        else:
            reader.receive_data(b"")
        try:
            while (event := reader.next_event()) is not h11.NEED_DATA and not isinstance(event, h11.EndOfMessage):
                pass
            assert isinstance(event, h11.EndOfMessage) or is_reset
        except h11.RemoteProtocolError as error:
            assert str(error).startswith("peer closed connection"), error  # noqa: PT017 - it broke off, and shows it
        assert "Traceback" not in world.log


def test_one_answer_of_the_fuzzer_can_be_tried_alone() -> None:
    assert {try_lenient_answer(random_of(0, number)) for number in range(60)} == {True, False}
