"""The logs over HTTP: history first, then what comes, until somebody leaves."""

from __future__ import annotations

import socket

import pytest

from tests.web.world import DEADLINE, OK, Peer, World, answers, get


def read_chunk(client: Peer) -> bytes:
    size = int(client.read_until(b"\r\n"), 16)
    data = client.read(size)
    assert client.read(2) == b"\r\n"
    return data


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/logs/stream", "proxy"),
        ("/logs/stream/proxy", "proxy"),
        ("/logs/stream/upstream", "m"),
        ("/logs/stream/m", "m"),
        ("/logs/stream/al", "m"),
    ],
)
def test_stream_has_the_history_and_then_what_comes(path: str, source: str) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        write = world.logs.proxy.write if source == "proxy" else world.logs.model_output("m")
        write(b"before\xff")
        client.send(get(path))
        head = client.read_until(b"\r\n\r\n")
        assert b"\r\nContent-Type: text/plain\r\n" in head
        assert b"\r\nX-Accel-Buffering: no\r\n" in head
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in head
        assert b"\r\nX-History-Bytes: 7\r\n" in head
        assert read_chunk(client) == b"before\xff"
        write(b"after")
        assert read_chunk(client) == b"after"


def test_head_of_a_silent_stream_goes_out_at_once() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.logs.proxy.write(b"before")
        client.send(get("/logs/stream?x&no-history"))
        assert b"\r\nX-History-Bytes: 0\r\n" in client.read_until(b"\r\n\r\n")
        world.logs.proxy.write(b"after")
        assert read_chunk(client) == b"after"


def test_stream_ends_cleanly_when_the_server_does() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/logs/stream"))
        client.read_until(b"\r\n\r\n")
        world.logs.close_streams()
        assert client.read(5) == b"0\r\n\r\n"


def test_reader_that_leaves_is_noticed_though_nothing_is_said() -> None:
    with World(answers(OK)) as world:
        with world.connect() as client:
            client.send(get("/logs/stream/upstream"))
            client.read_until(b"\r\n\r\n")
        assert world.server.wait_idle(DEADLINE)


def test_reader_that_pauses_gets_all_that_was_said_meanwhile() -> None:
    with World(answers(OK)) as world, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(world.server.address)
        client = Peer(sock)
        client.send(get("/logs/stream"))
        client.read_until(b"\r\n\r\n")
        said = b"".join(b"%0249d\n" % number for number in range(1000))
        for start in range(0, len(said), 250):
            world.logs.proxy.write(said[start : start + 250])
        heard = b""
        while len(heard) < len(said):
            heard += read_chunk(client)
        assert heard == said


def test_http_1_0_reader_gets_no_chunks() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.logs.proxy.write(b"before")
        client.send(b"GET /logs/stream HTTP/1.0\r\n\r\n")
        head = client.read_until(b"\r\n\r\n")
        assert b"chunked" not in head
        assert client.read(6) == b"before"


NAMES = """
models:
  m: {cmd: server, proxy: PROXY, aliases: [org/al, proxy/alias]}
  org/b: {cmd: server, proxy: PROXY}
  org/b/long: {cmd: server, proxy: PROXY}
  "org//c": {cmd: server, proxy: PROXY}
  org/: {cmd: server, proxy: PROXY}
  /srv/m.gguf: {cmd: server, proxy: PROXY}
"""


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("m/", "m"),
        ("m/extra", "m"),
        ("m//", "m"),
        ("org/al/extra", "m"),
        ("org/b", "org/b"),
        ("org/b/", "org/b"),
        ("org/b/extra/and/more", "org/b"),
        ("org%2Fb%2Fextra", "org/b"),
        ("org/b/long", "org/b/long"),
        ("org/b/long/", "org/b/long"),
        ("org/b/longer", "org/b"),
        ("org//c/x", "org//c"),
        ("org/", "org/"),
        ("org//x", "org/"),
        ("proxy/alias", "m"),
        ("m%3Fno-history", "m"),
        ("m/%3Fno-history", "m"),
        ("org/b%3fno-history=1/x", "org/b"),
        ("proxy%3Fno-history", "proxy"),
        ("upstream%3Fno-history", "upstream"),
        ("%3Fno-history", "combined"),
        ("/", "combined"),
        ("/proxy", "proxy"),
        ("%2Fm/extra", "m"),
        ("/srv/m.gguf", "/srv/m.gguf"),
    ],
)
def test_a_stream_is_of_the_longest_name_that_its_path_begins_with(path: str, source: str) -> None:
    with World(answers(OK), config=NAMES) as world, world.connect() as client:
        world.logs.proxy.write(b"of proxy")
        for model in world.app.config.models:
            world.logs.model_output(model)(f"of {model}".encode())
        client.send(get(f"/logs/stream/{path}"))
        client.read_until(b"\r\n\r\n")
        own = {"proxy": world.logs.proxy, "upstream": world.logs.upstream, "combined": world.logs.combined}
        assert read_chunk(client) == (own[source].history() if source in own else f"of {source}".encode())


def test_a_query_that_was_encoded_with_the_path_is_cut_off_and_counts_for_nothing() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        world.logs.proxy.write(b"before")
        client.send(get("/logs/stream/proxy%3Fno-history?x"))
        client.read_until(b"\r\n\r\n")
        assert read_chunk(client) == b"before"


@pytest.mark.parametrize(
    "name", ["zzz", "M", "mm", "m%00", "zzz/m", "proxy/x", "upstream/", "proxy/", "//proxy", "/zzz", "zzz%3Fm", "org"]
)
def test_unknown_source_is_refused(name: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(f"/logs/stream/{name}"))
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"invalid logger. Use 'proxy', 'upstream' or a model's ID" in body


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/plain", "text/*", "application/xhtml+xml"])
def test_history_is_what_is_shown(accept: str | None) -> None:
    with World(answers(OK)) as world:
        world.logs.proxy.write(b"hello\n")
        extra = b"" if accept is None else f"Accept: {accept}\r\n".encode()
        head, body = world.ask(get("/logs", extra=extra))
        assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in head
        assert body == b"hello\n"


@pytest.mark.parametrize(
    "accept", ["text/html", "text/html,*/*", "application/json, text/html", "text/plain, Text/HTML;q=0.1"]
)
def test_history_leads_to_the_page_wherever_accept_holds_text_html(accept: str) -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get("/logs", extra=f"Accept: {accept}\r\n".encode()))
        assert head.startswith(b"HTTP/1.1 302 ")
        assert b"\r\nLocation: /ui/\r\n" in head
