"""How sockets are set up, on both sides of the relay.

A blocking socket with SO_RCVTIMEO and SO_SNDTIMEO costs one system call for each `recv` or `send`, where `settimeout`
costs two. What takes too long is a BlockingIOError.
"""

from __future__ import annotations

import socket
import struct


def prepare(sock: socket.socket, *, receive_timeout: float, send_timeout: float | None = None) -> None:
    """Blocking, without Nagle's delay, with the given bounds; raises OSError."""
    sock.setblocking(True)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_timeout))
    if send_timeout is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_timeout))


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`, never zero, which would mean for ever."""
    microseconds = max(1, round(seconds * 1_000_000))
    return struct.pack("ll", *divmod(microseconds, 1_000_000))
