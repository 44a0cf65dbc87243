"""Heads on their way out: what goes on to the next hop, and that nothing brings in a line of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llamaswap_lib.web.wire import (
    CHUNKED,
    NO_BODY,
    BodyKind,
    Framing,
    forwarded_headers,
    parse_request_head,
    parse_response_head,
    response_headers,
    serialize_request,
    serialize_response,
)

Pairs = list[tuple[str, str]]


def request(*lines: str, first: str = "POST /v1/x?y=%20 HTTP/1.1", host: str = "Host: h:1") -> bytes:
    return bare(first, host, *lines)


def bare(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def answer(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return bare(first, *lines)


# -- what goes on --


def test_hop_by_hop_headers_go_no_further() -> None:
    hop = ["Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: x", "Proxy-Authenticate: x", "TE: trailers"]
    hop += ["Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "Expect: 100-continue", "X-Named: x", "Cookie: c"]
    read = parse_request_head(request("A: 1", *hop, "Connection: x-named, COOKIE", "Content-Length: 3", "a: 2"))
    assert forwarded_headers(read, "1.2.3.4") == [
        ("Host", "h:1"),
        ("A", "1"),
        ("a", "2"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("Content-Length", "3"),
    ]
    got = parse_response_head(answer("A: 1", *hop, "Connection: x-named", "Connection: cookie", "Content-Length: 3"))
    assert response_headers(got) == [("A", "1"), ("Content-Length", "3")]


def test_connection_can_not_take_away_host_or_length() -> None:
    read = parse_request_head(request("Connection: host, content-length, x-forwarded-for", "Content-Length: 3"))
    assert forwarded_headers(read, "::1") == [("Host", "h:1"), ("X-Forwarded-For", "::1"), ("Content-Length", "3")]
    got = parse_response_head(answer("Connection: Content-Length", "Content-Length: 3"))
    assert response_headers(got) == [("Content-Length", "3")]


def test_the_client_is_appended_to_those_before_it() -> None:
    read = parse_request_head(request("X-Forwarded-For: 9.9.9.9", "x-forwarded-for: 8.8.8.8, 7.7.7.7", "X-Real-IP: 6"))
    assert forwarded_headers(read, "1.2.3.4")[1:] == [
        ("X-Real-IP", "6"),
        ("X-Forwarded-For", "9.9.9.9, 8.8.8.8, 7.7.7.7, 1.2.3.4"),
    ]
    read = parse_request_head(request("X-Forwarded-For: 9.9.9.9", "Connection: X-Forwarded-For"))
    assert forwarded_headers(read, "1.2.3.4")[1:] == [("X-Forwarded-For", "1.2.3.4")]
    read = parse_request_head(request("X-Forwarded-For:"))
    assert forwarded_headers(read, "1.2.3.4")[1:] == [("X-Forwarded-For", "1.2.3.4")]


@pytest.mark.parametrize(
    ("lines", "framing", "written"),
    [
        (["Transfer-Encoding: chunked"], None, [("Transfer-Encoding", "chunked")]),
        (["Transfer-Encoding: chunked"], Framing(BodyKind.LENGTH, 9), [("Content-Length", "9")]),
        (["Content-Length: 5"], None, [("Content-Length", "5")]),
        (["Content-Length: 5"], Framing(BodyKind.LENGTH, 9), [("Content-Length", "9")]),
        (["Content-Length: 5"], CHUNKED, [("Transfer-Encoding", "chunked")]),
        (["Content-Length: 5"], NO_BODY, []),
        ([], None, []),
        ([], Framing(BodyKind.LENGTH, 0), [("Content-Length", "0")]),
    ],
)
def test_the_framing_is_that_of_the_body_sent_on(lines: list[str], framing: Framing | None, written: Pairs) -> None:
    assert forwarded_headers(parse_request_head(request(*lines)), "i", framing)[2:] == written
    assert response_headers(parse_response_head(answer(*lines)), framing) == written


def test_answers_without_a_body_declare_no_chunks() -> None:
    got = parse_response_head(answer("Transfer-Encoding: chunked", first="HTTP/1.1 304 Not Modified"))
    assert response_headers(got) == []
    got = parse_response_head(answer("Content-Length: 5", first="HTTP/1.1 304 Not Modified"))
    assert response_headers(got) == [("Content-Length", "5")]
    for status in (101, 103, 204):
        got = parse_response_head(answer("Content-Length: 5", "A: b", first=f"HTTP/1.1 {status} X"))
        assert response_headers(got)[:1] == [("A", "b")]
        assert "Content-Length" not in dict(response_headers(got))


def test_an_upgrade_is_asked_for_and_granted_again() -> None:
    read = parse_request_head(request("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"))
    assert forwarded_headers(read, "i")[1:] == [
        ("Sec-WebSocket-Key", "k"),
        ("X-Forwarded-For", "i"),
        ("Connection", "Upgrade"),
        ("Upgrade", "WebSocket"),
    ]
    got = parse_response_head(answer("Upgrade: websocket", "Connection: Upgrade", first="HTTP/1.1 101 X"))
    assert response_headers(got) == [("Connection", "Upgrade"), ("Upgrade", "websocket")]


# -- writing --


def test_heads_are_written() -> None:
    headers = [("A", "1"), ("b", ""), ("c", "\xe4")]
    assert serialize_request("GET", "/x", headers) == b"GET /x HTTP/1.1\r\nA: 1\r\nb: \r\nc: \xe4\r\n\r\n"
    assert serialize_response(200, "", ()) == b"HTTP/1.1 200 \r\n\r\n"


@pytest.mark.parametrize(
    "bad", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\r\n", "a\r\n\r\nGET / HTTP/1.1", "\u20ac", "\x7f"]
)
def test_nothing_can_bring_in_a_line_of_its_own(bad: str) -> None:
    writers: list[Callable[[], bytes]] = [
        lambda: serialize_request("GET", "/", [("A", bad)]),
        lambda: serialize_request("GET", "/", [(bad, "a"), ("B", "b")]),
        lambda: serialize_request("GET", bad, []),
        lambda: serialize_request(bad, "/", []),
        lambda: serialize_response(200, bad, []),
        lambda: serialize_response(200, "OK", [("A", bad)]),
        lambda: serialize_response(200, "OK", [(bad, "b")]),
    ]
    for write in writers:
        with pytest.raises(ValueError, match="not a head"):
            write()


@pytest.mark.parametrize("name", ["", "a b", "a:", "a: b", ":", " a", "(", "\xe4"])
def test_a_name_that_is_none_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="not a head"):
        serialize_request("GET", "/", [(name, "x")])


@pytest.mark.parametrize(
    ("method", "target"), [("", "/"), ("G T", "/"), ("GET", ""), ("GET", "/a b"), ("GET", "/\xe4")]
)
def test_a_request_line_that_is_none_is_not_written(method: str, target: str) -> None:
    with pytest.raises(ValueError, match="not a head"):
        serialize_request(method, target, [])


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_a_status_that_is_none_is_not_written(status: int) -> None:
    with pytest.raises(ValueError, match="not a head"):
        serialize_response(status, "X", [])
