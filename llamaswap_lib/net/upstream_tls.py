"""TLS towards upstreams: the other side is verified, always.

Any thread. The certificates trusted are those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR; TLS 1.2 and up.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from functools import lru_cache

from llamaswap_lib.net.tls_stream import TlsSocket


def secure(sock: socket.socket, name: str, handshake_timeout: float | None, context: ssl.SSLContext) -> TlsSocket:
    """TLS over a connection to `name`; takes `sock` over, also when it fails with an OSError."""
    secured = TlsSocket(sock, context, name)
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


def _shake_hands(secured: TlsSocket, timeout: float | None) -> None:
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
