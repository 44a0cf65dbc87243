"""A body as it flows: what is passed on of each piece, and when the last byte was there.

Pure: no socket; one instance for each body, used by the loop. Guarantees: what `take` returns is what goes to the
receiver, byte for byte as received, and nothing that stands behind the body; of a lenient body, lines that are not
strict are made so. Never collects. `ends_by_close`: the sender ends it by closing. `shows_its_end`: the receiver can
tell a whole body from one that broke off.
"""

from __future__ import annotations

from llamaswap_lib.wire.chunked import ChunkScanner, Data, chunk_of
from llamaswap_lib.wire.heads import BodyKind, Framing
from llamaswap_lib.wire.lenient_chunks import LenientChunkedBody


class LengthBody:
    """A body of `Content-Length` bytes."""

    __slots__ = ("done", "left_bytes", "surplus")
    ends_by_close = False
    shows_its_end = True

    def __init__(self, length_bytes: int) -> None:
        self.left_bytes = length_bytes
        self.done = length_bytes == 0
        self.surplus = False  # the sender sent more than the body: its connection cannot be trusted any more

    def take(self, data: bytes) -> bytes:
        self.left_bytes -= len(data)
        if self.left_bytes > 0:
            return data
        self.done = True
        if self.left_bytes == 0:
            return data
        self.surplus = True
        data = data[: self.left_bytes]
        self.left_bytes = 0
        return data


class ChunkedBody:
    """A chunked body, its framing passed on as it came, or `decoded` for a receiver that knows no chunks.

    `take` raises BadChunk.
    """

    __slots__ = ("_is_decoded", "_scanner", "done", "shows_its_end", "surplus")
    ends_by_close = False

    def __init__(self, *, decoded: bool = False) -> None:
        self._scanner = ChunkScanner()
        self._is_decoded = decoded
        self.shows_its_end = not decoded
        self.done = False
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        payload: list[Data] | None = [] if self._is_decoded else None
        used = self._scanner.feed(data, payload)
        self.done = self._scanner.done
        self.surplus = used < len(data)
        if payload is not None:
            return b"".join(payload)
        return data[:used] if self.surplus else data


class ClosedBody:
    """A body that ends where its connection ends.

    `chunking` is for a receiver that reads chunks: each piece becomes one, and the last chunk is left to the caller.
    """

    __slots__ = ("_is_chunking", "shows_its_end")
    ends_by_close = True
    done = False
    surplus = False

    def __init__(self, *, chunking: bool = False) -> None:
        self.shows_its_end = self._is_chunking = chunking

    def take(self, data: bytes) -> bytes:
        return chunk_of(data) if self._is_chunking else data


Body = LengthBody | ChunkedBody | LenientChunkedBody | ClosedBody


def body_of(framing: Framing, *, decoded: bool = False, lenient: bool = False) -> Body:
    """The follower of a body; `decoded` takes a chunked one apart; `lenient` is for models' own servers."""
    if framing.kind is BodyKind.CHUNKED:
        return LenientChunkedBody(decoded=decoded) if lenient else ChunkedBody(decoded=decoded)
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return ClosedBody()
    return LengthBody(framing.length)


def missing_end(body: Body) -> bytes:
    """What completes the body although its sender's connection has ended, to be taken next; b"" where nothing does."""
    return body.missing_end() if isinstance(body, LenientChunkedBody) else b""


def ends_clear(body: Body) -> bool:
    """Whether all of it came and nothing behind it, so that another answer may follow on its sender's connection."""
    return body.done and not body.surplus
