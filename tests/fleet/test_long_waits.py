"""An error of a llamaswap peer that asks to wait for long, as our clients get it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet.boxes import running
from tests.web.upstreams import wait_until
from tests.web.world import OK, Peer, World, chat, get

CONFIG = "peers:\n  box: {proxy: PROXY, models: [m]}\n"
ASK = chat(b'{"model":"box/m"}')
BUSY = b'{"src":"llama-swap", "error" : {"message":"busy","n":1.50 } }'
JSON = b"Content-Type: application/json; charset=utf-8\r\n"


def error(
    body: bytes = BUSY, after: bytes = b"Retry-After: 30", status: int = 503, fields: bytes = JSON, framed: bytes = b""
) -> bytes:
    length = framed or b"Content-Length: %d" % len(body)
    return b"HTTP/1.1 %d X\r\n%b%b\r\n%b\r\nX-Its: own\r\n\r\n%b" % (status, fields, after, length, body)


class Box:
    """A server with one answer to all requests, and one to looks."""

    def __init__(self, answer: bytes, look: bytes) -> None:
        self.answer = answer
        self._look = look

    def __call__(self, peer: Peer) -> None:
        while not peer.has_hung_up():
            head, _ = peer.read_message()
            if b" /running " in head or b" /health " in head:
                peer.send(self._look)
                return
            peer.send(self.answer)


@contextmanager
def front_of(box: Box, *, kind: str = "llamaswap") -> Iterator[World]:
    with World(box, config=CONFIG) as world:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.states()["box"].kind == kind)
        yield world


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_clients_are_told_two_seconds_and_the_body_has_the_true_number() -> None:
    box = Box(error(), running())
    with front_of(box) as world, world.connect() as client:
        for _ in range(3):  # on connections that remember heads, both ways
            client.send(ASK)
            head, body = client.read_message()
            assert body == BUSY[:-3] + b',"retry_in":30.0} }'
            fields = fields_of(head)
            assert (fields["retry-after"], fields["x-its"], head[:12]) == ("2", "own", b"HTTP/1.1 503")
            assert head.lower().count(b"retry-after") == head.lower().count(b"content-length") == 1
        box.answer = error(after=b"Retry-After: 1")
        client.send(ASK)
        head, body = client.read_message()
        assert (fields_of(head)["retry-after"], body) == ("1", BUSY)


def test_what_was_remembered_before_the_peer_was_known_counts_no_more() -> None:
    with World(Box(error(), running()), config=CONFIG) as world, world.connect() as client:
        client.send(ASK)
        assert fields_of(client.read_message()[0])["retry-after"] == "30"
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("box"))
        client.send(ASK)
        assert fields_of(client.read_message()[0])["retry-after"] == "2"


def test_a_body_that_comes_in_parts_is_read_to_its_end() -> None:
    begun, go = threading.Event(), threading.Event()

    def in_parts(peer: Peer) -> None:
        head, _ = peer.read_message()
        if b" /running " in head:
            peer.send(running())
            return
        peer.send(error()[:-20])
        begun.set()
        assert go.wait(60)
        peer.send(error()[-20:])

    with World(in_parts, config=CONFIG) as world, world.connect() as client:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("box"))
        client.send(ASK)
        assert begun.wait(60)
        assert world.ask(get("/health"))[1] == b"OK"  # the loop has seen the first part by now
        go.set()
        assert client.read_message()[1] == BUSY[:-3] + b',"retry_in":30.0} }'


@pytest.mark.parametrize(
    ("after", "told", "retry_in"),
    [
        (b"Retry-After: 2", "2", None),
        (b"Retry-After: 2.5", "2", 2.5),
        (b"Retry-After: soon", "soon", None),
        (b"Retry-After: inf", "2", 1e9),
        (b"retry-after-ms: 4500\r\nRetry-After: 1", "2", 4.5),
        (b"retry-after-ms: 500\r\nRetry-After: 1", "1", None),
        (b"retry-after-ms: NaN\r\nRetry-After: 30", "2", 30.0),
        (b"retry-after-ms: 1\r\nRetry-After: NaN\r\nRetry-After: 30", "2", 30.0),
        (b"Retry-After: 1\r\nRetry-After: 30", "2", 30.0),
        (b"Retry-After: 1\r\nretry-after-ms: 1\r\nRETRY-AFTER-MS: 30000", "2", 30.0),
        (b"Date: Tue, 01 Dec 2026 00:00:00 GMT\r\nRetry-After: Tue, 01 Dec 2026 00:01:30 GMT", "2", 90.0),
        (b"Date: Tue, 01 Dec 2026 00:00:00 GMT\r\nRetry-After: Mon, 30 Nov 2026 00:00:00 GMT", "Mon", None),
    ],
)
def test_whatever_way_the_wait_is_written(after: bytes, told: str, retry_in: float | None) -> None:
    with front_of(Box(error(after=after, status=429), running())) as world:
        head, body = world.ask(ASK)
        fields = fields_of(head)
        assert fields["retry-after"].partition(",")[0] == told
        assert json.loads(body)["error"].get("retry_in") == retry_in
        assert ("retry-after-ms" in fields) == (after.startswith(b"retry-after-ms: 500"))


@pytest.mark.parametrize(
    ("body", "fields", "framed"),
    [
        (b'{"error": "busy"}', JSON, b""),
        (b'{"detail": {"error": {}}}', JSON, b""),
        (b'{"error": {"retry_in": 77}}', JSON, b""),
        (b'{"error": {}, "error": {}}', JSON, b""),
        (b'{"error": {}', JSON, b""),
        (b'{"error": {}}', b"Content-Type: text/plain\r\n", b""),
        (b'{"error": {}}', JSON + b"Content-Encoding: gzip\r\n", b""),
        (b'{"error": {"message": "%b"}}' % (b"x" * 70_000), JSON, b""),
        (b'd\r\n{"error": {}}\r\n0\r\n\r\n', JSON, b"Transfer-Encoding: chunked"),
    ],
)
def test_a_body_that_is_no_small_json_error_stays_as_it_is(body: bytes, fields: bytes, framed: bytes) -> None:
    with front_of(Box(error(body, fields=fields, framed=framed), running())) as world, world.connect() as client:
        client.send(ASK)
        head = client.read_until(b"\r\n\r\n")
        assert client.read(len(body)) == body
        assert fields_of(head)["retry-after"] == "2"


def test_an_empty_error_gets_it_too() -> None:
    with front_of(Box(error(b'{"error": {}}'), running())) as world:
        assert world.ask(ASK)[1] == b'{"error": {"retry_in":30.0}}'


def test_an_answer_to_head_has_no_body_to_be_changed() -> None:
    answer = b"HTTP/1.1 503 X\r\n%bRetry-After: 30\r\nContent-Length: 9\r\n\r\n" % JSON
    with front_of(Box(answer, running())) as world, world.connect() as client:
        client.send(get("/upstream/box/m/props", method="HEAD"))
        fields = fields_of(client.read_until(b"\r\n\r\n"))
        assert (fields["retry-after"], fields["content-length"]) == ("2", "9")


def test_an_error_that_breaks_off_is_cut_as_it_would_be() -> None:
    def breaks_off(peer: Peer) -> None:
        head, _ = peer.read_message()
        peer.send(running() if b" /running " in head else error(framed=b"Content-Length: 900"))

    with World(breaks_off, config=CONFIG) as world, world.connect() as client:
        world.app.peers.change(world.app.config)
        wait_until(lambda: world.app.peers.is_llamaswap("box"))
        client.send(ASK)
        head = client.read_until(b"\r\n\r\n")
        assert fields_of(head)["content-length"] == "900"
        assert client.read_to_end() == BUSY


def test_what_another_server_says_is_left_to_it() -> None:
    with front_of(Box(error(), OK), kind="other") as world:
        head, body = world.ask(ASK)
        assert (fields_of(head)["retry-after"], body) == ("30", BUSY)


def test_success_is_no_error() -> None:
    with front_of(Box(error(status=200), running())) as world:
        head, body = world.ask(ASK)
        assert (fields_of(head)["retry-after"], body) == ("30", BUSY)
