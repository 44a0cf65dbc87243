"""TLS towards upstreams: the other side is verified, always.

Any thread. The certificates trusted are those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR; TLS 1.2 and up. A
`TlsSocket` is non-blocking and behaves like the plain sockets that the relay knows, with BlockingIOError for "not
now"; so it waits with `poll`, its client in view. It can not be read with MSG_DONTWAIT, which is why it does not ride
the pump. An end of the connection without TLS's own goodbye is an error: a body that ends by it may have been cut.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from functools import lru_cache
from typing import Any

_READ_BYTES = 65_536


class TlsSocket(ssl.SSLSocket):
    """A connection whose handshake is over."""

    _ahead = b""  # read to see whether there is anything

    def recv(self, buflen: int = _READ_BYTES, flags: int = 0) -> bytes:  # noqa: ARG002 - it never blocks
        """What there is, b"" at the end; raises BlockingIOError where nothing is, and other OSErrors."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        try:
            return super().recv(buflen)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ARG002 - it never blocks
        """Send a part of it, the same part again after a BlockingIOError; raises OSError."""
        try:
            return super().send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def is_quiet(self) -> bool:
        """Whether it is open and has nothing to read."""
        try:
            self._ahead = self.recv()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def secure(sock: socket.socket, name: str, handshake_timeout: float | None, context: ssl.SSLContext) -> TlsSocket:
    """TLS over a connection to `name`; takes `sock` over, also when it fails with an OSError."""
    sock.settimeout(handshake_timeout)
    try:
        secured = context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
    except ssl.SSLCertVerificationError as refused:
        raise ConnectionError(None, f"its certificate is not trusted: {refused.verify_message}") from None
    except TimeoutError:
        raise TimeoutError(None, "the TLS handshake took too long") from None
    except ssl.SSLError as failed:
        raise ConnectionError(None, f"no TLS connection: {failed.reason or failed}") from None
    assert isinstance(secured, TlsSocket)
    secured.setblocking(False)
    return secured


@lru_cache(maxsize=1)
def verifying_context() -> ssl.SSLContext:
    """Made at the first need: reading all certificates takes a while."""
    return prepared(ssl.create_default_context())


def prepared(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, fit for `secure`."""
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = TlsSocket
    return context
