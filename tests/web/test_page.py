"""How the web page is served: its document, its files, what may be loaded by it, and who needs a key."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from llamaswap_lib.ui import DOCUMENT, STYLES, site
from tests.web.world import OK, World, answers, get

ASSETS = Path(__file__).resolve().parents[2] / "llamaswap_lib" / "ui" / "assets"
KEYS = "apiKeys: [k]\nmodels: {m: {cmd: server, proxy: 'http://127.0.0.1:1'}}"
FIRST_PAGE = 78_000  # bytes over the wire, with all that it loads
BROWSER = b"Accept: text/html,*/*;q=0.8\r\n"


def ask(path: str, *fields: bytes) -> bytes:
    return get(path)[:-2] + b"".join(fields) + b"\r\n"


def files() -> list[str]:
    """The names of the files as they are requested."""
    return [
        path.relative_to(ASSETS).as_posix()
        for path in ASSETS.rglob("*.*")
        if not {"styles"} & {*path.parts} and path.name != DOCUMENT
    ]


def asset(name: str, build: str | None = None) -> str:
    return f"/ui/assets/{build or site().build}/{name}"


@pytest.mark.parametrize("path", ["/", "/ui", "/upstream"])
def test_every_redirect_to_it_ends_at_a_page(path: str) -> None:
    with World(answers(OK)) as world:
        for _ in range(5):
            head, _ = world.ask(get(path))
            found = re.search(rb"\r\nLocation: (\S+)\r\n", head)
            if found is None:
                break
            path = found[1].decode()
        assert head.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/ui/", "./"),
        ("/ui/models", "./"),
        ("/ui/models/a", "../"),
        ("/ui/models/a/b%2Fc", "../../"),
        ("/ui/logs/", "../"),
    ],
)
def test_its_addresses_are_relative_so_that_a_proxy_may_put_a_path_in_front(path: str, base: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(path))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert f'<base href="{base}" />'.encode() in body
        addresses = re.findall(rb'(?:href|src)="([^"]+)"', body)
        assert addresses
        assert not [address for address in addresses if address.startswith((b"/", b"http"))]


def test_what_the_document_names_is_there() -> None:
    with World(answers(OK)) as world:
        body = world.ask(get("/ui/"))[1].decode()
        names = re.findall(r'(?:href|src)="(assets/[^"]+)"', body)
        assert len(names) > 5
        for name in names:
            assert world.ask(get(f"/ui/{name}"))[0].startswith(b"HTTP/1.1 200 "), name


def test_every_file_of_the_page_is_reached_from_its_document() -> None:
    assert sorted(site().assets) == sorted(files())
    styles = "".join(path.read_text() for path in sorted((ASSETS / "styles").glob("*.css")))
    assert site().assets[STYLES].plain().decode().count("{") == styles.count("{")


def test_what_is_loaded_at_once_is_named_for_the_browser_to_fetch_together() -> None:
    text = site().page(0).decode()
    named = set(re.findall(r'rel="modulepreload" href="assets/[^/]+/([^"]+)"', text))
    assert {"main.js", "view.js", "live.js", "shell.js"} <= named
    assert not [name for name in named if name.startswith("pages/")]
    with World(answers(OK)) as world:
        for address, own in (("/ui/", "models"), ("/ui/models", "models"), ("/ui/queue?span=60", "queue")):
            body = world.ask(get(address))[1].decode()
            pages = set(re.findall(r'rel="modulepreload" href="assets/[^/]+/(pages/[^/"]+)\.js"', body))
            assert pages == {f"pages/{own}"}, address


def test_the_first_page_is_small_over_the_wire() -> None:
    everything = sum(len(asset.compressed) for asset in site().assets.values())
    first = [*site().preload, *site().more["models"], "main.js", STYLES, "theme.js", "favicon.svg"]
    assert sum(len(site().assets[name].compressed) for name in first) < FIRST_PAGE
    assert everything < 6 * FIRST_PAGE


def test_a_file_is_compressed_for_those_that_take_it_and_kept_for_good() -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(ask(asset("view.js"), b"Accept-Encoding: gzip, br\r\n"))
        assert b"\r\nContent-Encoding: gzip\r\n" in head
        assert b"\r\nCache-Control: public, max-age=31536000, immutable\r\n" in head
        assert b"\r\nContent-Type: text/javascript; charset=utf-8\r\n" in head
        assert gzip.decompress(body) == (ASSETS / "view.js").read_bytes()
        head, body = world.ask(get(asset("view.js")))
        assert b"Content-Encoding" not in head
        assert body == (ASSETS / "view.js").read_bytes()


def test_a_file_of_another_version_is_not_kept() -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get(asset("view.js", "0123456789ab")))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nCache-Control: no-store\r\n" in head


@pytest.mark.parametrize("path", ["/ui/", asset("view.js"), "/favicon.ico"])
def test_what_a_browser_has_is_not_sent_again(path: str) -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get(path))
        tag = re.search(rb'\r\nETag: ("[^"]+")\r\n', head)
        assert tag is not None
        head, body = world.ask(ask(path, b"If-None-Match: " + tag[1] + b"\r\n"))
        assert head.startswith(b"HTTP/1.1 304 ")
        assert body == b""


def test_it_may_load_nothing_from_elsewhere_and_run_nothing_but_its_files() -> None:
    with World(answers(OK)) as world:
        head = world.ask(get("/ui/"))[0].decode()
        policy = re.search(r"\r\nContent-Security-Policy: ([^\r]+)\r\n", head)
        assert policy is not None
        parts = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
        assert parts == {
            "default-src": "'self'",
            "img-src": "'self' data: blob:",
            "media-src": "'self' blob:",
            "object-src": "'none'",
            "base-uri": "'self'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert "X-Content-Type-Options: nosniff" in head
        text = site().page(0).decode()
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", text)


def test_with_keys_a_browser_gets_the_page_and_others_are_asked_for_one() -> None:
    with World(answers(OK), config=KEYS) as world:
        head, _ = world.ask(ask("/ui/", BROWSER))
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"frame-ancestors 'self'" in head
        assert world.ask(get("/ui/"))[0].startswith(b"HTTP/1.1 401 ")
        assert world.ask(ask("/ui/", b"x-api-key: k\r\n"))[0].startswith(b"HTTP/1.1 200 ")
        assert world.ask(get(asset("view.js")))[0].startswith(b"HTTP/1.1 200 ")


def test_a_missing_key_is_asked_for_by_the_page_not_by_the_browser() -> None:
    with World(answers(OK), config=KEYS) as world:
        assert b"\r\nWWW-Authenticate: Basic" in world.ask(get("/running"))[0]
        head, _ = world.ask(ask("/running", b"X-Requested-With: llamaswap\r\n"))
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"WWW-Authenticate" not in head


@pytest.mark.parametrize(
    "name", ["nothing", "assets", "assets/", "assets/x/nothing.js", f"assets/x/{DOCUMENT}", "models.js"]
)
def test_what_is_not_there_is_not_found(name: str) -> None:
    with World(answers(OK)) as world:
        assert world.ask(get(f"/ui/{name}"))[0].startswith(b"HTTP/1.1 404 ")


def test_the_folder_of_the_files_cannot_be_left() -> None:
    with World(answers(OK)) as world:
        for name in ("%2e%2e/__init__.py", "..%2f__init__.py", "%2fetc/passwd"):
            assert world.ask(get(asset(name)))[0].startswith(b"HTTP/1.1 404 "), name
