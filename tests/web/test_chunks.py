"""Chunked framing: whole, byte by byte, and rubbish; what is accepted, h11 reads the same."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaswap_lib.wire.chunked import MAX_LINE_BYTES, MAX_TRAILER_BYTES, BadChunk, ChunkDecoder, ChunkScanner

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", b"hello!"),
    (b"A\r\n0123456789\r\na\r\n" + b"\r\n" * 6 + b"0\r\n\r\n", b"0123456789" + b"\r\n" * 5),
    (b'3;name=value;q="a b"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    (b"3;\r\nabc\r\n0\r\nExpires: never\r\nX:\r\n\r\n", b"abc"),
    (b"0000000000000003\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r"),
]
BAD = [
    b"-1\r\n",
    b"+1\r\nx\r\n",
    b" 1\r\nx\r\n",
    b"1 \r\nx\r\n",
    b"1 ;x\r\n",
    b"0x1\r\nx\r\n",
    b"1_0\r\n",
    b"g\r\n",
    b"\r\n",
    b"\n",
    b";x\r\n",
    b"5\nhello\n",
    b"1\rx",
    b"1\r\r\n",
    b"1;a\nx",
    b"1;a\0\r\n",
    b"%x\r\n" % 2**70,
    b"0" * 17,
    b"1\r\nxx",
    b"1\r\nx\n",
    b"1\r\nx\rx",
    b"1\r\nx0\r\n\r\n",
    b"1;" + b"x" * MAX_LINE_BYTES,
    b"1;" + b"x" * MAX_LINE_BYTES + b"\r\n",
    b"0\r\nno colon\r\n",
    b"0\r\n: x\r\n",
    b"0\r\nname : x\r\n",
    b"0\r\n folded\r\n",
    b"0\r\nTransfer-Encoding:",
    b"0\r\nx: y\r\ncontent-length:",
    b"0\r\nHOST:",
    b"0\r\na: b\n\r\n",
    b"0\r\na: b\rc\r\n",
    b"0\r\na: \0\r\n",
    b"0\r\n\n",
    b"0\r\n\rx",
    b"0\r\na:" + b"x" * MAX_LINE_BYTES,
    b"0\r\na:" + b"x" * MAX_LINE_BYTES + b"\r\n\r\n",
    b"0\r\n" + b"a: b\r\n" * (MAX_TRAILER_BYTES // 6 + 1),
]


def scan(pieces: list[bytes]) -> tuple[int, bool]:
    scanner = ChunkScanner()
    return sum(scanner.feed(piece) for piece in pieces), scanner.done


def decode(pieces: list[bytes]) -> tuple[bytes, bool]:
    decoder = ChunkDecoder()
    payload = b"".join(decoder.feed(piece)[0] for piece in pieces)
    return payload, decoder.done


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def read_by_h11(data: bytes) -> tuple[bytes, bytes]:
    """The payload, and what stands behind the body."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(HEAD + data)
    payload = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            payload += event.data
        elif isinstance(event, h11.EndOfMessage):
            return payload, connection.trailing_data[0]
        else:
            assert isinstance(event, h11.Response)


@pytest.mark.parametrize(("data", "payload"), GOOD)
def test_a_body_is_followed_whole_and_byte_by_byte(data: bytes, payload: bytes) -> None:
    behind = b"HTTP/1.1 200 OK"
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], cut(data, [2] * (len(data) // 2))):
        assert scan(pieces) == (len(data), True)
        assert decode(pieces) == (payload, True)
    assert scan([data + behind]) == (len(data), True)
    assert scan([data[:-1], data[-1:] + behind, behind]) == (len(data), True)
    decoder = ChunkDecoder()
    assert decoder.feed(data + behind) == (payload, len(data))
    assert decoder.feed(behind) == (b"", 0)
    assert read_by_h11(data + behind) == (payload, behind)


@pytest.mark.parametrize(("data", "payload"), GOOD)
def test_a_body_is_not_done_before_its_last_byte(data: bytes, payload: bytes) -> None:
    for end in range(len(data)):
        assert scan([data[:end]]) == (end, False)


@pytest.mark.parametrize("data", BAD)
def test_bad_framing_is_refused_whole_and_byte_by_byte(data: bytes) -> None:
    with pytest.raises(BadChunk):
        scan([data])
    with pytest.raises(BadChunk):
        scan([data[i : i + 1] for i in range(len(data))])
    with pytest.raises(BadChunk):
        scan([b"3\r\nabc\r\n" + data])


@pytest.mark.parametrize("data", [b"-", b"z", b"\n", b"1\r1", b"1\r\nxy", b"0\r\n:", b"0\r\n\rx", b"f" * 17])
def test_what_cannot_become_a_line_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(BadChunk):
        scan([data])


def test_a_size_of_sixteen_digits_is_only_counted() -> None:
    scanner = ChunkScanner()
    assert scanner.feed(b"ffffffffffffffff\r\n" + b"x" * 1000) == 1018
    assert scanner.feed(b"x" * 1000) == 1000
    assert not scanner.done


@pytest.mark.slow
def test_a_line_may_be_as_long_as_its_bound() -> None:
    for line in (b"1;", b"0\r\na:"):
        data = line + b"x" * (MAX_LINE_BYTES - len(line.removeprefix(b"0\r\n")) - 2) + b"\r\n"
        assert scan([data]) == (len(data), False)
        assert scan([data[i : i + 1] for i in range(len(data))]) == (len(data), False)


def test_memoryviews_and_bytearrays_are_followed_too() -> None:
    data = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"
    for end in range(len(data)):
        assert scan([data[:end], b""]) == (end, False)
        scanner, decoder = ChunkScanner(), ChunkDecoder()
        assert scanner.feed(memoryview(data)[:end]) + scanner.feed(bytearray(data[end:])) == len(data)
        first, second = decoder.feed(memoryview(data)[:end]), decoder.feed(memoryview(data)[end:])
        assert first[0] + second[0] == b"hello"
        assert scanner.done
        assert decoder.done


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 12), max_size=40))
def test_any_chunks_cut_anywhere_give_their_payload(chunks: list[bytes], sizes: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    pieces = cut(data, sizes)
    assert decode(pieces) == (b"".join(chunks), True)
    assert scan(pieces) == (len(data), True)


FRAGMENTS = [b"0", b"1", b"a", b"\r\n", b"\r", b"\n", b";", b"x", b":", b" ", b"0\r\n\r\n", b"1\r\nx\r\n", b"\0", b"-"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.lists(st.integers(0, 5), max_size=14))
def test_rubbish_is_judged_the_same_however_it_is_cut_and_h11_agrees(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(parts)
    try:
        whole = scan([data])
    except BadChunk:
        with pytest.raises(BadChunk):
            scan(cut(data, sizes))
        return
    assert scan(cut(data, sizes)) == whole
    used, done = whole
    if done:
        assert read_by_h11(data) == (decode([data])[0], data[used:])
