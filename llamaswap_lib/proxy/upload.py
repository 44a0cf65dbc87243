"""The rest of a request on its way to an upstream, where the kernel did not take all of it at once.

The http thread of the client drives it, in turn with reading the answer: neither way waits for the other. It never
blocks, holds one piece of the body, and closes nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

DONTWAIT = socket.MSG_DONTWAIT


class Upload:
    """What is still to be sent through `sock`, whatever of it the upstream wants."""

    __slots__ = ("_piece", "_pieces", "_sock", "is_over", "is_whole")

    def __init__(self, sock: socket.socket, pieces: Iterator[bytes]) -> None:
        self._sock = sock
        self._pieces = pieces
        self._piece = memoryview(b"")
        self.is_over = False
        self.is_whole = False  # it is over because all was sent

    def send_some(self) -> None:
        """Send what goes out in one call; raises HttpError if the body cannot be read."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        try:
            if self._piece:
                self._piece = self._piece[self._sock.send(self._piece, DONTWAIT) :]
        except BlockingIOError:
            return
        except OSError:
            self.is_over = True  # what the upstream says, or its end, tells the rest
            return
        while not self._piece and not self.is_over:
            piece = next(self._pieces, None)
            self._piece = memoryview(piece or b"")
            self.is_over = self.is_whole = piece is None
