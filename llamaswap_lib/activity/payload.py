"""What an answer says, out of the sample that was kept of it: without the framing of chunks and without its coding.

Pure, any thread. Guarantees: raises nothing whatever the bytes are; what it gives out is bounded by `MOST_BYTES` at
each end, and what is decoded on the way by `MOST_DECODED_BYTES`. Chunks are read leniently, as those of a local model
are sent on. Bytes of which it is not certain where they belong are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from llamaswap_lib.activity.record import Sample
from llamaswap_lib.errors import ContentTooLarge, HttpError
from llamaswap_lib.wire.content_coding import decode, find_codings

MOST_BYTES = 32_768  # of each end
MOST_DECODED_BYTES = 4 << 20
_WHOLE = 2 * MOST_BYTES

_match_size = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r*\n").match
_match_line_end = re.compile(rb"\r*\n").match
_find_boundaries = re.compile(rb"\n(?=[ \t]*[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\n]*)?\r*\n)").finditer
_match_trailer = re.compile(rb"(?:[^\r\n]+\r*\n)*(?:\r*\n)?").fullmatch

Origins = tuple[tuple[int, int], ...]
_AS_IT_CAME: Origins = ((0, 0),)


class Payload(NamedTuple):
    """The beginning and the end of what an answer says.

    Where nothing is missing between them, `head` is all and `tail` is b"". `origins` are (offset in `head`, offset in
    the sample) from where on bytes stand side by side in both; () where that cannot be told.
    """

    head: bytes = b""
    tail: bytes = b""
    is_whole: bool = True
    origins: Origins = _AS_IT_CAME

    def offset_in_sample(self, offset: int) -> int:
        """Where the byte at `offset` of `head` stands in the sample; -1: unknown."""
        found = -1
        for start, origin in self.origins:
            if start > offset:
                break
            found = origin + offset - start
        return found


_NOTHING = Payload(is_whole=False, origins=())


def payload_of(sample: Sample, encoding: str, *, is_chunked: bool) -> Payload:
    """What the sample holds. `encoding` is the answer's Content-Encoding; what has one is read only if it is whole."""
    is_whole = sample.is_whole
    head = sample.head
    if encoding and encoding.strip().lower() == "identity":
        encoding = ""
    if is_whole and not is_chunked and not encoding:
        return _bounded(head, _AS_IT_CAME)
    tail = sample.tail
    if encoding:
        if not is_whole:
            return _NOTHING
    elif is_whole and len(head) > _WHOLE:
        head, tail, is_whole = head[:MOST_BYTES], head[-MOST_BYTES:], False
    elif not is_whole:
        head, tail = head[:MOST_BYTES], tail[-MOST_BYTES:]
    origins = _AS_IT_CAME
    if is_chunked:
        head, origins = _without_chunks(head)
        tail = _end_without_chunks(tail)
    if encoding:
        return _decoded(head, encoding)
    return Payload(head, tail, is_whole, origins)


def _bounded(whole: bytes, origins: Origins) -> Payload:
    if len(whole) <= _WHOLE:
        return Payload(whole, b"", True, origins)
    return Payload(whole[:MOST_BYTES], whole[-MOST_BYTES:], False, origins)


# -- codings --


def _decoded(data: bytes, encoding: str) -> Payload:
    """Its beginning and its end, of what can be decoded whole; only its beginning, if it is very long."""
    pieces: list[bytes] = []
    is_too_long = False
    try:
        pieces.extend(decode((data,), find_codings((encoding,)), MOST_DECODED_BYTES, ContentTooLarge("")))
    except ContentTooLarge:
        is_too_long = True
    except HttpError:  # it is not what its headers say, or its end is missing
        return _NOTHING
    whole = b"".join(pieces)
    return Payload(whole[:MOST_BYTES], b"", False, ()) if is_too_long else _bounded(whole, ())


# -- chunks --


def _without_chunks(data: bytes) -> tuple[bytes, Origins]:
    """The payload of a chunked body from its beginning, as far as it goes."""
    pieces: list[bytes] = []
    origins: list[tuple[int, int]] = []
    at = size = 0
    while line := _match_size(data, at):
        length, start = int(line[1], 16), line.end()
        if not length:
            break
        piece = data[start : start + length]
        pieces.append(piece)
        origins.append((size, start))
        size += len(piece)
        line_end = _match_line_end(data, start + length)
        if line_end is None:
            break
        at = line_end.end()
    return b"".join(pieces), tuple(origins)


def _end_without_chunks(data: bytes) -> bytes:
    """The payload of the end of a chunked body; b"" where it cannot be told.

    A chunk begins where a chain of chunks leads from there to the very end. What stands in front of the first of them
    is the rest of a chunk whose size line is not there.
    """
    dead: set[int] = set()  # offsets from which no chain leads to the end
    for boundary in _find_boundaries(data):
        pieces = _chain(data, boundary.end(), dead)
        if pieces is not None:
            return b"".join((data[: boundary.start()].rstrip(b"\r"), *pieces))
    return b""


def _chain(data: bytes, at: int, dead: set[int]) -> list[bytes] | None:
    """The chunks from `at` to the end of the body, if there is nothing else; what was tried is added to `dead`."""
    pieces: list[bytes] = []
    for start, length, end in _links(data, at, dead):
        if end < 0:
            return None
        pieces.append(data[start : start + length])
    return pieces


def _links(data: bytes, at: int, dead: set[int]) -> Iterator[tuple[int, int, int]]:
    """Of each chunk from `at` on: where its payload begins, its length, and where the next one begins, -1: nowhere."""
    while at < len(data):
        line = None if at in dead else _match_size(data, at)
        dead.add(at)
        if line is None:
            yield 0, 0, -1
            return
        start, length = line.end(), int(line[1], 16)
        if not length:
            if _match_trailer(data, start) is None:
                yield 0, 0, -1
            return
        line_end = _match_line_end(data, start + length)
        if line_end is None:
            yield 0, 0, -1
            return
        at = line_end.end()
        yield start, length, at
