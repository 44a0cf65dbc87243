"""Heads on their way out: what goes on to the next hop, and that nothing brings in a line of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llamaswap_lib.wire.headers import request_fields, response_fields, serialize_response, with_readable_codings
from llamaswap_lib.wire.heads import RequestHead, ResponseHead, read_pairs
from llamaswap_lib.wire.parser import parse_request_head, parse_response_head

Pairs = list[tuple[str, str]]


def request(*lines: str, first: str = "POST /v1/x?y=%20 HTTP/1.1", host: str = "Host: h:1") -> bytes:
    return bare(first, host, *lines)


def bare(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def answer(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return bare(first, *lines)


def sent_on(head: RequestHead, client_ip: str, body_bytes: int | None = None) -> Pairs:
    return read_pairs(request_fields(head, client_ip, head.content_length if body_bytes is None else body_bytes))


def passed_back(head: ResponseHead, *, is_decoded: bool = False) -> Pairs:
    return read_pairs(response_fields(head, is_decoded=is_decoded))


# -- what goes on --


def test_hop_by_hop_headers_go_no_further() -> None:
    hop = ["Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: x", "Proxy-Authenticate: x", "TE: trailers"]
    hop += ["Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "Expect: 100-continue", "X-Named: x", "Cookie: c"]
    read = parse_request_head(request("A: 1", *hop, "Connection: x-named, COOKIE", "Content-Length: 3", "a: 2"))
    assert sent_on(read, "1.2.3.4") == [
        ("Host", "h:1"),
        ("A", "1"),
        ("Content-Length", "3"),
        ("a", "2"),
        ("X-Forwarded-For", "1.2.3.4"),
    ]
    got = parse_response_head(answer("A: 1", *hop, "Connection: x-named", "Connection: cookie", "Content-Length: 3"))
    assert passed_back(got) == [("A", "1"), ("Content-Length", "3")]


def test_connection_cannot_take_away_host_or_length() -> None:
    read = parse_request_head(request("Connection: host, content-length, x-forwarded-for", "Content-Length: 3"))
    assert sent_on(read, "::1") == [("Host", "h:1"), ("Content-Length", "3"), ("X-Forwarded-For", "::1")]
    got = parse_response_head(answer("Connection: Content-Length", "Content-Length: 3"))
    assert passed_back(got) == [("Content-Length", "3")]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("Accept-Encoding: gzip, deflate", "Accept-Encoding: gzip, deflate"),
        ("accept-encoding:gzip;q=0.5,identity", "accept-encoding:gzip;q=0.5,identity"),
        ("ACCEPT-Encoding: br, gzip;q=0.9, zstd,deflate", "ACCEPT-Encoding: gzip;q=0.9,deflate"),
        ("Accept-Encoding: br;q=1.0", "Accept-Encoding: identity"),
        ("Accept-Encoding: *", "Accept-Encoding: identity"),
        ("Accept-Encoding:", "Accept-Encoding:"),
        ("X-Accept-Encoding: br", "X-Accept-Encoding: br"),
    ],
)
def test_codings_that_are_read_are_asked_for_and_no_other_ones(asked: str, sent: str) -> None:
    assert with_readable_codings(f"A: 1\r\n{asked}\r\nB: br\r\n") == f"A: 1\r\n{sent}\r\nB: br\r\n"
    assert with_readable_codings(f"{asked}\r\n{asked}\r\n") == f"{sent}\r\n{sent}\r\n"


def test_the_client_is_appended_to_those_before_it() -> None:
    read = parse_request_head(request("X-Forwarded-For: 9.9.9.9", "x-forwarded-for: 8.8.8.8, 7.7.7.7", "X-Real-IP: 6"))
    assert sent_on(read, "1.2.3.4")[1:] == [
        ("X-Real-IP", "6"),
        ("X-Forwarded-For", "9.9.9.9, 8.8.8.8, 7.7.7.7, 1.2.3.4"),
    ]
    read = parse_request_head(request("X-Forwarded-For: 9.9.9.9", "Connection: X-Forwarded-For"))
    assert sent_on(read, "1.2.3.4")[1:] == [("X-Forwarded-For", "1.2.3.4")]
    read = parse_request_head(request("X-Forwarded-For:"))
    assert sent_on(read, "1.2.3.4")[1:] == [("X-Forwarded-For", "1.2.3.4")]


@pytest.mark.parametrize(
    ("lines", "body_bytes", "written"),
    [
        (["Transfer-Encoding: chunked"], 9, [("Content-Length", "9")]),
        (["Content-Length: 5"], 5, [("Content-Length", "5")]),
        (["Content-Length: 5"], 9, [("Content-Length", "9")]),
        ([], None, []),
        (["Content-Length: 0"], 0, [("Content-Length", "0")]),
    ],
)
def test_the_framing_is_that_of_the_body_sent_on(lines: list[str], body_bytes: int | None, written: Pairs) -> None:
    sent = sent_on(parse_request_head(request(*lines)), "i", body_bytes)
    assert sent == [("Host", "h:1"), *written, ("X-Forwarded-For", "i")]


@pytest.mark.parametrize(
    ("line", "is_decoded", "written"),
    [
        ("Transfer-Encoding: chunked", False, [("Transfer-Encoding", "chunked")]),
        ("Transfer-Encoding: chunked", True, []),
        ("Content-Length: 5", False, [("Content-Length", "5")]),
        ("A: b", False, [("A", "b")]),
    ],
)
def test_the_framing_of_an_answer_is_kept_unless_it_is_decoded(line: str, is_decoded: bool, written: Pairs) -> None:
    assert passed_back(parse_response_head(answer(line)), is_decoded=is_decoded) == written


def test_a_comma_too_many_in_connection_names_no_line() -> None:
    read = parse_request_head(request("X: y", "Connection: keep-alive,, ,"))
    assert sent_on(read, "i") == [("Host", "h:1"), ("X", "y"), ("X-Forwarded-For", "i")]
    head = parse_response_head(answer("Transfer-Encoding: chunked", "Connection: ,close", "X: y"))
    assert passed_back(head) == [("X", "y"), ("Transfer-Encoding", "chunked")]
    assert not head.keep_alive


def test_lines_that_go_on_go_on_as_they_came() -> None:
    lines = ["X-Blank:", "x-spaces: \t a  b \t", "NoBlank:1", "Umlaut: \xe4\x85\xa0", "x-spaces: again"]
    assert request_fields(parse_request_head(request(*lines, "TE: trailers")), "i", None) == (
        "Host: h:1\r\nX-Blank:\r\nx-spaces: \t a  b \t\r\nNoBlank:1\r\nUmlaut: \xe4\x85\xa0\r\nx-spaces: again\r\n"
        "X-Forwarded-For: i\r\n"
    )


def test_answers_without_a_body_declare_no_chunks() -> None:
    got = parse_response_head(answer("Transfer-Encoding: chunked", first="HTTP/1.1 304 Not Modified"))
    assert passed_back(got) == []
    got = parse_response_head(answer("Content-Length: 5", first="HTTP/1.1 304 Not Modified"))
    assert passed_back(got) == [("Content-Length", "5")]
    for status in (101, 103, 204):
        got = parse_response_head(answer("Content-Length: 5", "A: b", first=f"HTTP/1.1 {status} X"))
        assert passed_back(got)[:1] == [("A", "b")]
        assert "Content-Length" not in dict(passed_back(got))


def test_an_upgrade_is_asked_for_and_granted_again() -> None:
    read = parse_request_head(request("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"))
    assert sent_on(read, "i")[1:] == [
        ("Sec-WebSocket-Key", "k"),
        ("Connection", "Upgrade"),
        ("Upgrade", "WebSocket"),
        ("X-Forwarded-For", "i"),
    ]
    got = parse_response_head(answer("Upgrade: websocket", "Connection: Upgrade", first="HTTP/1.1 101 X"))
    assert passed_back(got) == [("Connection", "Upgrade"), ("Upgrade", "websocket")]


# -- writing --


def test_heads_are_written() -> None:
    headers = [("A", "1"), ("b", ""), ("c", "\xe4")]
    assert serialize_response(200, "OK", headers) == "HTTP/1.1 200 OK\r\nA: 1\r\nb: \r\nc: \xe4\r\n"
    assert serialize_response(200, "", ()) == "HTTP/1.1 200 \r\n"


@pytest.mark.parametrize(
    "bad", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\r\n", "a\r\n\r\nGET / HTTP/1.1", "\u20ac", "\x7f"]
)
def test_nothing_can_bring_in_a_line_of_its_own(bad: str) -> None:
    writers: list[Callable[[], str]] = [
        lambda: serialize_response(200, bad, []),
        lambda: serialize_response(200, "OK", [("A", bad)]),
        lambda: serialize_response(200, "OK", [(bad, "b")]),
        lambda: serialize_response(200, "OK", [(bad, "a"), ("B", "b")]),
    ]
    for write in writers:
        with pytest.raises(ValueError, match="not a head"):
            write()


@pytest.mark.parametrize("name", ["", "a b", "a:", "a: b", ":", " a", "(", "\xe4"])
def test_a_name_that_is_none_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="not a head"):
        serialize_response(200, "OK", [(name, "x")])


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_a_status_that_is_none_is_not_written(status: int) -> None:
    with pytest.raises(ValueError, match="not a head"):
        serialize_response(status, "X", [])
