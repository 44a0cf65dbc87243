"""The body of a request: in memory up to a bound, in a temporary file above it.

One http thread at a time. It is complete when an endpoint gets it. Closing it removes the file; a body in memory needs
no closing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO

from llamaswap_lib.web.resolve import Edit, grown_by, splice

PIECE_BYTES = 262_144


class RequestBody:
    """What a client sent, without its framing."""

    __slots__ = ("_file", "_memory", "_memory_bytes", "size_bytes")

    def __init__(self, data: bytes = b"", *, memory_bytes: int = 1 << 20) -> None:
        self._memory: bytes | bytearray = data
        self._memory_bytes = memory_bytes
        self._file: IO[bytes] | None = None
        self.size_bytes = len(data)

    def append(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self._file is None and self.size_bytes > self._memory_bytes:
            import tempfile  # noqa: PLC0415 - with all that it imports, a tenth of the time to start

            self._file = tempfile.TemporaryFile(prefix="llamaswap-")  # noqa: SIM115 closed by close()
            self._file.write(self._memory)
            self._memory = b""
        if self._file is not None:
            self._file.write(data)
        elif isinstance(self._memory, bytearray):
            self._memory += data
        else:
            self._memory = bytearray(data)

    @property
    def is_in_memory(self) -> bool:
        return self._file is None

    def read(self) -> bytes:
        """All of it."""
        return bytes(self._memory) if self._file is None else b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """All of it, a piece at a time."""
        if self._file is None:
            yield bytes(self._memory)
            return
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> RequestBody:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EditedBody:
    """A request's body with edits, where it is too large for memory. It needs no closing of its own."""

    __slots__ = ("_body", "_edits", "size_bytes")

    is_in_memory = False

    def __init__(self, body: RequestBody, edits: Sequence[Edit]) -> None:
        self._body = body
        self._edits = edits
        self.size_bytes = body.size_bytes + grown_by(edits)

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        return splice(self._body.pieces(), self._edits)


OutgoingBody = RequestBody | EditedBody


def edited(body: RequestBody, edits: Sequence[Edit]) -> OutgoingBody:
    """What is sent on in place of `body`; it needs no closing of its own."""
    if not body.is_in_memory:
        return EditedBody(body, edits)
    return RequestBody(b"".join(splice([body.read()], edits)))
