"""Encoded bodies on their way through the server: read and sent on decoded, and the connection stays in step."""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.server.limits import Limits
from llamaswap_lib.wire.heads import MAX_HEAD_BYTES
from tests.web.gzipped import gzipped
from tests.web.test_peers import Seen
from tests.web.world import CHAT_BODY, MODELS, Peer, Running, World, chat, get
from tests.web.zstd_frames import needs_zstd, stored, zeros

BODY = b'{"model":"m","x":"' + b"Hello, hello. " * 100 + b'"}'
GZIP = b"Content-Encoding: gzip\r\n"
OCTETS = b"Content-Type: application/octet-stream\r\n"
OTHERS = """
models:
  m: {cmd: server, proxy: PROXY, aliases: [al], useModelName: real, filters: {stripParams: x, setParams: {y: 1}}}
peers:
  p: {proxy: PROXY, models: [far]}
selectors:
  sel: {strategy: pin, targets: [al]}
profiles:
  prof: {pins: {pinned: p/far}}
"""


@contextmanager
def talking(world: World, *, is_warm: bool) -> Iterator[Peer]:
    """A client; a warm one has had an answer already."""
    with world.connect() as client:
        if is_warm:
            client.send(chat())
            assert client.read_message()[1] == b"ok"
        yield client


both = pytest.mark.parametrize("is_warm", [False, True], ids=["first", "kept-alive"])


def status_of(client: Peer) -> int:
    return int(client.read_message()[0].split()[1])


def error_of(client: Peer) -> tuple[int, str]:
    head, body = client.read_message()
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def framed(data: bytes, extra: bytes, *, is_chunked: bool) -> bytes:
    """A chat request with this body."""
    if not is_chunked:
        return chat(data, extra=extra)
    head = chat(b"", extra=extra + b"Transfer-Encoding: chunked\r\n").replace(b"Content-Length: 0\r\n", b"")
    pieces = (data[start : start + 50] for start in range(0, len(data), 50))
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


# -- what is sent on --


@both
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("header", "data"),
    [
        (GZIP, gzipped(BODY)),
        (b"content-encoding:X-GZIP \r\n", gzipped(BODY)),
        (b"Content-Encoding: deflate\r\n", zlib.compress(BODY)),
        (b"Content-Encoding: gzip, deflate\r\n", zlib.compress(gzipped(BODY))),
        (b"Content-Encoding: gzip\r\nX-Other: 1\r\nContent-Encoding: deflate\r\n", zlib.compress(gzipped(BODY))),
        pytest.param(b"Content-Encoding: zstd\r\n", stored(BODY), marks=needs_zstd),
    ],
    ids=["gzip", "x-gzip", "deflate", "two", "two-headers", "zstd"],
)
def test_an_encoded_body_is_sent_on_decoded(header: bytes, data: bytes, is_chunked: bool, is_warm: bool) -> None:
    seen = Seen()
    with World(seen) as world, talking(world, is_warm=is_warm) as client:
        for _ in range(2):
            client.send(framed(data, header, is_chunked=is_chunked) + chat())
            assert client.read_message()[1] == client.read_message()[1] == b"ok"
        assert seen.bodies[is_warm:] == [BODY, CHAT_BODY] * 2
        for head in seen.heads:
            assert "encoding" not in head.lower()
            assert "X-Other" not in head or "X-Other: 1\r\n" in head
            assert len(re.findall(r"(?i)\r\ncontent-length:", head)) == 1
        assert world.upstream.accepted == 1


@both
def test_a_body_that_does_not_name_the_model_is_decoded_too(is_warm: bool) -> None:
    seen = Seen()
    with World(seen) as world, talking(world, is_warm=is_warm) as client:
        for data, status in ((gzipped(BODY), 200), (BODY, 415)):
            request = chat(data, extra=GZIP).replace(b"application/json", b"text/plain")
            client.send(request.replace(b"/v1/chat/completions", b"/v1/chat/completions?model=m"))
            assert status_of(client) == status
        assert seen.bodies[is_warm:] == [BODY]


@both
@pytest.mark.parametrize("header", [b"Content-Encoding: identity\r\n", b"Content-Encoding: utf-8\r\n"])
def test_a_body_that_is_not_encoded_goes_on_as_it_came(header: bytes, is_warm: bool) -> None:
    seen = Seen()
    with World(seen) as world, talking(world, is_warm=is_warm) as client:
        client.send(chat(BODY, extra=header))
        assert client.read_message()[1] == b"ok"
        assert seen.bodies[-1] == BODY
        assert header.decode() in seen.heads[-1]


@pytest.mark.slow
@pytest.mark.parametrize("memory_bytes", [1000, 1 << 20], ids=["in-a-file", "in-memory"])
def test_an_encoded_body_of_any_size_is_sent_on(memory_bytes: int) -> None:
    filling = random.Random(3).randbytes(900_000).hex().encode()
    body = b'{"model":"m","x":"' + filling + b'"}'
    seen = Seen()
    with World(seen, limits=Limits(memory_body_bytes=memory_bytes)) as world, world.connect() as client:
        for is_chunked in (False, True):
            client.send(framed(gzipped(body), GZIP, is_chunked=is_chunked))
            assert client.read_message()[1] == b"ok"
        assert seen.bodies == [body, body]


@both
@pytest.mark.parametrize("name", ["m", "al", "sel", "pinned", "far", "p/far"])
def test_profiles_selectors_filters_and_peers_see_what_was_encoded(name: str, is_warm: bool) -> None:
    seen = Seen()
    body = gzipped(b'{"model":"%b","x":1}' % name.encode())
    with World(seen, config=OTHERS) as world, talking(world, is_warm=is_warm) as client:
        world.app.profiles.activate("prof")
        client.send(chat(body, extra=GZIP))
        assert client.read_message()[1] == b"ok"
        is_far = name in ("pinned", "far", "p/far")
        assert json.loads(seen.bodies[-1]) == ({"model": "far", "x": 1} if is_far else {"model": "real", "y": 1})
        assert "ncoding" not in seen.heads[-1]


def test_an_encoded_form_names_its_model() -> None:
    part = b'--BB\r\nContent-Disposition: form-data; name="model"\r\n\r\nal\r\n'
    form = part + b'--BB\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--BB--\r\n'
    seen = Seen()
    with World(seen, config=OTHERS) as world, world.connect() as client:
        for data, kind, want in (
            (form, b"multipart/form-data; boundary=BB", form.replace(b"\r\nal\r\n", b"\r\nreal\r\n")),
            (b"model=al&x=1", b"application/x-www-form-urlencoded", b"model=al&x=1"),
        ):
            request = chat(gzipped(data), extra=GZIP).replace(b"application/json", kind)
            client.send(request.replace(b"/v1/chat/completions", b"/v1/audio/transcriptions"))
            assert client.read_message()[1] == b"ok"
            assert seen.bodies[-1] == want


def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    seen = Seen()
    data = gzipped(BODY)
    head, _, _ = chat(data, extra=GZIP + b"Expect: 100-continue\r\n").partition(data)
    with World(seen) as world, world.connect() as client:
        client.send(head)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(data)
        assert client.read_message()[1] == b"ok"
        assert seen.bodies == [BODY]


@pytest.mark.parametrize("path", [b"/upstream/m/v1/chat/completions", b"/comfyui/prompt"])
@pytest.mark.parametrize("header", [GZIP, b"Content-Encoding: br\r\n", b"Content-Encoding: zstd, zstd\r\n"])
def test_what_is_passed_on_as_it_came_is_not_decoded(path: bytes, header: bytes) -> None:
    seen = Seen()
    data = gzipped(BODY)[:-3]
    with World(seen, config=MODELS.replace("  m:", "  comfyui_auto: {cmd: server, proxy: PROXY}\n  m:")) as world:
        world.controller.running = [Running("comfyui_auto", 1, "ready")]
        with world.connect() as client:
            client.send(chat(data, extra=header).replace(b"/v1/chat/completions", path))
            assert client.read_message()[1] == b"ok"
    assert seen.bodies == [data]
    assert header.decode() in seen.heads[0]


def test_without_a_body_there_is_nothing_to_decode() -> None:
    seen = Seen()
    with World(seen) as world, world.connect() as client:
        client.send(get("/props?model=m", extra=b"Content-Encoding: br\r\n"))
        assert client.read_message()[1] == b"ok"
        client.send(chat(b"", extra=b"Content-Encoding: br\r\n"))
        assert error_of(client) == (404, "no model id could be identified")
        client.send(framed(b"", GZIP, is_chunked=True))
        assert error_of(client) == (404, "no model id could be identified")


# -- what is refused --

BROKEN = [
    (gzipped(BODY)[:-1], GZIP, 400, "the body is not complete: its gzip has no end"),
    (gzipped(BODY) + b"x", GZIP, 400, "the body has more bytes after the end of its gzip, which are no complete gzip"),
    (BODY, GZIP, 415, "the body has the Content-Encoding gzip, but cannot be decoded: incorrect header check"),
    (gzipped(b"{"), GZIP, 400, "the body is not JSON: Expecting property name enclosed in double quotes"),
    (gzipped(b"{}"), GZIP, 404, "no model id could be identified"),
]


@both
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("data", "header", "status", "says"), BROKEN)
def test_behind_a_body_that_cannot_be_decoded_the_next_request_is_read(
    data: bytes, header: bytes, status: int, says: str, is_chunked: bool, is_warm: bool
) -> None:
    seen = Seen()
    with World(seen) as world, talking(world, is_warm=is_warm) as client:
        client.send(framed(data, header, is_chunked=is_chunked) + chat())
        code, message = error_of(client)
        assert (code, message[: len(says)]) == (status, says)
        assert client.read_message()[1] == b"ok"
        assert seen.bodies == [CHAT_BODY] * (1 + is_warm)


@both
def test_a_coding_that_is_not_understood_is_refused_before_the_body_is_read(is_warm: bool) -> None:
    seen = Seen()
    with World(seen) as world, talking(world, is_warm=is_warm) as client:
        client.send(chat(b"x" * 100, extra=b"Content-Encoding: br\r\n")[:-100])
        head, body = client.read_message()
        assert head.startswith(b"HTTP/1.1 415 ")
        assert re.search(rb"\r\nAccept-Encoding: gzip, deflate(, zstd)?\r\n", head)
        assert b"\r\nConnection: close\r\n" in head
        assert json.loads(body)["error"]["message"].startswith("the Content-Encoding 'br' is not understood; send the")
        client.end()
        assert client.read_to_end() == b""
        assert len(seen.bodies) == is_warm


@both
def test_where_the_refused_body_is_here_already_the_connection_stays(is_warm: bool) -> None:
    with World(Seen()) as world, talking(world, is_warm=is_warm) as client:
        client.send(chat(extra=b"Content-Encoding: br\r\n") + chat())
        assert error_of(client)[0] == 415
        assert client.read_message()[1] == b"ok"


def test_a_client_that_waits_for_100_continue_hears_415_instead() -> None:
    with World(Seen()) as world, world.connect() as client:
        client.send(chat(extra=b"Content-Encoding: br\r\nExpect: 100-continue\r\n")[: -len(CHAT_BODY)])
        assert error_of(client)[0] == 415


def test_codings_without_end_in_the_head_are_415() -> None:
    with World(Seen()) as world, world.connect() as client:
        names = b"gzip," * ((MAX_HEAD_BYTES - 1000) // 5)
        client.send(chat(extra=b"Content-Encoding: %b\r\n" % names))
        assert error_of(client) == (
            415,
            "the body has 12907 content codings; at most 3 are allowed",
        )


# -- bounds --


@both
@pytest.mark.parametrize(
    ("kind", "most", "says"),
    [
        (b"application/json", 5_000, "a JSON body may have 5000 bytes at most"),
        (b"application/x-www-form-urlencoded", 20_000, "the body is larger than 20000 bytes"),
    ],
    ids=["json", "form"],
)
def test_the_limits_count_what_comes_out(kind: bytes, most: int, says: str, is_warm: bool) -> None:
    seen = Seen()
    limits = Limits(max_json_bytes=5_000, max_body_bytes=20_000, memory_body_bytes=1_000)
    text = b'{"model":"m","x":"@"}' if kind == b"application/json" else b"model=m&x=@"
    with World(seen, limits=limits) as world, talking(world, is_warm=is_warm) as client:
        for size, status in ((most, 200), (most + 1, 413), (100 * most, 413)):
            body = text.replace(b"@", b"a" * (size - len(text) + 1))
            for encoded in (gzipped(body), gzipped(body, 0)):
                if len(encoded) < 2 * most:
                    client.send(chat(encoded, extra=GZIP).replace(b"application/json", kind))
                    head, answer = client.read_message()
                    assert int(head.split()[1]) == status
                    assert status == 200 or json.loads(answer)["error"]["message"] == says
        client.send(chat())
        assert client.read_message()[1] == b"ok"
        assert [len(body) for body in seen.bodies[is_warm:]] == [most, most, len(CHAT_BODY)]


@needs_zstd
@both
def test_a_bomb_is_413_and_leaves_nothing(is_warm: bool) -> None:
    with World(Seen(), limits=Limits(max_json_bytes=1 << 20)) as world, talking(world, is_warm=is_warm) as client:
        client.send(chat(zeros(1 << 33), extra=b"Content-Encoding: zstd\r\n"))
        assert error_of(client) == (413, "a JSON body may have 1048576 bytes at most")
        client.send(chat())
        assert client.read_message()[1] == b"ok"


@needs_zstd
def test_a_client_that_leaves_ends_the_decoding() -> None:
    with World(Seen()) as world, world.connect() as client:
        request = chat(zeros(1 << 30), extra=b"Content-Encoding: zstd\r\n").replace(b"application/json", b"x")
        client.send(request.replace(b"/v1/chat/completions", b"/v1/chat/completions?model=m"))
        client.close()
    assert world.controller.leased == []


def test_an_encoded_body_that_is_longer_than_any_that_could_come_out_is_not_read() -> None:
    limits = Limits(max_json_bytes=1_000, linger_timeout=0.05)
    with World(Seen(), limits=limits) as world, world.connect() as client:
        client.send(chat(b"x" * 100_000, extra=GZIP)[:-99_999])
        assert error_of(client) == (413, "a JSON body may have 1000 bytes at most")


# -- our own endpoints --


@both
def test_our_own_endpoints_read_encoded_bodies_too(is_warm: bool) -> None:
    with World(Seen(), config=OTHERS) as world, talking(world, is_warm=is_warm) as client:
        body = gzipped(b'{"name":"prof"}')
        client.send(chat(body, extra=GZIP).replace(b"POST /v1/chat/completions", b"PUT /api/profiles/active"))
        assert json.loads(client.read_message()[1])["active"] == "prof"
        client.send(chat(body[:-1], extra=GZIP).replace(b"POST /v1/chat/completions", b"PUT /api/profiles/active"))
        assert status_of(client) == 400
        text = gzipped(b"models: {a: {cmd: 'x ${PORT}', tll: 1}}")
        client.send(chat(text, extra=GZIP + OCTETS).replace(b"/v1/chat/completions", b"/api/config/check"))
        assert b"did you mean" in client.read_message()[1]
        client.send(chat(gzipped(bytes(2 << 20)), extra=GZIP).replace(b"/v1/chat/completions", b"/api/config/check"))
        assert error_of(client) == (413, "the body is larger than 1048576 bytes")


def test_our_own_endpoints_answer_a_client_that_sends_no_more_after_a_small_encoded_body() -> None:
    data = gzipped(b'{"name":null}')
    with World(Seen()) as world, world.connect() as client:
        head = b"PUT /api/profiles/active HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        client.send(head % len(data) + data)
        client.end()
        assert client.read_message()[1] == b'{"active":null}'
