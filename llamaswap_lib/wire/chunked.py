"""Chunked transfer coding, followed (`ChunkScanner`) or taken apart (`ChunkDecoder`).

Pure: no socket, no clock; the code that moves the bytes calls it, one instance for a body, never two threads at once.
Guarantees: bytes may be cut anywhere; only the exact grammar of RFC 9112 passes, without its optional blanks and
without framing in the trailer (so what is passed on means the same to every other parser); memory stays below
`MAX_LINE_BYTES` whatever comes. Never waits for a line that cannot become a valid one any more, and never takes a
byte that stands behind the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_LINE_BYTES = 4_096
MAX_TRAILER_BYTES = 16_384
LAST_CHUNK = b"0\r\n\r\n"

_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# A server that merges trailers into the head must not find another framing or host in them.
_TRAILER_NAME = rb"(?!(?i:content-length|transfer-encoding|host):)" + _TOKEN + rb"+"
_EXTENSION = rb";" + _TEXT + rb"*"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")?\r\n")
_match_size = _SIZE_LINE.match
is_size_line = _SIZE_LINE.fullmatch
_match_trailer = re.compile(rb"(?:" + _TRAILER_NAME + rb":" + _TEXT + rb"*)?\r\n").match
_unfinished_size = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:" + _EXTENSION + rb")?\r?)?").fullmatch
_unfinished_trailer = re.compile(rb"(?:" + _TRAILER_NAME + rb"(?::" + _TEXT + rb"*\r?)?|\r)?").fullmatch

Data = bytes | bytearray | memoryview


class BadChunk(ValueError):
    """The chunked framing is broken: nothing behind this point can be trusted, the connection is of no more use."""


def chunk_of(data: bytes) -> bytes:
    """`data`, not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkScanner:
    """Follows a chunked body without touching its bytes, to know where it ends."""

    __slots__ = ("_held", "_in_trailer", "_left", "_trailer_bytes", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes to come of the chunk begun, its CRLF included; 0: a size line comes next; never 1
        self._held = b""  # the beginning of a line, or the CR behind a chunk, seen but not yet judged
        self._in_trailer = False
        self._trailer_bytes = 0

    @property
    def position(self) -> tuple[int, bytes, bool]:
        """Where it stands: bytes to come of the chunk begun, its CRLF included, 0 for none; what was seen of a line,
        and is not judged yet, which ends what was fed; whether the last chunk's line has been.
        """
        return self._left, self._held, self._in_trailer

    def feed(self, data: Data, payload: list[Data] | None = None) -> int:
        """How many bytes of `data` belong to this body: all of them until `done`; raises BadChunk.

        The pieces of payload among them are appended to `payload`.
        """
        held = self._held
        if held:
            self._held = b""
            return self.feed(held + data, payload) - len(held)
        if self._in_trailer:
            return 0 if self.done else self._walk_trailer(data, 0)
        size, start, end = len(data), 0, self._left
        while True:
            if payload is not None and end:
                payload.append(data[start : min(end - 2, size)])
            if end > size:
                return self._stop_inside_chunk(data, end)
            if end and data[end - 2 : end] != b"\r\n":
                raise BadChunk("a chunk is longer than its size says")
            self._left = 0
            if end == size:
                return size
            line = _match_size(data, end)
            if line is None:
                return self._hold(data, end, _unfinished_size)
            start = line.end()
            length = int(line[1], 16)
            if start - end > MAX_LINE_BYTES:
                raise BadChunk("a chunk's size line is too long")
            if not length:
                self._in_trailer = True
                return self._walk_trailer(data, start)
            end = start + length + 2

    def _stop_inside_chunk(self, data: Data, end: int) -> int:
        size = len(data)
        self._left = end - size
        if self._left == 1:
            if data[size - 1 :] != b"\r":
                raise BadChunk("a chunk is longer than its size says")
            self._left, self._held = 2, b"\r"
        return size

    def _walk_trailer(self, data: Data, start: int) -> int:
        while True:
            line = _match_trailer(data, start)
            if line is None:
                return self._hold(data, start, _unfinished_trailer)
            length = line.end() - start
            self._trailer_bytes += length
            if length > MAX_LINE_BYTES or self._trailer_bytes > MAX_TRAILER_BYTES:
                raise BadChunk("the trailer is too long")
            if length == 2:
                self.done = True
                return line.end()
            start = line.end()

    def _hold(self, data: Data, start: int, unfinished: Callable[[bytes], object]) -> int:
        """Keeps the beginning of a line for the next piece, if it can still become a line."""
        rest = bytes(data[start : start + MAX_LINE_BYTES])
        if start + len(rest) < len(data):
            raise BadChunk("a line of the chunked framing is too long or malformed")
        if not unfinished(rest):
            raise BadChunk(f"malformed chunked framing: {rest[:40]!r}")
        self._held = rest
        return len(data)


class ChunkDecoder:
    """The same, giving out the payload: for a receiver that does not speak chunked, and for bodies that we read."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        self._scanner = ChunkScanner()

    @property
    def done(self) -> bool:
        return self._scanner.done

    def feed(self, data: Data) -> tuple[bytes, int]:
        """The payload in `data`, and how many bytes of `data` belong to this body; raises BadChunk."""
        payload: list[Data] = []
        consumed = self._scanner.feed(data, payload)
        return b"".join(payload), consumed
