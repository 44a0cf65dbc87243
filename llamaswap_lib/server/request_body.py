"""The body of a request: in memory up to a bound, in a temporary file above it.

The loop reads it (`BodyReader`); a handler thread writes the file and reads it; one of them at a time. It is complete
when an endpoint gets it. Closing it removes the file; a body in memory needs no closing. A file that cannot be made,
written or read is a MachineFault, InsufficientStorage where there is no room.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO

from llamaswap_lib.errors import BadRequest, ContentTooLarge, MachineFault, fault_of
from llamaswap_lib.wire.chunked import BadChunk, ChunkDecoder
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.splice import Edit, grown_by, splice, spliced

PIECE_BYTES = 262_144
READ_BYTES, READ_CHUNKED_BYTES = 262_144, 65_536


class RequestBody:
    """What a client sent, without its framing."""

    __slots__ = ("_file", "_memory_bytes", "memory", "size_bytes")

    def __init__(self, data: bytes = b"", *, memory_bytes: int = 1 << 20) -> None:
        self.memory: bytes | None = data  # all of it, None where it is in the file
        self._memory_bytes = memory_bytes
        self._file: IO[bytes] | None = None
        self.size_bytes = len(data)

    def append(self, data: bytes) -> None:
        """Raises MachineFault."""
        self.size_bytes += len(data)
        if self.memory is None:
            self._put_aside(data)
        elif self.size_bytes > self._memory_bytes:
            self._put_aside(self.memory)
            self.memory = None
            self._put_aside(data)
        else:
            self.memory = self.memory + data if self.memory else data

    def _put_aside(self, data: bytes) -> None:
        import tempfile  # noqa: PLC0415 - with all that it imports, a tenth of the time to start

        try:
            if self._file is None:  # not buffered: what there is no room for is known now, and not when it is read
                self._file = tempfile.TemporaryFile(prefix="llamaswap-", buffering=0)  # noqa: SIM115 closed by close()
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            folder = f" in {tempfile.tempdir}" if tempfile.tempdir else ""
            raise fault_of(error, f"the body of the request cannot be stored{folder}") from error

    @property
    def is_in_memory(self) -> bool:
        return self.memory is not None

    def fileno(self) -> int:
        """The descriptor of its file, which it has."""
        assert self._file is not None, "it is in memory"
        return self._file.fileno()

    def shorter(self) -> MachineFault:
        """The fault of a file that does not have any more what was written to it."""
        return fault_of(OSError(errno.EIO, "it has become shorter"), "the body of the request cannot be read back")

    def read(self) -> bytes:
        """All of it, in one call of the system where it can be: to join pieces would have it in memory twice.

        Raises MachineFault.
        """
        if self.memory is not None:
            return self.memory
        data = self._read(0, self.size_bytes)
        while len(data) < self.size_bytes:
            data += self._read(len(data), self.size_bytes - len(data))
        return data

    def pieces(self) -> Iterator[bytes]:
        """All of it, a piece at a time; raises MachineFault."""
        if self.memory is not None:
            yield self.memory
            return
        at_bytes = 0
        while at_bytes < self.size_bytes:
            piece = self._read(at_bytes, PIECE_BYTES)
            at_bytes += len(piece)
            yield piece

    def _read(self, at_bytes: int, most_bytes: int) -> bytes:
        assert self._file is not None, "it is in memory"
        try:
            self._file.seek(at_bytes)
            if piece := self._file.read(most_bytes):
                return piece
        except OSError as error:
            raise fault_of(error, "the body of the request cannot be read back") from error
        raise self.shorter()

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # all of it was written, or is not wanted
                self._file.close()

    def __enter__(self) -> RequestBody:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EditedBody:
    """A request's body with edits, where it is too large for memory. It needs no closing of its own."""

    __slots__ = ("_body", "_edits", "size_bytes")

    memory = None
    is_in_memory = False

    def __init__(self, body: RequestBody, edits: Sequence[Edit]) -> None:
        self._body = body
        self._edits = edits
        self.size_bytes = body.size_bytes + grown_by(edits)

    def read(self) -> bytes:
        whole = io.BytesIO()  # `join` would have all of it in memory twice
        for piece in self.pieces():
            whole.write(piece)
        return whole.getvalue()

    def pieces(self) -> Iterator[bytes]:
        return splice(self._body.pieces(), self._edits)


OutgoingBody = RequestBody | EditedBody


def edited(body: RequestBody, edits: Sequence[Edit]) -> OutgoingBody:
    """What is sent on in place of `body`; it needs no closing of its own."""
    if not body.is_in_memory:
        return EditedBody(body, edits)
    return RequestBody(spliced(body.read(), edits))


class BodyReader:
    """Makes a `RequestBody` of the bytes that a client sends. Loop thread, but `put_aside`."""

    def __init__(self, head: RequestHead, most_bytes: int, memory_bytes: int) -> None:
        """Raises ContentTooLarge where the head says that it is larger than `most_bytes`."""
        if head.content_length is not None and head.content_length > most_bytes:
            raise _too_large(most_bytes)
        self.body = RequestBody(memory_bytes=memory_bytes)
        self.is_done = False
        self._decoder = ChunkDecoder() if head.chunked else None
        self._left_bytes = head.content_length or 0
        self._most_bytes = most_bytes
        self._memory_bytes = memory_bytes
        self._pieces: list[bytes] = []  # what is not in the body yet
        self._pieces_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take what is of the body; what stands behind it. Raises BadRequest and ContentTooLarge."""
        if self._decoder is None:
            piece, rest = data[: self._left_bytes], data[self._left_bytes :]
            self._left_bytes -= len(piece)
            self.is_done = not self._left_bytes
        else:
            try:
                piece, used_bytes = self._decoder.feed(data)
            except BadChunk as bad:
                raise BadRequest(f"the chunks of the body are malformed: {bad}") from None
            rest, self.is_done = data[used_bytes:], self._decoder.done
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if self.body.size_bytes + self._pieces_bytes > self._most_bytes:
            raise _too_large(self._most_bytes)
        if self.is_done and not self.is_large:
            self.put_aside()
        return rest

    @property
    def read_bytes(self) -> int:
        """How much to read at once: to find the chunks takes its time, and others wait; room for nothing costs, too."""
        return min(READ_BYTES, self._left_bytes) if self._decoder is None else READ_CHUNKED_BYTES

    @property
    def is_large(self) -> bool:
        """Whether the body is one for a file."""
        return self.body.size_bytes + self._pieces_bytes > self._memory_bytes

    @property
    def is_due(self) -> bool:
        """Whether to call `put_aside` before there is more."""
        return self._pieces_bytes > self._memory_bytes

    def put_aside(self) -> None:
        """Have in the body what was fed, in its file where it is large: blocks then. Raises MachineFault."""
        pieces, self._pieces, self._pieces_bytes = self._pieces, [], 0
        if self.body.size_bytes or len(pieces) > 1:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self.body.append(piece)


def _too_large(most_bytes: int) -> ContentTooLarge:
    return ContentTooLarge(f"the body is larger than {most_bytes} bytes")
