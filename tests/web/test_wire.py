"""Heads: what passes means one thing, and h11 reads the same; everything else is refused with a reason."""

from __future__ import annotations

import time
from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge, HttpError, NotImplementedByServer
from llamaswap_lib.wire.headers import request_fields, response_fields
from llamaswap_lib.wire.heads import (
    CHUNKED,
    MAX_HEAD_BYTES,
    MAX_HEAD_LINES,
    NO_BODY,
    UNTIL_CLOSE,
    BodyKind,
    Framing,
    RequestHead,
)
from llamaswap_lib.wire.lenient_heads import read_leniently
from llamaswap_lib.wire.parser import head_end, parse_request_head, parse_response_head


def request(*lines: str, first: str = "POST /v1/x?y=%20 HTTP/1.1", host: str = "Host: h:1") -> bytes:
    return bare(first, host, *lines)


def bare(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def answer(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return bare(first, *lines)


def h11_request(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES + 1)
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


def assert_h11_reads_the_same(head: bytes, ours: RequestHead) -> None:
    theirs = h11_request(head)
    assert (theirs.method.decode(), theirs.target.decode()) == (ours.method, ours.target)
    assert theirs.http_version == f"1.{ours.minor}".encode()
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in theirs.headers.raw_items()] == list(ours.headers)


# -- requests that are served --


def test_a_request_head_is_read() -> None:
    head = request("Content-Length: 12", "CONNECTION: Keep-Alive , x-a", "X-A:", "x-b: \t one  two\t", "X-B: \xe4")
    read = parse_request_head(head)
    assert (read.method, read.target, read.minor) == ("POST", "/v1/x?y=%20", 1)
    assert tuple(read.headers) == (
        ("Host", "h:1"),
        ("Content-Length", "12"),
        ("CONNECTION", "Keep-Alive , x-a"),
        ("X-A", ""),
        ("x-b", "one  two"),
        ("X-B", "\xe4"),
    )
    assert (read.content_length, read.chunked, read.framing) == (12, False, Framing(BodyKind.LENGTH, 12))
    assert (read.keep_alive, read.expect_continue, read.upgrade) == (True, False, "")
    assert read.connection == {"keep-alive", "x-a"}
    assert (read.get("x-b"), read.get("x-a"), read.get("x-c")) == ("one  two", "", None)
    assert_h11_reads_the_same(head, read)


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ("/upstream/模型/x".encode(), "/upstream/%E6%A8%A1%E5%9E%8B/x"),
        ("/props?model=模型&x=%2F+|\\^".encode(), "/props?model=%E6%A8%A1%E5%9E%8B&x=%2F+|\\^"),
        (b"/caf\xe9", "/caf%E9"),  # no UTF-8: as the bytes that they are
        (b"/\xc2\x85\xe2\x80\xa8\xff", "/%C2%85%E2%80%A8%FF"),
        (b"http://h:1/\xc3\xa4", "http://h:1/%C3%A4"),
    ],
)
def test_bytes_of_a_target_that_are_no_ascii_are_percent_encoded(sent: bytes, target: str) -> None:
    read = parse_request_head(b"GET " + sent + b" HTTP/1.1\r\nHost: h:1\r\n\r\n")
    assert read.target == target
    assert_h11_reads_the_same(f"GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n".encode(), read)


@pytest.mark.parametrize(
    "line",
    [
        *(f"GET /ä{char}b HTTP/1.1" for char in "\x00\x01\t\x0b\x1f \x7f"),
        *("GET http://hä/x HTTP/1.1", "GET hä HTTP/1.1", "GET ä HTTP/1.1", "OPTIONS *ä HTTP/1.1", "GÄT / HTTP/1.1"),
        "GET /ä#b HTTP/1.1",
    ],
)
def test_nothing_else_is_taken_in_a_target_for_that(line: str) -> None:
    with pytest.raises(BadRequest):
        parse_request_head(f"{line}\r\nHost: h\r\n\r\n".encode())
    with pytest.raises(BadRequest):
        parse_request_head(f"{line}\r\n\r\n".replace("1.1", "1.0").encode())


@pytest.mark.parametrize(
    ("minor", "connection", "kept"),
    [
        (1, [], True),
        (1, ["close"], False),
        (1, ["Keep-Alive"], True),
        (1, ["x, CLOSE"], False),
        (1, ["keep-alive", "close"], False),
        (1, [""], True),
        (0, [], False),
        (0, ["x"], False),
        (0, ["keep-alive"], True),
        (0, ["Keep-Alive, close"], False),
        (0, ["keep-alive", "close"], False),
    ],
)
def test_keeping_a_connection(minor: int, connection: list[str], kept: bool) -> None:
    lines = [f"Connection: {value}" for value in connection]
    assert parse_request_head(request(*lines, first=f"GET / HTTP/1.{minor}")).keep_alive is kept
    assert parse_response_head(answer(*lines, first=f"HTTP/1.{minor} 200 OK")).keep_alive is kept


def test_bodies_of_requests() -> None:
    assert parse_request_head(request()).framing == NO_BODY
    assert parse_request_head(request("Content-Length: 0")).framing == Framing(BodyKind.LENGTH, 0)
    assert parse_request_head(request("content-length:  007 ")).content_length == 7
    read = parse_request_head(request("transfer-encoding: Chunked"))
    assert (read.chunked, read.content_length, read.framing) == (True, None, CHUNKED)


def test_expectations_count_from_http_1_1_on() -> None:
    assert parse_request_head(request("Expect: 100-Continue")).expect_continue
    assert not parse_request_head(request("Expect: 200-ok")).expect_continue
    assert not parse_request_head(request("Expect: 100-continue", first="GET / HTTP/1.0")).expect_continue


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        (["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"], "websocket"),
        (["Connection: keep-alive", "Connection: upgrade", "Upgrade: foo/1.2"], "foo/1.2"),
        (["Upgrade: websocket"], ""),
        (["Connection: close", "Upgrade: websocket"], ""),
        (["Connection: upgrade"], ""),
        (["Connection: upgrade", "Upgrade: h2c"], ""),
        (["Connection: upgrade", "Upgrade: websocket, h2c"], ""),
        (["Connection: upgrade", "Upgrade: "], ""),
    ],
)
def test_upgrades(lines: list[str], upgrade: str) -> None:
    assert parse_request_head(request(*lines)).upgrade == upgrade
    assert parse_request_head(request(*lines, first="GET / HTTP/1.0")).upgrade == ""


@pytest.mark.parametrize(
    "head",
    [
        bare("GET / HTTP/1.0"),
        bare("GET / HTTP/1.1", "Host:"),
        bare("OPTIONS * HTTP/1.1", "Host: a"),
        bare("GET http://h:1/x HTTP/1.1", "Host: H:1"),
        bare("GET http://h:1 HTTP/1.0"),
        bare('M-SEARCH /{}|\\^`"<> HTTP/1.1', "Host: [::1]:80"),
        bare("GET //x//../y HTTP/1.1", "Host: a_b.c"),
    ],
)
def test_unusual_heads_that_are_right(head: bytes) -> None:
    assert_h11_reads_the_same(head, parse_request_head(head))


# -- requests that are refused --


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (request("Content-Length: 5", "Transfer-Encoding: chunked"), "both"),
        (request("Transfer-Encoding: chunked", "Content-Length: 0"), "both"),
        (request("Content-Length: 5", "content-length: 6"), "more than one"),
        (request("Content-Length: 5", "Content-Length: 5"), "more than one"),
        (request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "more than one"),
        (request("Transfer-Encoding: identity", "Transfer-Encoding: chunked"), "more than one"),
        (request("Transfer-Encoding: chunked", first="POST / HTTP/1.0"), "HTTP/1.0"),
        *((request(f"Content-Length: {bad}"), "is not a length") for bad in ("+5", "-1", "5,5", "5, 5", "", "0x5")),
        *(
            (request(f"Content-Length: {bad}"), "is not a length")
            for bad in ("5_0", "5 0", "1e3", "\xb2", "5;", "9" * 19)
        ),
        (request("Host: h:1"), "more than one"),
        (request(first="GET / HTTP/1.0").replace(b"\r\n\r\n", b"\r\nhost: b\r\n\r\n"), "more than one"),
        (bare("GET / HTTP/1.1"), "no Host"),
        *((request(host=f"Host: {bad}"), "not a host") for bad in ("a b", "a/b", "u@h", "a?b", "\xe4", "a,b", "a\\b")),
        (request(" folded: x"), "folded"),
        (request("\tx"), "folded"),
        (bare("GET / HTTP/1.1", " Host: x"), "folded"),
        (request("X : y"), "before the colon"),
        (request("X\t: y"), "before the colon"),
        (request("X y: z"), "malformed header"),
        (request(": y"), "malformed header"),
        (request("no colon"), "malformed header"),
        (request("X\xe4: y"), "malformed header"),
        (request("(x): y"), "malformed header"),
        (request("X: a\0b"), "NUL"),
        (request("X: a\x7fb"), "malformed header"),
        (request("X: a\x0bb"), "malformed header"),
        (request("X: a\nY: b"), "bare CR or LF"),
        (request("X: a\rY: b"), "bare CR or LF"),
        (request("X: a\r"), "bare CR or LF"),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", "bare CR or LF"),
        (b"GET / HTTP/1.1\nHost: x\n\n", "empty line"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", "empty line"),
        (b"", "empty line"),
        (b"\r\n\r\n", "request line"),
        (b"GET / HTTP/1.1\r\n\r\nHost: x\r\n\r\n", "empty line within"),
        *((request(first=bad), "request line") for bad in ("", "GET", "GET /", "GET / HTTP/2.0", "GET / HTTP/0.9")),
        *((request(first=bad), "request line") for bad in ("GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1")),
        *((request(first=bad), "request line") for bad in ("GET / http/1.1", "GET / HTTP/1.2", "GET / HTTP/1.10")),
        *((request(first=bad), "request line") for bad in ("GET /a b HTTP/1.1", "G(T / HTTP/1.1", "GET\t/ HTTP/1.1")),
        *((request(first=bad), "request line") for bad in ("GET /\x7f HTTP/1.1", "PRI * HTTP/2.0")),
        *((request(first=f"GET {bad} HTTP/1.1"), "neither") for bad in ("*", "x", "ftp://h:1/", "http:///x", "h:1")),
        (request(first="GET http://u@h:1/ HTTP/1.1"), "neither"),
        (request(first="GET http://other/ HTTP/1.1"), "different hosts"),
        (request(first="GET /a#b HTTP/1.1"), "fragment"),
    ],
)
def test_ambiguous_or_malformed_heads_are_refused(head: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        parse_request_head(head)


@pytest.mark.parametrize(
    "head",
    [
        request("Transfer-Encoding: gzip"),
        request("Transfer-Encoding: gzip, chunked"),
        request("Transfer-Encoding: chunked, chunked"),
        request("Transfer-Encoding: chunked;q=1"),
        request("Transfer-Encoding: \x0bchunked".replace("\x0b", "x")),
        request("Transfer-Encoding:"),
        request(first="CONNECT h:1 HTTP/1.1"),
    ],
)
def test_what_is_not_spoken_here_is_not_implemented(head: bytes) -> None:
    with pytest.raises(NotImplementedByServer):
        parse_request_head(head)


def test_a_head_may_have_64_kib_and_not_a_byte_more() -> None:
    size = MAX_HEAD_BYTES - len(request("X: "))
    head = request("X: " + "x" * size)
    assert len(head) == MAX_HEAD_BYTES == head_end(head)
    assert parse_request_head(head).get("x") == "x" * size
    head = request("X: " + "x" * (size + 1))
    with pytest.raises(HeadTooLarge):
        parse_request_head(head)
    with pytest.raises(HeadTooLarge):
        head_end(head)
    with pytest.raises(BadGateway):
        parse_response_head(answer("X: " + "x" * MAX_HEAD_BYTES))


def test_a_head_may_have_a_thousand_lines_and_not_one_more() -> None:
    most, more = ["a:"] * (MAX_HEAD_LINES - 1), ["a:"] * MAX_HEAD_LINES
    assert len(parse_request_head(request(*most)).headers) == MAX_HEAD_LINES
    with pytest.raises(HeadTooLarge, match="more than 1000 lines"):
        parse_request_head(request(*more))
    assert len(parse_response_head(answer(*most, "b:")).headers) == MAX_HEAD_LINES
    with pytest.raises(BadGateway, match="more than 1000 lines"):
        parse_response_head(answer(*more, "b:"))
    loose = answer(*most, "b:").replace(b"\r", b"")
    head, end = read_leniently(loose)
    assert head is not None
    assert (len(head.headers), end) == (MAX_HEAD_LINES, len(loose))
    with pytest.raises(BadGateway, match="more than 1000 lines"):
        read_leniently(answer(*more, "b:").replace(b"\r", b""))


@pytest.mark.parametrize("line", ["a:", "a: b\0", "a" * 1000, " ", "a :", "a: " + "x" * 60_000 + "\x7f", ":" * 99])
def test_a_hostile_head_is_judged_quickly(line: str) -> None:
    count = MAX_HEAD_BYTES // (len(line) + 2) - 2
    head = request(*[line] * count)[:MAX_HEAD_BYTES]
    begin = time.process_time()
    with suppress(BadRequest, HeadTooLarge):
        parse_request_head(head)
    assert time.process_time() - begin < 0.5


# -- finding the end of a head --


def test_the_end_of_a_head_is_found_byte_by_byte() -> None:
    head = request("X: y")
    for end in range(len(head)):
        assert head_end(head[:end], max(0, end - 1)) == -1
        assert head_end(head[:end]) == -1
    assert head_end(head + b"GET", len(head) - 1) == len(head)
    assert head_end(bytearray(head + head)) == len(head)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\n", b"G\nE", b"\n", b"GET / HTTP/1.1\r\nA: b\rc", b"\r\r", b"GET\r\n\n"]
)
def test_a_line_end_that_will_never_be_right_is_not_waited_on(data: bytes) -> None:
    with pytest.raises(BadRequest, match="bare"):
        head_end(data)
    with pytest.raises(BadRequest, match="bare"):
        any(head_end(data[:end], end - 1) >= 0 for end in range(1, len(data) + 1))


def test_a_head_that_never_ends_is_too_large() -> None:
    assert head_end(b"x" * (MAX_HEAD_BYTES - 4)) == -1
    with pytest.raises(HeadTooLarge):
        head_end(b"x" * MAX_HEAD_BYTES, MAX_HEAD_BYTES - 10)


# -- answers --


def test_an_answer_of_llama_server_is_read() -> None:
    read = parse_response_head(
        answer("Server: llama.cpp", "Access-Control-Allow-Origin: ", "content-length: 611", "Keep-Alive: timeout=5")
    )
    assert (read.status, read.reason, read.minor, read.keep_alive) == (200, "OK", 1, True)
    assert (read.get("access-control-allow-origin"), read.get("content-length")) == ("", "611")
    assert read.body("POST") == Framing(BodyKind.LENGTH, 611)
    assert read.body("HEAD") == NO_BODY


@pytest.mark.parametrize(
    ("first", "status", "reason"),
    [
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.0 404 Not Found", 404, "Not Found"),
        ("HTTP/1.1 100 Continue", 100, "Continue"),
        ("HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols"),
        ("HTTP/1.1 999 caf\xe9", 999, "caf\xe9"),
    ],
)
def test_status_lines(first: str, status: int, reason: str) -> None:
    read = parse_response_head(answer(first=first))
    assert (read.status, read.reason) == (status, reason)
    assert read.body("GET") == (NO_BODY if status < 200 else UNTIL_CLOSE)


def test_how_the_body_of_an_answer_ends() -> None:
    assert parse_response_head(answer("Transfer-Encoding: chunked")).body("GET") == CHUNKED
    assert parse_response_head(answer("Transfer-Encoding: chunked")).body("HEAD") == NO_BODY
    assert parse_response_head(answer()).body("GET") == UNTIL_CLOSE
    for status in (100, 101, 204, 304):
        for line in ("Content-Length: 5", "Transfer-Encoding: chunked"):
            assert parse_response_head(answer(line, first=f"HTTP/1.1 {status} X")).body("GET") == NO_BODY


@pytest.mark.parametrize(
    "head",
    [
        answer("Content-Length: 5", "Transfer-Encoding: chunked"),
        answer("Content-Length: 5", "Content-Length: 5"),
        answer("Content-Length: 5, 5"),
        answer("Content-Length: -1"),
        answer("Transfer-Encoding: gzip, chunked"),
        answer("Transfer-Encoding: chunked", first="HTTP/1.0 200 OK"),
        answer("X : y"),
        answer(" folded"),
        answer("X: a\nb"),
        answer("X: a\0"),
        answer(first="HTTP/2 200"),
        answer(first="HTTP/1.1 20"),
        answer(first="HTTP/1.1 2000 OK"),
        answer(first="HTTP/1.1 020 OK"),
        answer(first="HTTP/1.1  200 OK"),
        answer(first="ICY 200 OK"),
        answer(first="HTTP/1.1 200 O\rK"),
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"",
    ],
)
def test_an_answer_that_may_mean_two_things_is_a_bad_gateway(head: bytes) -> None:
    with pytest.raises(BadGateway, match="upstream"):
        parse_response_head(head)


# -- any input --

NAMES = st.sampled_from(["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "X", "Expect"])
VALUES = st.one_of(
    st.sampled_from(
        ["chunked", "5", "5, 5", "close", "keep-alive", "a\tb", "", " ", "websocket", "upgrade", "\xe9", "h"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=6),
)
LINES = st.one_of(
    st.builds(lambda name, gap, value: f"{name}{gap}{value}", NAMES, st.sampled_from([":", ": ", " :", ":\t"]), VALUES),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
FIRST = st.sampled_from(
    ["GET / HTTP/1.1", "POST /x HTTP/1.0", "GET * HTTP/1.1", "GET /\xe4 HTTP/1.1", "OPTIONS * HTTP/1.1"]
)
ENDS = st.sampled_from(["\r\n"] * 8 + ["\n", "\r", "\r\n "])


@given(FIRST, st.lists(st.tuples(LINES, ENDS), max_size=6))
def test_whatever_is_accepted_h11_reads_the_same(first: str, lines: list[tuple[str, str]]) -> None:
    head = f"{first}\r\n{''.join(line + end for line, end in lines)}\r\n".encode("latin-1")
    try:
        ours = parse_request_head(head)
    except (BadRequest, NotImplementedByServer):
        return
    assert_h11_reads_the_same(head.replace(b" /\xe4 ", b" /%E4 "), ours)  # it takes nothing beyond ASCII
    body_bytes = 7 if ours.chunked else ours.content_length
    written = f"{ours.method} {ours.target} HTTP/1.1\r\n{request_fields(ours, '1.2.3.4', body_bytes)}\r\n".encode(
        "latin-1"
    )
    if ours.get("host") is not None:
        again = parse_request_head(written)
        assert_h11_reads_the_same(written, again)
        assert (again.content_length, again.chunked) == (body_bytes, False)
    else:
        assert b"\r\nHost:" not in written


@given(st.lists(st.tuples(LINES, ENDS), max_size=6))
def test_whatever_answer_is_accepted_h11_reads_the_same(lines: list[tuple[str, str]]) -> None:
    head = f"HTTP/1.1 200 OK\r\n{''.join(line + end for line, end in lines)}\r\n".encode("latin-1")
    try:
        ours = parse_response_head(head)
    except BadGateway:
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Response)
    assert [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers.raw_items()] == list(ours.headers)
    again = parse_response_head(f"HTTP/1.1 200 OK\r\n{response_fields(ours)}\r\n".encode("latin-1"))
    assert (again.content_length, again.chunked) == (ours.content_length, ours.chunked)


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_never_crashes(data: bytes) -> None:
    for parse in (parse_request_head, parse_response_head):
        with suppress(HttpError):
            parse(data + b"\r\n\r\n")
    with suppress(BadRequest):
        head_end(data)
