"""Paths that are not written as they should be: the clean path they lead to, and that it leads nowhere else."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.routing.paths import LEFT_ALONE, clean_path
from llamaswap_lib.wire.target import as_location
from tests.web.world import OK, Peer, World, answers, chat, get, length_of

ODD_PATHS = st.lists(
    st.sampled_from(
        ["/", "//", ".", "..", "a", "\\", "%2f", "%2e", "%5c", "upstream", "logs", "stream", "api", "models"]
    ),
    max_size=12,
).map(lambda parts: "/" + "".join(parts))


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("//v1/models", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("/v1/models//", "/v1/models/"),
        ("/v1/./models", "/v1/models"),
        ("/v1/x/../models", "/v1/models"),
        ("/v1/models/.", "/v1/models"),
        ("/v1/models/./", "/v1/models/"),
        ("/v1/models/x/..", "/v1/models"),
        ("/../../v1/models", "/v1/models"),
        ("//", "/"),
        ("///", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("//nope", "/nope"),
        ("//evil.example", "/evil.example"),
        ("//evil.example/..", "/"),
        ("/..//evil.example", "/evil.example"),
        ("/.//evil.example/%2e%2e", "/evil.example/%2e%2e"),
        ("//evil.example/%2F/x", "/evil.example/%2F/x"),
    ],
)
def test_empty_and_dot_segments_go(path: str, clean: str) -> None:
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/models",
        "/v1/models/",
        "/.well-known/x",
        "/a/..b",
        "/a/.../b",
        "/v1/..x/",
        "/%2e%2e/x",
        "/a%2F%2Fb",
        "/\\x",
    ],
)
def test_a_path_that_is_as_it_should_be_stays(path: str) -> None:
    assert clean_path(path) == path


@pytest.mark.parametrize("before", LEFT_ALONE)
@pytest.mark.parametrize("rest", ["m//x", "/m/x", "../m", "m/./x/../y", "m//", "a//b/c", "."])
def test_what_stands_behind_a_name_of_ours_is_left_alone(before: str, rest: str) -> None:
    assert clean_path(before + rest) == before + rest
    assert clean_path("/" + before + rest) == before + rest
    assert clean_path("/x/.." + before + rest) == before + rest
    assert clean_path(before.replace("/", "//", 1) + rest) == before + rest


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/logs//stream/a//b", "/logs/stream/a//b"),
        ("/api/models/./load/a//b", "/api/models/load/a//b"),
        ("/api//models/unload/", "/api/models/unload/"),
        ("//upstream", "/upstream"),
        ("//upstream/", "/upstream/"),
        ("//upstreams//x", "/upstreams/x"),
        ("/x/upstream//m", "/x/upstream/m"),
    ],
)
def test_only_what_stands_in_front_of_such_a_name_is_cleaned(path: str, clean: str) -> None:
    assert clean_path(path) == clean


@given(ODD_PATHS)
def test_a_clean_path_is_clean_and_of_this_host(path: str) -> None:
    clean = clean_path(path)
    assert clean_path(clean) == clean
    location = as_location(clean)
    assert re.fullmatch(r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?", location)  # no second slash, no backslash, nothing odd
    assert urlsplit(urljoin("http://here:1/a/b", location)).netloc == "here:1"


@given(st.text(st.characters(max_codepoint=0x2FFF)))
def test_a_location_is_visible_ascii_without_a_backslash(text: str) -> None:
    assert re.fullmatch(r"[!-\[\]-~]*", as_location(text))


def test_a_long_path_takes_a_time_that_grows_with_its_length() -> None:
    assert clean_path("/a/.." * 20_000) == "/"
    assert clean_path("/" * 60_000) == "/"
    assert clean_path("/upstream" + "/." * 30_000) == "/upstream" + "/." * 30_000


# -- over the wire --


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
def test_every_method_is_led_to_the_clean_path_with_its_query(method: str) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("/v1//models?a=//../b&c=%2F", method=method))
        head = client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 307 ")
        assert b"\r\nLocation: /v1/models?a=//../b&c=%2F\r\n" in head


def test_options_is_a_preflight_on_such_a_path_too() -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(get("//v1/models", method="OPTIONS"))
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/./\\evil.example", "/%5Cevil.example"),
        ("/x/..\\..//y", "/x/..%5C../y"),
        ("//\\\\evil.example", "/%5C%5Cevil.example"),
        ("//evil.example/%2e%2e", "/evil.example/%2e%2e"),
        ("//x?next=\\\\evil.example", "/x?next=%5C%5Cevil.example"),
        ("http://x//evil.example/y", "/evil.example/y"),
        ("//upstream/m\\x//y", "/upstream/m%5Cx//y"),
        ("/upstream/m?\\x", "/upstream/m/?%5Cx"),
    ],
)
def test_no_redirect_leads_to_another_host(target: str, location: str) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(get(target))
        assert f"\r\nLocation: {location}\r\n".encode() in head
        assert b"\\" not in head + body


@pytest.mark.parametrize("target", ["/\\evil.example", "/%5cevil.example", "/%2Fevil.example", "\\\\evil.example"])
def test_what_only_a_browser_would_take_for_another_host_is_no_redirect(target: str) -> None:
    with World(answers(OK)) as world:
        head, _ = world.ask(get(target))
        assert head[9:12] in (b"404", b"400")
        assert b"Location" not in head


def test_a_redirect_needs_no_key_and_its_target_does() -> None:
    config = "apiKeys: [sesame]\nmodels:\n  m: {cmd: server, proxy: PROXY}\n"
    with World(answers(OK), config=config) as world:
        assert world.ask(get("//running"))[0].startswith(b"HTTP/1.1 307 ")
        assert world.ask(get("//upstream/m/x"))[0].startswith(b"HTTP/1.1 307 ")
        assert world.ask(get("/running"))[0].startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
def test_the_body_of_a_request_that_is_led_elsewhere_does_not_become_a_request(is_second: bool) -> None:
    hidden = get("/unload")
    astray = b"POST //v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(hidden), hidden)
    with World(answers(*[OK] * (1 + is_second))) as world, world.connect() as client:
        if is_second:
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        client.send(astray)
        head = client.read_until(b"\r\n\r\n")
        assert b"\r\nLocation: /v1/chat/completions\r\n" in head
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert world.controller.unloaded == []


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_is_not_there_yet_ends_the_connection(framing: bytes) -> None:
    with World(answers(OK)) as world, world.connect() as client:
        client.send(b"POST //v1/x HTTP/1.1\r\nHost: x\r\n%b\r\n" % framing)
        assert b"\r\nConnection: close\r\n" in client.read_until(b"\r\n\r\n")
        client.end()
        assert client.read_to_end() == b""


def test_what_stands_behind_a_model_reaches_its_server_as_it_is() -> None:
    lines: list[bytes] = []

    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            lines.append(peer.read_until(b"\r\n"))
            peer.read_until(b"\r\n\r\n")
            peer.send(OK)

    with World(script) as world, world.connect() as client:
        for path in ("/upstream/m//x", "/upstream/m/../x/./y//", "/upstream/m/%2e%2e//x?y=//z"):
            client.send(get(path))
            assert client.read_message()[1] == b"ok"
    assert [line.split()[1] for line in lines] == [b"//x", b"/../x/./y//", b"/%2e%2e//x?y=//z"]


# -- names that are not ASCII, raw --

NAMES = """
models:
  m: {cmd: server, proxy: PROXY}
  模型: {cmd: server, proxy: PROXY, aliases: [über/größe]}
"""


@pytest.mark.parametrize(
    ("target", "sent_on"),
    [
        ("/upstream/模型/x?y=ä", b"/x?y=%C3%A4"),
        ("/upstream/über/größe/ä//%C3%A4", b"/%C3%A4//%C3%A4"),
        ("/props?model=模型", b"/props?model=%E6%A8%A1%E5%9E%8B"),
        ("/props?x=ü&model=über/größe", b"/props?x=%C3%BC&model=%C3%BCber/gr%C3%B6%C3%9Fe"),
    ],
)
def test_a_name_that_is_not_ascii_may_stand_raw_in_path_and_query(target: str, sent_on: bytes) -> None:
    lines: list[bytes] = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            lines.append(peer.read_until(b"\r\n"))
            peer.read_until(b"\r\n\r\n")
            peer.send(OK)

    with World(script, config=NAMES) as world, world.connect() as client:
        for _ in range(2):
            client.send(get(target))
            assert client.read_message()[1] == b"ok"
        assert world.controller.leased == ["模型"] * 2
        world.wait_for_log(f'"GET {target.partition("?")[0].replace("%C3%A4", "ä")} HTTP/1.1" 200')
    assert [line.split()[1] for line in lines] == [sent_on] * 2


def test_the_pump_understands_such_a_target_too() -> None:
    lines: list[bytes] = []

    def script(peer: Peer) -> None:
        for _ in range(3):
            lines.append(peer.read_until(b"\r\n"))
            peer.read(length_of(peer.read_until(b"\r\n\r\n")))
            peer.send(OK)

    with World(script, config=NAMES) as world, world.connect() as client:
        for _ in range(3):
            client.send(chat().replace(b"completions ", "completions?größe=ä ".encode(), 1))
            assert client.read_message()[1] == b"ok"
    assert [line.split()[1] for line in lines] == [b"/v1/chat/completions?gr%C3%B6%C3%9Fe=%C3%A4"] * 3


@pytest.mark.parametrize("target", [b"/upstream/caf\xe9/x", b"/props?model=caf\xe9", b"/logs/stream/\xff"])
def test_bytes_that_are_no_utf_8_name_no_model(target: bytes) -> None:
    with World(answers(OK)) as world:
        head, body = world.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert head[9:12] in (b"404", b"400")
        assert b"model" in body


def test_a_redirect_percent_encodes_what_is_not_ascii() -> None:
    with World(answers(OK)) as world:
        assert b"\r\nLocation: /%C3%A4?%C3%BC\r\n" in world.ask(get("//ä?ü"))[0]
