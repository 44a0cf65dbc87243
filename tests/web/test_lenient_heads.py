"""Heads that are not strict HTTP: what each slip comes to mean, and which are refused."""

from __future__ import annotations

import pytest

from llamaswap_lib.errors import BadGateway, BadRequest, HeadTooLarge
from llamaswap_lib.wire.heads import ResponseHead
from llamaswap_lib.wire.lenient_heads import MAX_HEAD_BYTES, AnswerHeadReader, read_leniently

LINE = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes) -> ResponseHead:
    """The head that `data` is, to its last byte, in one piece and byte by byte."""
    head, end = read_leniently(data + b"body\n\n")
    assert head is not None
    assert end == len(data)
    reader = AnswerHeadReader(lenient=True)
    whole = None
    for size in range(1, len(data) + 1):
        assert whole is None, "it ends before its end"
        whole = reader.read(data[:size], size - 1)
    assert whole == head
    return head


def meaning(data: bytes) -> tuple[int, str, str, int | None, bool]:
    head = read(data)
    return head.status, head.reason, head.fields, head.content_length, head.chunked


LENGTH_5 = (200, "OK", "Content-Length: 5\r\n", 5, False)
CHUNKED = (200, "OK", "Transfer-Encoding: chunked\r\n", None, True)
NO_LENGTH = (200, "OK", "", None, False)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # lines
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\n", LENGTH_5),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\n", LENGTH_5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n", LENGTH_5),
        (b"HTTP/1.1 200 OK\r\r\nContent-Length: 5\r\r\n\r\r\n", LENGTH_5),
        (b"\r\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", LENGTH_5),
        # the status line
        (b"http/1.1 200 OK\r\n\r\n", NO_LENGTH),
        (b"HTTP/1.1  200  OK \r\n\r\n", NO_LENGTH),
        (b"HTTP/1.1\t200 OK\r\n\r\n", NO_LENGTH),
        (b"HTTP/1 200 OK\n\n", NO_LENGTH),
        (b"HTTP/1.2 200 OK\r\n\r\n", NO_LENGTH),
        (b"HTTP/1.1 404\n\n", (404, "", "", None, False)),
        (b"HTTP/1.1 404 \n\n", (404, "", "", None, False)),
        (b"HTTP/1.1 200 a\0b\r\n\r\n", (200, "a b", "", None, False)),
        # how long the body is
        (LINE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", LENGTH_5),
        (LINE + b"Content-Length: 5\r\ncontent-length:05\r\n\r\n", LENGTH_5),
        (LINE + b"Content-Length: 5, 5\r\n\r\n", LENGTH_5),
        (LINE + b"Content-Length : 5\r\n\r\n", LENGTH_5),
        (LINE + b"Content-Length:\r\n 5\r\n\r\n", LENGTH_5),
        (LINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED),
        (LINE + b"Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED),
        (LINE + b"Transfer-Encoding: Chunked\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED),
        (LINE + b"Transfer-Encoding: identity, chunked\r\n\r\n", CHUNKED),
        (LINE + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n", LENGTH_5),
        (LINE + b"Transfer-Encoding: identity\r\n\r\n", NO_LENGTH),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED),
        # other headers
        (LINE + b"X: a\r\n  b\r\n\tc \r\n\r\n", (200, "OK", "X: a b c\r\n", None, False)),
        (LINE + b"X: a\r\n \r\nY: b\r\n\r\n", (200, "OK", "X: a\r\nY: b\r\n", None, False)),
        (LINE + b"X:\r\n b\r\n\r\n", (200, "OK", "X: b\r\n", None, False)),
        (LINE + b"X \t: a\r\n\r\n", (200, "OK", "X: a\r\n", None, False)),
        (LINE + b"X: a\0\x01b\rc\x7f\r\n\r\n", (200, "OK", "X: a  b c\r\n", None, False)),
        (LINE + b"X: \xc3\xa4 \xe4\nY:\n\n", (200, "OK", "X: \xc3\xa4 \xe4\r\nY:\r\n", None, False)),
        (LINE + b"X Y: a\r\nZ: b\r\n\r\n", (200, "OK", "Z: b\r\n", None, False)),
        (LINE + b": a\r\nX(y): a\r\n\xc3\xa4: a\r\n\r\n", NO_LENGTH),
        (LINE + b"Host: a\r\nHost: b\r\n\r\n", NO_LENGTH),
    ],
)
def test_a_slip_with_one_meaning_is_understood(head: bytes, expected: tuple[int, str, str, int | None, bool]) -> None:
    assert meaning(head) == expected


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"SSH-2.0-OpenSSH\n", "malformed status line 'SSH-2.0-OpenSSH'"),
        (b"HTTP/2 200 OK\n\n", "malformed status line"),
        (b"HTTP/1.1 200OK\r\n\r\nX\n\n", "malformed status line"),
        (b"HTTP/1.1 20 OK\n\n", "malformed status line"),
        (b"\n\n{}\n\n", "malformed status line"),
        (LINE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "two different lengths"),
        (LINE + b"Content-Length: 5, 6\r\n\r\n", "two different lengths"),
        (LINE + b"Content-Length: 5\r\n 5\r\n\r\n", "'5 5' is not a length"),
        (LINE + b"Content-Length: +5\n\n", "'+5' is not a length"),
        (LINE + b"Content-Length: -5\n\n", "is not a length"),
        (LINE + b"Content-Length: 0x5\n\n", "is not a length"),
        (LINE + b"Content-Length: 5,\n\n", "'' is not a length"),
        (LINE + b"Content-Length:\n\n", "'' is not a length"),
        (LINE + b"Content-Length: 5\0\n\n", "is not a length"),
        (LINE + b"Content-Length: " + b"9" * 19 + b"\n\n", "is not a length"),
        (LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "'gzip, chunked' is not supported, only chunked is"),
        (LINE + b"Transfer-Encoding: chunked\x0b\r\n\r\n", "is not supported"),
        (LINE + b" X: a\r\n\r\n", "a folded line after the status line"),
        (LINE + b"nonsense\r\n\r\n", "a header line without a colon, 'nonsense'"),
        (LINE + b"X: " + b"x" * MAX_HEAD_BYTES, "larger than 262144 bytes"),
        (LINE + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", "larger than 262144 bytes"),
        (b"\n" * (MAX_HEAD_BYTES + 1), "larger than 262144 bytes"),
    ],
)
def test_what_is_ambiguous_or_no_head_is_refused(head: bytes, reason: str) -> None:
    with pytest.raises(BadGateway) as refused:
        AnswerHeadReader(lenient=True).read(head, 0)
    assert reason in refused.value.message


def test_a_head_up_to_256_kb_is_taken() -> None:
    lines = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(250))
    reader = AnswerHeadReader(lenient=True)
    head = reader.read(LINE + lines + b"\r\n", 0)
    assert head is not None
    assert head.fields.encode() == lines
    assert not reader.is_strict


def test_a_strict_head_is_read_as_ever_and_so_is_its_length() -> None:
    data = LINE + b"X:  a \r\nContent-Length: 5\r\n\r\n"
    reader = AnswerHeadReader(lenient=True)
    head = reader.read(data + b"a\n\nb", 0)
    assert head is not None
    assert (head.fields, reader.end, reader.is_strict) == ("X:  a \r\nContent-Length: 5\r\n", len(data), True)


def test_lines_of_a_strict_form_stay_as_they_are() -> None:
    assert read(b"HTTP/1.1 200 OK\nX:a  b\nY-\xc3\xa4: no\nZ:\tc\n\n").fields == "X:a  b\r\nZ:\tc\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\n",
        LINE + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        LINE + b"X: " + b"x" * 70_000,
    ],
)
def test_without_leniency_a_slip_is_refused(head: bytes) -> None:
    with pytest.raises((BadRequest, BadGateway, HeadTooLarge)):
        AnswerHeadReader(lenient=False).read(head, 0)


def test_a_head_of_a_quarter_of_a_megabyte_of_folds_takes_no_time() -> None:
    text = LINE + b"X: a" + b"\r\n " * 80_000 + b"\r\nY:" + b"\r" * 10_000 + b"\r\n\r\n"
    assert read_leniently(text)[0] is not None
