"""A TCP connection with TLS, used like a non-blocking socket.

One thread at a time. OpenSSL reads and writes memory here, not the socket: `SSLSocket.unwrap`, which says TLS's
farewell, also reads what the other side sends meanwhile, and fails for good where that is data; so a connection could
never be half-closed, as TLS 1.3 allows. Guarantees: `shutdown(SHUT_WR)` says TLS's farewell, and reading goes on;
`poll` tells when to call `recv` again, unless `is_ready` says that it has something already: an end that came together
with data, what came together with the handshake, or what `look` has read; a `recv` takes one look, however much TLS
says to itself, and who makes it answer without taking the answers is broken off. An end of the connection without TLS's
farewell is an error where we are the client: a body that ends by it may have been cut; of clients it is taken for the
end.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

READ_BYTES = 65_536
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and you sent plain HTTP.\n"
_RECORD_BYTES = 16_384  # the most that one holds
_UNSENT_BYTES = 2 * READ_BYTES  # the most that TLS may have to say while the other side takes nothing


class TlsStream(socket.socket):
    """One connection; BlockingIOError is its word for "not now"."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> None:
        """Take `sock` over. `name` is that of the server, to be verified; None: the server is we."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=name is None, server_hostname=name)
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self.has_ended = False  # all that there will be has come
        self.ahead = b""  # has come, and `recv` has not handed it out
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._wire = b""  # to be sent before anything else
        self._taken_bytes = 0  # of what is being sent: they stand in `_wire`
        self._is_shaken = False  # the handshake is over

    @property
    def unsent_bytes(self) -> int:
        """How much waits for room; what was refused is worth another call when there is some."""
        return len(self._wire)

    @property
    def is_ready(self) -> bool:
        """Whether `recv` has something, or the end, of which no poll tells."""
        return self.has_ended or bool(self.ahead)

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
        self._is_shaken = True
        self.ahead = self._decrypt()  # the first of the data may have come with the last of the handshake

    def recv(self, buflen: int = READ_BYTES, flags: int = 0) -> bytes:  # noqa: ARG002 - it never blocks
        """What one look finds, whatever `buflen`, b"" at the end; raises BlockingIOError for nothing, and OSErrors."""
        data, self.ahead = self.ahead, b""
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

    def look(self) -> None:
        """Take what has come, for `recv` to hand it out; nothing where enough waits already; raises OSErrors."""
        if self.has_ended or len(self.ahead) >= READ_BYTES:
            return
        try:
            self._fill()
        except BlockingIOError:
            return
        self.ahead += self._decrypt()

    def is_quiet(self) -> bool:
        """Whether it is open and has nothing to read."""
        try:
            self.look()
        except OSError:
            return False
        return not self.is_ready

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
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
        if self._outgoing.pending:  # TLS has its own conversation
            with suppress(OSError):
                self._flush()
            if len(self._wire) > _UNSENT_BYTES:
                raise ConnectionAbortedError(errno.ECONNABORTED, "it sends TLS messages and does not read the answers")
        return b"".join(pieces)

    def _fill(self) -> None:
        """Take what has come; raises BlockingIOError where that is nothing, and OSErrors."""
        if data := super().recv(READ_BYTES):
            self._incoming.write(data)
        elif self._is_shaken and self._tls.server_side:
            self.has_ended = True  # TLS is not told: it would send an alert, and nothing more of ours
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Send all that TLS has to say; raises BlockingIOError while there is no room for it, and OSErrors."""
        self._wire += self._outgoing.read()
        while self._wire:
            self._wire = self._wire[super().send(self._wire) :]


# -- towards upstreams: the other side is verified, always --


def secure(sock: socket.socket, name: str, handshake_timeout: float | None, context: ssl.SSLContext) -> TlsStream:
    """TLS over a connection to `name`; takes `sock` over, also when it fails with an OSError."""
    secured = TlsStream(sock, context, name)
    try:
        _shake_hands(secured, handshake_timeout)
    except ssl.SSLCertVerificationError as refused:
        secured.close()
        raise ConnectionError(None, f"its certificate is not trusted: {refused.verify_message}") from None
    except ssl.SSLError as failed:
        secured.close()
        raise ConnectionError(None, f"no TLS connection: {failed.reason or failed}") from None
    except BaseException:
        secured.close()
        raise
    return secured


def _shake_hands(secured: TlsStream, timeout: float | None) -> None:
    """Block until the handshake is over; raises OSError."""
    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    while True:
        try:
            return secured.shake_hands()
        except BlockingIOError:
            poll.register(secured, select.POLLOUT if secured.unsent_bytes else select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError(None, "the TLS handshake took too long")


@lru_cache(maxsize=1)
def verifying_context() -> ssl.SSLContext:
    """Made at the first need: reading all certificates takes a while."""
    return prepared(ssl.create_default_context())


def prepared(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, fit for `secure`."""
    context.set_alpn_protocols(["http/1.1"])
    return context
