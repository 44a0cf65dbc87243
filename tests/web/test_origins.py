"""Pages of other sites: what a browser says of them is believed, and nothing else lets them in."""

from __future__ import annotations

import base64

import pytest

from llamaswap_lib.errors import Forbidden
from llamaswap_lib.web.origins import refuse_other_sites
from llamaswap_lib.web.wire import parse_request_head
from tests.web.world import World, answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head_with(*fields: str, host: str = "box:8080") -> bytes:
    return "\r\n".join(["POST /api/models/unload HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Sec-Fetch-Site: none",),
        ("Sec-Fetch-Site: same-origin", "Origin: https://ai.example"),  # a proxy in front has changed the Host
        ("Sec-Fetch-Site: same-site", "Origin: http://box:3000"),
        ("Origin: http://box:8080",),
        ("Origin: http://BOX",),
    ],
)
def test_programs_and_own_pages_are_let_through(fields: tuple[str, ...]) -> None:
    refuse_other_sites(parse_request_head(head_with(*fields)))


def test_an_address_in_brackets_is_a_host() -> None:
    refuse_other_sites(parse_request_head(head_with("Origin: http://[::1]:3000", host="[::1]:8080")))
    with pytest.raises(Forbidden):
        refuse_other_sites(parse_request_head(head_with("Origin: http://[::2]:3000", host="[::1]:8080")))


@pytest.mark.parametrize(
    "fields",
    [
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: cross-site", "Origin: http://box:8080"),
        ("Sec-Fetch-Site: same-site", "Origin: http://other.box:8080"),
        ("Origin: http://evil.example",),
        ("Origin: http://evil.example", "X-Forwarded-Host: evil.example"),
        ("Origin: null",),
        ("Origin: file://",),
        ("Origin: http://[",),
        ("Origin: http://box.evil.example",),
        ("Origin: http://evil.example/?box:8080",),
    ],
)
def test_pages_of_other_sites_are_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(Forbidden):
        refuse_other_sites(parse_request_head(head_with(*fields)))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/unload/m"),
        ("POST", "/api/models/load/m"),
        ("PUT", "/api/profiles/active"),
    ],
)
def test_what_changes_something_for_everybody_is_refused_to_other_sites(method: str, path: str) -> None:
    line = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    with World(answers(OK)) as world:
        head, body = world.ask(f"{line}Sec-Fetch-Site: cross-site\r\n\r\n".encode())
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b'"code":"forbidden"' in body


def test_a_key_allows_it_to_any_page_unless_the_browser_added_it_by_itself() -> None:
    config = "apiKeys: [secret]\nmodels:\n  m:\n    cmd: x\n    proxy: http://127.0.0.1:1\n"
    line = "GET /unload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSec-Fetch-Site: cross-site\r\n"
    with World(config=config) as world:
        assert world.ask(f"{line}x-api-key: secret\r\n\r\n".encode())[0].startswith(b"HTTP/1.1 200 ")
        basic = base64.b64encode(b":secret").decode()
        assert world.ask(f"{line}Authorization: Basic {basic}\r\n\r\n".encode())[0].startswith(b"HTTP/1.1 403 ")
        assert world.ask(f"{line}\r\n".encode())[0].startswith(b"HTTP/1.1 401 ")
