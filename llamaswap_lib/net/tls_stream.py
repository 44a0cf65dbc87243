"""A TCP connection that speaks TLS, with the manners of a non-blocking socket.

One thread at a time. OpenSSL reads and writes memory here, not the socket: said over a socket, Python's farewell reads
what the other side sends meanwhile, and is broken by it for good; so a connection could never be half-closed, as TLS
1.3 allows. Guarantees: `shutdown(SHUT_WR)` says TLS's farewell, and reading goes on; nothing that was taken from the
system is kept back, so `poll` tells when to call `recv` again, but for an end that came together with data
(`has_ended`); a `recv` takes one look, however much TLS says to itself, and who makes it answer without taking the
answers is broken off. An end of the connection without TLS's farewell is an error where we are the client: a body that
ends by it may have been cut; of clients it is taken for the end. It cannot be read with MSG_DONTWAIT by the pump.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from typing import Any

READ_BYTES = 65_536
_RECORD_BYTES = 16_384  # the most that one holds
_UNSENT_BYTES = 2 * READ_BYTES  # the most that TLS may have to say while the other side takes nothing


class TlsSocket(socket.socket):
    """One connection; BlockingIOError is its word for "not now"."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> None:
        """Take `sock` over. `name` is that of the server, to be verified; None: the server is we."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=name is None, server_hostname=name)
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self.has_ended = False  # all that there will be has been read
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._wire = b""  # to be sent before anything else
        self._taken_bytes = 0  # of what is being sent: they stand in `_wire`
        self._ahead = b""  # read to see whether there is anything

    @property
    def unsent_bytes(self) -> int:
        """How much waits for room; what was refused is worth another call when there is some."""
        return len(self._wire)

    def shake_hands(self) -> None:
        """Go on with the handshake; raises BlockingIOError until it is over, or OSError."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # the other side is told why
                raise
        self._flush()

    def recv(self, buflen: int = READ_BYTES, flags: int = 0) -> bytes:  # noqa: ARG002 - it never blocks
        """What one look finds, whatever `buflen`, b"" at the end; raises BlockingIOError for nothing, and OSErrors."""
        data, self._ahead = self._ahead, b""
        if not data and not self.has_ended:
            data = self._decrypt()
        if not data and not self.has_ended:
            self._fill()
            data = self._decrypt()
            if not data and not self.has_ended:
                raise BlockingIOError
        return data

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ARG002 - it never blocks
        """Send a part of it, the same part again after a BlockingIOError; raises OSError."""
        if not self._taken_bytes:
            self._taken_bytes = self._tls.write(memoryview(data)[:READ_BYTES])
        self._flush()
        sent_bytes, self._taken_bytes = self._taken_bytes, 0
        return sent_bytes

    def shutdown(self, how: int) -> None:
        """With SHUT_WR, behind TLS's farewell; raises BlockingIOError if that has to be tried again, or OSError."""
        if how == socket.SHUT_WR:
            with suppress(ssl.SSLWantReadError):  # it would read the other side's: that is for `recv`
                self._tls.unwrap()
            self._flush()
        super().shutdown(how)

    def is_quiet(self) -> bool:
        """Whether it is open and has nothing to read."""
        try:
            self._ahead = self.recv()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _decrypt(self) -> bytes:
        """What has come and was not handed out."""
        pieces = []
        try:
            while piece := self._tls.read(_RECORD_BYTES):
                pieces.append(piece)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # in place of b"" behind our own farewell
            self.has_ended = True
        except ssl.SSLEOFError:
            if not self._tls.server_side:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
            self.has_ended = True
        if self._outgoing.pending:  # TLS has its own conversation
            with suppress(OSError):
                self._flush()
            if len(self._wire) > _UNSENT_BYTES:
                raise ConnectionAbortedError(errno.ECONNABORTED, "it asks for more answers of TLS than it takes")
        return b"".join(pieces)

    def _fill(self) -> None:
        """Take what has come; raises BlockingIOError where that is nothing, and OSErrors."""
        if data := super().recv(READ_BYTES):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Send all that TLS has to say; raises BlockingIOError while there is no room for it, and OSErrors."""
        self._wire += self._outgoing.read()
        while self._wire:
            self._wire = self._wire[super().send(self._wire) :]
