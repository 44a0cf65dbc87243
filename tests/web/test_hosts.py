"""Names that another site makes point here (DNS rebinding): what is private is told and done for our own names only."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.routing.hosts import Hosts
from llamaswap_lib.runtime.ourselves import own_names
from tests.web.world import World, answers, sized

CONFIG = "models:\n  m:\n    cmd: x\n    proxy: PROXY\n"
PRIVATE = [
    ("GET", "/unload"),
    ("POST", "/api/models/unload"),
    ("POST", "/api/models/unload/m"),
    ("POST", "/api/models/load/m"),
    ("PUT", "/api/profiles/active"),
    ("GET", "/logs"),
    ("GET", "/logs/stream"),
    ("GET", "/logs/stream/m"),
    ("GET", "/api/events"),
    ("GET", "/api/performance"),
    ("GET", "/api/hardware"),
    ("GET", "/api/memory"),
]
OPEN = ("/health", "/v1/models", "/running", "/api/queue", "/api/profiles", "/api/version", "/upstream/m/x")


def request(method: str, path: str, host: str, fields: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8080", "192.168.1.7", "[::1]", "[fe80::1]:8080", "127.1", "0x7f000001", "2130706433"),
        *("localhost", "LocalHost:8080", "localhost.", "a.localhost", "gpu.local", "GPU.local.:80"),
        *("host.docker.internal:8080", "host.containers.internal", "box", "BOX:8080", "box.lan", "", "gpubox:8080"),
        *("ai.example.org", "x.example.net:443", "deep.x.example.net."),
    ],
)
def test_names_that_can_be_no_other_sites_are_ours(host: str) -> None:
    assert Hosts(("AI.example.org", "*.example.net"), ("box", "box.lan")).is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "a.evillocalhost"),
        *("evil.internal", "box.evil.example", "example.net", "xexample.net", "1.2.3.4.nip.io", "gpu.evil-local"),
        *("a..b", "example.org", "evil.example.", "a.local.evil.example", "x.example.net.evil.example"),
    ],
)
def test_any_other_name_is_foreign(host: str) -> None:
    assert not Hosts(("ai.example.org", "*.example.net"), ("box", "box.lan")).is_ours(host)


def test_a_star_allows_every_name() -> None:
    assert Hosts(("*",), ()).is_ours("evil.example")


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_what_is_private_is_refused_to_a_foreign_name_with_the_line_to_add(method: str, path: str) -> None:
    with World(answers(sized(b"ok")), config=CONFIG) as world:
        head, body = world.ask(request(method, path, "rebound.example:8080"))
        assert head.startswith(b"HTTP/1.1 403 ")
        assert b"allowedHosts: [rebound.example]" in body
        assert not world.controller.unloaded
        assert not world.controller.loaded


@pytest.mark.parametrize("path", OPEN)
def test_models_and_lists_are_open_to_every_name(path: str) -> None:
    with World(answers(sized(b"ok")), config=CONFIG) as world:
        assert world.ask(request("GET", path, "ai.example"))[0].startswith(b"HTTP/1.1 200 ")


def test_a_name_that_the_configuration_allows_is_ours() -> None:
    with World(config=f"{CONFIG}allowedHosts: ['*.example.org', llm.example]\n") as world:
        for host in ("a.example.org", "LLM.example:443"):
            assert world.ask(request("GET", "/unload", host))[1] == b"OK"
        assert world.ask(request("GET", "/unload", "example.org"))[0].startswith(b"HTTP/1.1 403 ")


def test_where_there_are_keys_the_key_decides() -> None:
    with World(config=f"{CONFIG}apiKeys: [secret]\n") as world:
        assert world.ask(request("GET", "/unload", "ai.example", "x-api-key: secret\r\n"))[1] == b"OK"
        assert world.ask(request("GET", "/unload", "ai.example"))[0].startswith(b"HTTP/1.1 401 ")


def test_a_client_that_names_no_host_is_no_browser() -> None:
    with World(config=CONFIG) as world:
        assert world.ask(b"GET /unload HTTP/1.0\r\n\r\n")[1] == b"OK"


def test_an_odd_name_is_shown_escaped() -> None:
    with World(config=CONFIG) as world:
        line = b"GET /unload HTTP/1.1\r\nHost: a<b>&c\r\nAccept: text/html\r\n\r\n"
        head, body = world.ask(line)
        assert head[:13] in (b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")
        assert b"<b>" not in body


def test_the_machines_own_names_come_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost\n127.0.1.1 Box.home Box ollama.home # mine\n0.0.0.0 ads.example\n"
    )
    (tmp_path / "resolv.conf").write_text("nameserver 1.1.1.1\nsearch fritz.box lan\n")
    names = own_names(tmp_path, "box")
    assert names == {"box", "box.home", "ollama.home", "box.fritz.box", "box.lan"}
    assert own_names(tmp_path / "none", "Box.example.org") == {"box", "box.example.org"}
