"""Chunked bodies that are not strict: what goes on to the client is."""

from __future__ import annotations

import pytest

from llamaswap_lib.wire.chunked import MAX_LINE_BYTES, BadChunk, ChunkDecoder
from llamaswap_lib.wire.lenient_chunks import LenientChunkedBody

STRICT = b"5;a=b\r\nhello\r\n0001\r\n!\r\n0\r\nX: y\r\n\r\n"


def cuts_of(data: bytes) -> list[list[bytes]]:
    """`data` whole, byte by byte, and in two pieces at each place."""
    bytes_each = [data[at : at + 1] for at in range(len(data))]
    return [[data], bytes_each, *([data[:at], data[at:]] for at in range(1, len(data)))]


def passed_on(pieces: list[bytes], *, decoded: bool = False) -> tuple[bytes, LenientChunkedBody]:
    """What goes to the receiver, the connection's end behind it included."""
    body = LenientChunkedBody(decoded=decoded)
    sent = b"".join([body.take(piece) for piece in pieces])
    if missing := body.missing_end():
        sent += body.take(missing)
    return sent, body


def payload_of(chunked: bytes) -> bytes:
    """The payload of a whole strict body, which has nothing behind it."""
    decoder = ChunkDecoder()
    payload, used = decoder.feed(chunked)
    assert (decoder.done, used) == (True, len(chunked)), chunked
    return payload


def test_a_strict_body_passes_byte_for_byte_however_it_is_cut() -> None:
    for pieces in cuts_of(STRICT):
        sent, body = passed_on(pieces)
        assert sent == STRICT
        assert (body.done, body.surplus) == (True, False)
        payload, decoded = passed_on(pieces, decoded=True)
        assert payload == b"hello!"
        assert (decoded.done, decoded.surplus) == (True, False)


@pytest.mark.parametrize(
    "body",
    [
        b"5  \r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        b"5\r\nhello\r\n 1\t\r\n!\r\n 0 \r\n\r\n",
        b"5\nhello\n1\n!\n0\n\n",
        b"5\r\nhello\n1\r\n!\r\n0\r\n\r\n",
        b"5\r\r\nhello\r\r\n1\r\n!\r\r\n0\r\r\n\r\r\n",
        b"00000000000000000000005\r\nhello\r\n01\r\n!\r\n0000000000000000000000\r\n\r\n",
        b"5 ; a=b\r\nhello\r\n1;\0\rx\r\n!\r\n0;\x01\r\n\r\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\nX : y\r\nZ(: no\r\n\r\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: y\r\n\r\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\nX: a\r\n b\nY: c\n\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\n",
        b"5\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n",
    ],
)
def test_a_slip_is_made_strict_and_says_the_same_however_it_is_cut(body: bytes) -> None:
    whole, _ = passed_on([body])
    for pieces in cuts_of(body):
        sent, follower = passed_on(pieces)
        assert payload_of(sent) == b"hello!", pieces
        assert sent == whole or b"\n " in body  # but a folded trailer may lose what comes later
        assert (follower.done, follower.surplus) == (True, True)
        payload, decoded = passed_on(pieces, decoded=True)
        assert payload == b"hello!"
        assert (decoded.done, decoded.surplus) == (True, True)


def test_lines_that_are_strict_pass_as_they_came() -> None:
    sent, _ = passed_on([b"05;x\r\nhello\r\n001 \r\n!\r\n0002;y\r\nab\r\n00\r\n\r\n"])
    assert sent == b"05;x\r\nhello\r\n1\r\n!\r\n0002;y\r\nab\r\n00\r\n\r\n"


def test_trailers_go_on_in_their_strict_form() -> None:
    sent, _ = passed_on([b"1\r\n!\r\n0\nX : a\n b\nno name: x\nHost: h\nY:\x00c\n\n"])
    assert sent == b"1\r\n!\r\n0\r\nX: a b\r\nY: c\r\n\r\n"


def test_nothing_behind_the_body_is_passed_on() -> None:
    sent, body = passed_on([b"1 \r\n!\r\n0\r\n\r\nHTTP/1.1 200 OK"])
    assert sent == b"1\r\n!\r\n0\r\n\r\n"
    assert body.done


@pytest.mark.parametrize(
    "broken",
    [
        b"0x1\r\n!\r\n",
        b"+1\r\n!\r\n",
        b"-1\r\n",
        b"1 2\r\n!\r\n",
        b"\r\n1\r\n!\r\n",
        b"g\r\n",
        b"\xff\r\n",
        b"f" * 17 + b"\r\n",
        b"1\r!\r\n",
        b"2\r\n!!!\r\n",
        b"2\r\n!!x",
        b"2\r\n!! \r\n",
        b"1;" + b"x" * MAX_LINE_BYTES,
        b"0" * MAX_LINE_BYTES + b"1\r\n!\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n" + b"X: 12345678\n" * 2_000 + b"\n",
    ],
)
def test_what_has_no_one_meaning_is_refused_at_once(broken: bytes) -> None:
    body = LenientChunkedBody()
    with pytest.raises(BadChunk):
        body.take(b"5 \r\nhello\r\n" + broken)
    strict_before = LenientChunkedBody()
    assert strict_before.take(b"5\r\nhello\r\n") == b"5\r\nhello\r\n"
    with pytest.raises(BadChunk):
        strict_before.take(broken)


@pytest.mark.parametrize("cut", [b"", b"5", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"0", b"0\r", b"0\r\nX: y"])
@pytest.mark.parametrize("before", [b"", b"1 \n!\n"])
def test_a_body_that_breaks_off_elsewhere_has_no_end(before: bytes, cut: bytes) -> None:
    body = LenientChunkedBody()
    body.take(before)
    body.take(cut)
    assert (body.missing_end(), body.done) == (b"", False)
