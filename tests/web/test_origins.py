"""Pages of other sites: what a browser says of them is believed, and nothing else lets them in.

`recorded/` holds what HTTP clients were seen to send for `GET /unload`: they are programs, and are obeyed.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from llamaswap_lib.errors import Forbidden
from llamaswap_lib.routing.cross_site import refuse_other_sites
from llamaswap_lib.wire.parser import parse_request_head
from tests.web.world import World, answers

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RECORDED = sorted(Path(__file__).with_name("recorded").glob("*.txt"))
SAFARI = "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.1 Safari/605"
FIREFOX = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"

# What further programs send, by what is known of their HTTP clients: a menu-bar app in Swift, one in Rust, Home
# Assistant, an app on Android, Electron, PowerShell, Emacs, and a hand-written client.
COMPANIONS = [
    ("Accept: */*", "Accept-Language: en-GB,en;q=0.9", "User-Agent: LlamaBar/12 CFNetwork/1490.0.4 Darwin/23.2.0"),
    ("accept: */*", "user-agent: reqwest/0.12"),
    ("User-Agent: HomeAssistant/2026.1.0 aiohttp/3.13.2 Python/3.13", "Accept: */*", "Accept-Encoding: gzip, deflate"),
    ("User-Agent: okhttp/4.12.0", "Connection: Keep-Alive", "Accept-Encoding: gzip"),
    ("User-Agent: Mozilla/5.0 (X11; Linux x86_64) Code/1.95.0 Electron/32.2.1 Safari/537.36", "Accept-Language: en-US"),
    ("User-Agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1",),
    ("MIME-Version: 1.0", "User-Agent: URL/Emacs Emacs/29.4 (TTY; x86_64-pc-linux-gnu)", "Accept: */*"),
    (),
]
# A browser that was sent by who knows whom: a typed address or a link without Referer; an image; a no-cors fetch; lynx.
BROWSERS = [
    ("Upgrade-Insecure-Requests: 1", SAFARI),
    ("Accept: text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language: de", SAFARI),
    ("Accept: image/avif,image/webp,*/*;q=0.8", "Accept-Language: de", SAFARI),
    ("Accept: */*", "Accept-Language: en-US,en;q=0.5", FIREFOX),
    ("Accept: text/html, text/plain, text/sgml;q=0.01", "Accept-Language: en", "User-Agent: Lynx/2.9.0"),
    ("Upgrade-Insecure-Requests: 1", "Referer: ", SAFARI),
    ("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", FIREFOX),  # a page of a neighbour, with `no-referrer`
]


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
        ("Referer: http://box:8080/ui/",),
        ("Sec-Fetch-Site: same-origin", "Referer: https://ai.example/ui/"),
        ("Referer: ",),
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
        ("Referer: http://evil.example/",),
        ("Referer: http://evil.example/", "Origin: http://box:8080"),
        ("Referer: android-app://com.example/",),
        ("Sec-Fetch-Site: same-site", "Referer: http://other.box:8080/page"),
    ],
)
def test_pages_of_other_sites_are_refused(fields: tuple[str, ...]) -> None:
    with pytest.raises(Forbidden):
        refuse_other_sites(parse_request_head(head_with(*fields)))


@pytest.mark.parametrize(
    "field",
    [
        "Sec-Purpose: prefetch",
        "Sec-Purpose: prefetch;prerender",
        "Purpose: prefetch",
        "X-Purpose: preview",
        "X-Moz: prefetch",
    ],
)
def test_what_a_browser_fetches_ahead_of_time_is_not_done(field: str) -> None:
    with World() as world:
        head, _ = world.ask(unload(f"Sec-Fetch-Site: none\r\n{field}\r\n"))
        assert head.startswith(b"HTTP/1.1 403 ")
        assert not world.controller.unloaded


def unload(fields: str = "", method: str = "GET", path: str = "/unload") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_programs_are_obeyed_at_once(file: Path) -> None:
    with World() as world:
        head, body = world.ask(file.read_text().replace("\n", "\r\n").encode() + b"\r\n")
        assert (head[:13], body) == (b"HTTP/1.1 200 ", b"OK")
        assert world.controller.unloaded == [None]


@pytest.mark.parametrize("fields", COMPANIONS)
def test_companions_are_obeyed_at_once(fields: tuple[str, ...]) -> None:
    with World() as world:
        head, body = world.ask(unload("".join(f"{field}\r\n" for field in fields)))
        assert (head[:13], body) == (b"HTTP/1.1 200 ", b"OK")
        assert world.controller.unloaded == [None]


@pytest.mark.parametrize("fields", BROWSERS)
def test_a_browser_that_does_not_say_who_sent_it_gets_a_page_with_a_button(fields: tuple[str, ...]) -> None:
    with World() as world:
        head, page = world.ask(unload("".join(f"{field}\r\n" for field in fields)))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nX-Frame-Options: DENY\r\n" in head
        assert b"frame-ancestors 'none'" in head
        assert b"\r\nCache-Control: no-store\r\n" in head
        assert not world.controller.unloaded
        (target,) = re.findall(rb'<form method="post" action="([^"]+)"><button>', page)
        pressed = "Origin: http://x:8080\r\nAccept: text/html\r\nContent-Length: 0\r\n"
        head, page = world.ask(unload(pressed, "POST", "/" + target.decode()))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"All models are unloaded" in page
        assert world.controller.unloaded == [None]


def test_a_browser_that_says_where_it_comes_from_is_obeyed_at_once() -> None:
    fields = f"Upgrade-Insecure-Requests: 1\r\n{SAFARI}\r\nAccept-Language: de\r\n"
    with World() as world:
        for said in ("Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Referer: http://x:8080/ui/"):
            assert world.ask(unload(f"{fields}{said}\r\n"))[1] == b"OK"
        assert len(world.controller.unloaded) == 3


def test_to_look_at_an_operation_does_not_carry_it_out() -> None:
    with World() as world, world.connect() as client:
        client.send(unload(method="HEAD"))
        head = client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET\r\n" in head
        assert not world.controller.unloaded


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
