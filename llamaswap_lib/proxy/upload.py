"""The rest of a request on its way to an upstream, where the kernel did not take all of it at once.

Thread `loop` alone, in turn with reading the answer: neither way waits for the other. It never blocks but to read a
file, holds one piece of the body, and closes nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from llamaswap_lib.errors import fault_of
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.server.request_body import OutgoingBody, RequestBody

MOST_AT_ONCE_BYTES = 1 << 20
MOST_JOINED_BYTES = 32_768  # of a body that is copied behind its head: for more, a call with both costs less


def send_both(stream: socket.socket, head: bytes, body: bytes) -> memoryview:
    """Send them in one call, as far as the upstream takes them at once; what is left. Raises OSError."""
    if isinstance(stream, TlsStream):  # which would have to join them itself
        head, body = head + body, b""
    try:
        sent_bytes = stream.sendmsg((head, body)) if body else stream.send(head)
    except BlockingIOError:
        sent_bytes = 0
    if sent_bytes < len(head):
        return memoryview(head + body)[sent_bytes:]
    return memoryview(body)[sent_bytes - len(head) :]


class Upload:
    """What is still to be sent through `stream`, whatever of it the upstream wants."""

    __slots__ = ("_at_bytes", "_body", "_piece", "_pieces", "_stream", "is_over", "is_whole")

    def __init__(self, stream: socket.socket, unsent: bytes | memoryview, body: OutgoingBody | None) -> None:
        """`body` is sent behind `unsent`."""
        self._stream = stream
        self._piece = memoryview(unsent)
        self._pieces: Iterator[bytes] = iter(())
        self._body: RequestBody | None = None  # one whose file the system sends
        self._at_bytes = 0
        if isinstance(body, RequestBody) and not isinstance(stream, TlsStream):
            self._body = body
        elif body is not None:
            self._pieces = body.pieces()
        self.is_over = False
        self.is_whole = False  # it is over because all was sent

    def send_some(self) -> None:
        """Send what goes out in one call; raises HttpError if the body cannot be read."""
        if not self._piece and self._body is None:
            self._piece = memoryview(next(self._pieces, b""))
        try:
            if self._piece:
                self._piece = self._piece[self._stream.send(self._piece) :]
            elif self._body is not None:
                self._at_bytes += self._send_file(self._body)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.EIO:
                raise fault_of(error, "the body of the request cannot be read back") from error
            self.is_over = True  # what the upstream says, or its end, tells the rest
            return
        if self._body is not None:
            self.is_over = self.is_whole = not self._piece and self._at_bytes == self._body.size_bytes
            return
        while not self._piece and not self.is_over:
            piece = next(self._pieces, None)
            self._piece = memoryview(piece or b"")
            self.is_over = self.is_whole = piece is None

    def _send_file(self, body: RequestBody) -> int:
        left_bytes = min(MOST_AT_ONCE_BYTES, body.size_bytes - self._at_bytes)
        sent_bytes = os.sendfile(self._stream.fileno(), body.fileno(), self._at_bytes, left_bytes)
        if not sent_bytes:
            raise body.shorter()
        return sent_bytes
