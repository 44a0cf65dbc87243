"""A body as it flows: what is passed on of each piece, and when the last byte was there.

Pure: no socket; one instance for each body, used by the loop. Guarantees: what `take` returns is what goes to the
receiver, byte for byte as received, and nothing that stands behind the body; of a lenient body, lines that are not
strict are made so. Never collects. `ends_by_close`: the sender ends it by closing. `shows_its_end`: the receiver can
tell a whole body from one that broke off.
"""

from __future__ import annotations

from llamaswap_lib.wire.chunked import ChunkDecoder, ChunkScanner, chunk_of
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
    """A chunked body, its framing passed on as it came; `take` raises BadChunk."""

    __slots__ = ("_feed", "_scanner", "done", "surplus")
    ends_by_close = False
    shows_its_end = True

    def __init__(self) -> None:
        self._scanner = ChunkScanner()
        self._feed = self._scanner.feed
        self.done = False
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        used = self._feed(data)
        self.done = self._scanner.done
        if used == len(data):
            return data
        self.surplus = True
        return data[:used]


class DecodedBody:
    """A chunked body for a receiver that does not know chunks; `take` raises BadChunk."""

    __slots__ = ("_decoder", "done", "surplus")
    ends_by_close = False
    shows_its_end = False

    def __init__(self) -> None:
        self._decoder = ChunkDecoder()
        self.done = False
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        payload, used = self._decoder.feed(data)
        self.done = self._decoder.done
        self.surplus = used < len(data)
        return payload


class ClosedBody:
    """A body that ends where its connection ends."""

    __slots__ = ()
    ends_by_close = True
    shows_its_end = False
    done = False
    surplus = False

    def take(self, data: bytes) -> bytes:
        return data


class ChunkingBody:
    """The same for a receiver that reads chunks: each piece becomes one. The last chunk is left to the caller."""

    __slots__ = ()
    ends_by_close = True
    shows_its_end = True
    done = False
    surplus = False

    def take(self, data: bytes) -> bytes:
        return chunk_of(data)


Body = LengthBody | ChunkedBody | LenientChunkedBody | DecodedBody | ClosedBody | ChunkingBody


def body_of(framing: Framing, *, decoded: bool = False, lenient: bool = False) -> Body:
    """The follower of a body; `decoded` takes a chunked one apart; `lenient` is for models' own servers."""
    if framing.kind is BodyKind.CHUNKED:
        if lenient:
            return LenientChunkedBody(decoded=decoded)
        return DecodedBody() if decoded else ChunkedBody()
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return ClosedBody()
    return LengthBody(framing.length)


def missing_end(body: Body) -> bytes:
    """What completes the body although its sender's connection has ended, to be taken next; b"" where nothing does."""
    return body.missing_end() if isinstance(body, LenientChunkedBody) else b""


def ends_clear(body: Body) -> bool:
    """Whether all of it came and nothing behind it, so that another answer may follow on its sender's connection."""
    return body.done and not body.surplus
