"""A chunked body of a model's own server: passed on as it came, but for lines that are not strict, which become so.

Pure: no socket; one instance for each body, used by one thread at a time. Understood are, besides what `chunked.py`
takes: lines that end in LF, or in more than one CR; blanks around a chunk's size, and zeros in front; anything in its
extension; trailers as in `lenient_heads.py`; a connection that ends behind the last chunk. Guarantees: whatever comes,
what `take` returns continues a strict chunked body, or its payload for a receiver that knows no chunks; an incomplete
line is held back until it is judged. `surplus`: something was not strict, or stands behind the body, so that no other
answer may follow on the connection.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.wire.chunked import MAX_LINE_BYTES, MAX_TRAILER_BYTES, BadChunk, ChunkScanner, Data, is_size_line
from llamaswap_lib.wire.lenient_heads import read_fields

_match_size = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r*\n").fullmatch
_unfinished_size = re.compile(rb"[ \t]*[0-9A-Fa-f]*[ \t]*(?:;[^\n]*|\r*)").fullmatch


class LenientChunkedBody:
    """Follows one; `take` raises BadChunk. `decoded`: only the payload is passed on."""

    __slots__ = ("_feed", "_is_decoded", "_rest", "_scanner", "done", "shows_its_end", "surplus")
    ends_by_close = False

    def __init__(self, *, decoded: bool = False) -> None:
        self._is_decoded = decoded
        self.shows_its_end = not decoded
        self._scanner = ChunkScanner()
        self._feed = self._scanner.feed
        self._rest: _Rest | None = None  # once it is not strict any more
        self.done = False
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        if self._rest is not None:
            return self._take_anew(self._rest, data)
        left_bytes, held, in_trailer = self._scanner.position
        payload: list[Data] | None = [] if self._is_decoded else None
        try:
            used = self._feed(data, payload)
        except BadChunk:
            self._rest, self.surplus = _Rest(left_bytes, in_trailer=in_trailer), True
            return self._take_anew(self._rest, held + data)
        self.done = self._scanner.done
        if used < len(data):
            self.surplus = True
            data = data[:used]
        if payload is not None:
            return b"".join(payload)
        return self._judged(held + data if held else data)

    def missing_end(self) -> bytes:
        """What completes the body if its sender ends it here, behind the last chunk; b"" where that is not enough."""
        if self._rest is None:
            _, held, in_trailer = self._scanner.position
            is_missing = in_trailer and not held
        else:
            is_missing = self._rest.lacks_only_its_end
        if self.done or not is_missing:
            return b""
        self.surplus = True
        return b"\r\n"

    def _judged(self, data: bytes) -> bytes:
        """`data` without the beginning of a line: who has got that could not be sent another line."""
        held = self._scanner.position[1]
        return data[: len(data) - len(held)] if held else data

    def _take_anew(self, rest: _Rest, data: bytes) -> bytes:
        sent, payload = rest.read(data)
        self.done = rest.done
        return payload if self._is_decoded else sent


class _Stage(Enum):
    """What comes next."""

    PAYLOAD = auto()
    END_OF_CHUNK = auto()
    SIZE = auto()
    TRAILER = auto()


class _Rest:
    """A body from where it stopped to be strict."""

    __slots__ = ("_held", "_left", "_payload", "_sent", "_stage", "_trailer", "_trailer_bytes", "done")

    def __init__(self, left_bytes: int, *, in_trailer: bool) -> None:
        """As a scanner says where it stands; all up to there was passed on."""
        self.done = False
        self._held = b""  # the beginning of a line
        self._left = max(0, left_bytes - 2)  # payload to come of the chunk that has begun
        self._sent: list[bytes] = []
        self._payload: list[bytes] = []
        self._trailer: list[str] = []
        self._trailer_bytes = 0
        if in_trailer:
            self._stage = _Stage.TRAILER
        elif left_bytes:
            self._stage = _Stage.PAYLOAD if self._left else _Stage.END_OF_CHUNK
        else:
            self._stage = _Stage.SIZE

    @property
    def lacks_only_its_end(self) -> bool:
        return self._stage is _Stage.TRAILER and not self._held

    def read(self, data: bytes) -> tuple[bytes, bytes]:
        """`data` with strict lines, and the payload in it; raises BadChunk."""
        data, self._held, start = self._held + data, b"", 0
        self._sent, self._payload = [], []
        while not self.done:
            if self._stage is _Stage.PAYLOAD:
                start += self._read_payload(data[start : start + self._left])
                if self._left:
                    break
            end = data.find(b"\n", start)
            if (len(data) if end < 0 else end) - start > MAX_LINE_BYTES:
                raise BadChunk("a line of the chunked framing is too long or malformed")
            if end < 0:
                self._hold(data[start:])
                break
            self._read_line(data[start : end + 1])
            start = end + 1
        return b"".join(self._sent), b"".join(self._payload)

    def _read_payload(self, piece: bytes) -> int:
        self._sent.append(piece)
        self._payload.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._stage = _Stage.END_OF_CHUNK
        return len(piece)

    def _read_line(self, line: bytes) -> None:
        """Take a line, with its end."""
        if self._stage is _Stage.END_OF_CHUNK:
            if line.strip(b"\r\n"):
                raise BadChunk("a chunk is longer than its size says")
            self._sent.append(b"\r\n")
            self._stage = _Stage.SIZE
        elif self._stage is _Stage.SIZE:
            size = _match_size(line)
            if size is None:
                raise BadChunk(f"malformed chunked framing: {line[:40]!r}")
            self._left = int(size[1], 16)
            self._sent.append(line if is_size_line(line) else b"%x\r\n" % self._left)
            self._stage = _Stage.PAYLOAD if self._left else _Stage.TRAILER
        else:
            self._read_trailer(line.rstrip(b"\r\n").decode("latin-1"))

    def _read_trailer(self, line: str) -> None:
        """Take a line; what they say is known with the last of them, since they may be folded."""
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise BadChunk("the trailer is too long")
        if line:
            if self._trailer or line[0] not in " \t":  # else it continues a line that has been passed on
                self._trailer.append(line)
            return
        try:
            fields, _ = read_fields(self._trailer)
        except BadGateway as bad:
            raise BadChunk(bad.message) from None
        self._sent += [f"{field}\r\n".encode("latin-1") for field in [*fields, ""]]
        self.done = True

    def _hold(self, line: bytes) -> None:
        """Keep the beginning of a line, if it can still become one."""
        if self._stage is _Stage.END_OF_CHUNK and line.strip(b"\r"):
            raise BadChunk("a chunk is longer than its size says")
        if self._stage is _Stage.SIZE and not _unfinished_size(line):
            raise BadChunk(f"malformed chunked framing: {line[:40]!r}")
        self._held = line
