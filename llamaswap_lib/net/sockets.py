"""How sockets are set up, on both sides of the relay.

A blocking socket with SO_RCVTIMEO and SO_SNDTIMEO costs one system call for each `recv` or `send`, where `settimeout`
costs two. What takes too long is a BlockingIOError.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress

_LONGEST_KEEPALIVE = 32_767  # seconds; the kernel takes no more
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER's word for it


class PlainEnd(socket.socket):
    """The end of a socket pair behind which something else, such as TLS, leads to the client."""

    is_broken_off = False  # what is behind it must not end like something whole
    is_reset = False  # what is behind it has not ended like something whole
    on_close: Callable[[], None] | None = None  # whom nobody serves any more

    def close(self) -> None:
        super().close()
        tell = self.on_close  # read once: the thread behind it may take itself out
        if tell is not None:
            tell()


def prepare(sock: socket.socket, *, receive_timeout: float, send_timeout: float | None = None) -> None:
    """Blocking, without Nagle's delay, with the given bounds; raises OSError."""
    sock.setblocking(True)
    if not isinstance(sock, PlainEnd):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_timeout))
    if send_timeout is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_timeout))


def probe_when_silent(sock: socket.socket, seconds: float) -> None:
    """Have the kernel ask after `seconds` of silence whether the other side is there; thrice in vain is the end."""
    pause = min(max(1, round(seconds)), _LONGEST_KEEPALIVE)
    options = {"TCP_KEEPIDLE": pause, "TCP_KEEPALIVE": pause, "TCP_KEEPINTVL": pause, "TCP_KEEPCNT": 3}
    with suppress(OSError):  # it has been reset: whoever reads it is told
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():  # the second is macOS's word for the first
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def hold_back(sock: socket.socket, unsent_bytes: int) -> None:
    """Have the kernel take no more for a peer that has so much still to be sent; the end of a pair takes a bit more."""
    with suppress(OSError):  # it has been reset
        if isinstance(sock, PlainEnd):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, unsent_bytes)
        elif hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)


def reset_on_close(sock: socket.socket) -> None:
    """Have the connection end with a reset when it is closed: its peer must not take what it has for all there is."""
    if isinstance(sock, PlainEnd):
        sock.is_broken_off = True
        return
    with suppress(OSError):  # it has been reset from the other side
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def was_reset(sock: socket.socket) -> bool:
    """Whether what looks like its end was a reset: of what is behind it, or one of ours that is to come."""
    if isinstance(sock, PlainEnd):
        return sock.is_reset or sock.is_broken_off
    lingers, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)))
    return bool(lingers) and not seconds


def _timeval(seconds: float) -> bytes:
    """A `struct timeval`, never zero, which would mean for ever."""
    microseconds = max(1, round(seconds * 1_000_000))
    return struct.pack("ll", *divmod(microseconds, 1_000_000))
