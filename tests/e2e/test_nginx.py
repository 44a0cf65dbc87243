"""nginx in front: streams come through as they are made, a client that leaves is noticed, and connections are kept."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import pytest

from tests.e2e.nginx import NGINX, SETUPS, Nginx
from tests.e2e.program import ENDLESS, Program, demo, models, upstream
from tests.e2e.talk import Wire, events

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
EVERY_SETUP = pytest.mark.parametrize("setup", SETUPS)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = models(paced=demo("--tokens-per-second", "20"), quick=demo(), echo=upstream())
    groups = {"all": {"swap": False, "members": ["paced", "quick", "echo"]}}
    settings = {**config, "groups": groups, "allowedHosts": ["llm.example"]}
    with Program(tmp_path_factory.mktemp("behind-nginx"), settings) as running:
        for name in ("paced", "quick", "echo"):
            assert running.post(f"/api/models/load/{name}", {}).status == 200
        yield running


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, program: Program) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), program.port) as running:
        yield running


def chat(wire: Wire, **more: object) -> None:
    wire.request("POST", "/v1/chat/completions", {"model": "paced", **ENDLESS, **more})


@EVERY_SETUP
def test_a_stream_comes_piece_by_piece(nginx: Nginx, setup: str) -> None:
    with nginx.wire(setup) as wire:
        wire.request("GET", "/upstream/echo/drip?3")
        assert wire.status() == 200
        wire.read_to(b"data: 0002\n\n")  # behind which nothing comes


@EVERY_SETUP
def test_the_head_and_the_lines_of_a_log_come_at_once(nginx: Nginx, program: Program, setup: str) -> None:
    with nginx.wire(setup) as wire:
        wire.request("GET", "/logs/stream/quick?no-history")
        assert wire.status() == 200
        assert program.chat("quick", max_tokens=3).status == 200
        wire.read_to(b"POST /v1/chat/completions 200")


@EVERY_SETUP
def test_a_client_that_leaves_ends_the_upstreams_work(nginx: Nginx, program: Program, setup: str) -> None:
    before = program.stats("paced")["cancelled"]
    with nginx.wire(setup) as wire:
        chat(wire)
        wire.read_head_and_first_chunk()
    program.await_stats("paced", cancelled=before + 1, in_progress=0)


def test_nginx_keeps_its_connections_to_us(nginx: Nginx, program: Program) -> None:
    ask_both(nginx)  # from now on there are connections to us, and ours to both models
    before = program.descriptor_count()
    for _ in range(20):
        ask_both(nginx)
    assert program.descriptor_count() <= before + 2


def ask_both(nginx: Nginx) -> None:
    stream = json.dumps({"model": "quick", **ENDLESS, "max_tokens": 5}).encode()
    assert nginx.ask("kept", "GET", "/upstream/echo/x").status == 200
    assert events(nginx.ask("kept", "POST", "/v1/chat/completions", stream, content_type="application/json").body)


def test_client_and_host_are_those_of_the_browser(nginx: Nginx, program: Program) -> None:
    request = nginx.ask("kept", "GET", "/upstream/echo/a%20b?q=%2F", host="llm.example").json()
    headers = {name.lower(): value for name, value in request["headers"]}
    assert request["target"] == "/a%20b?q=%2F"
    assert (headers["host"], headers["x-forwarded-for"]) == ("llm.example", "127.0.0.1, 127.0.0.1")
    page = {"host": "llm.example", "origin": "https://llm.example", "sec_fetch_site": "same-origin"}
    assert nginx.ask("kept", "POST", "/api/models/load/echo", b"", **page).status == 200
    page = {"host": "llm.example", "origin": "https://evil.example", "sec_fetch_site": "cross-site"}
    assert nginx.ask("kept", "POST", "/api/models/unload/echo", b"", **page).status == 403


@EVERY_SETUP
def test_large_bodies_pass_both_ways(nginx: Nginx, setup: str) -> None:
    body = json.dumps({"model": "echo", "input": "x" * 3_000_000}).encode()
    with nginx.wire(setup) as wire:
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-Count: 1\r\nContent-Length: {len(body)}\r\n"
        wire.send(f"{head}Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n".encode())
        assert wire.status() == 100
        wire.send(body)
        status, told = wire.answer()
        assert (status, json.loads(told)) == (200, {"size": len(body), "crc32": zlib.crc32(body)})
        wire.request("GET", "/upstream/echo/large?10000000")
        assert len(wire.answer()[1]) == 10_000_000


@EVERY_SETUP
def test_errors_keep_their_status_and_body(nginx: Nginx, setup: str) -> None:
    unknown = nginx.ask(setup, "POST", "/v1/embeddings", b'{"model":"none"}', content_type="application/json")
    assert (unknown.status, unknown.json()["error"]["code"]) == (404, "not_found")
    assert nginx.ask(setup, "GET", "/upstream/echo/odd/no-http").json()["error"]["code"] == "bad_gateway"
    assert nginx.ask(setup, "OPTIONS", "/v1/chat/completions").status == 204
    head = nginx.ask(setup, "HEAD", "/v1/models")
    assert (head.status, head.body) == (200, b"")
