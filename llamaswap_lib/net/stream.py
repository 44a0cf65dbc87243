"""How sockets are set up, on both sides of the proxy, and what the system knows of them. Any thread."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from contextlib import suppress

MOST_LINGERING_BYTES = 256 << 20  # that are read and dropped of a client whose request was refused
_LONGEST_KEEPALIVE = 32_767  # seconds; the kernel takes no more
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER's word for it


def prepare(sock: socket.socket) -> None:
    """Never blocking, without Nagle's delay; raises OSError."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def probe_when_silent(sock: socket.socket, seconds: float, tries: int = 3) -> None:
    """Have the kernel ask after `seconds` of silence whether the other side is there; `tries` in vain are the end."""
    pause = min(max(1, round(seconds)), _LONGEST_KEEPALIVE)
    options = {"TCP_KEEPIDLE": pause, "TCP_KEEPALIVE": pause, "TCP_KEEPINTVL": pause, "TCP_KEEPCNT": tries}
    with suppress(OSError):  # it has been reset: its reader is told
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():  # the second is macOS's word for the first
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def hold_back(sock: socket.socket, unsent_bytes: int) -> None:
    """Have the kernel take no more for a peer that has so much still to be sent."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # it has been reset
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)


def reset_on_close(sock: socket.socket) -> None:
    """Have the connection end with a reset when it is closed: its peer must not take what it has for all there is."""
    with suppress(OSError):  # it has been reset from the other side
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def has_unread(sock: socket.socket) -> bool:
    """Whether there are bytes that nobody has read; not, if all that came is the end of the connection."""
    try:
        return bool(socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (OSError, TypeError):  # nothing there, or closed by now
        return False


def unsent_bytes(sock: socket.socket) -> int:
    """How many bytes the other side's kernel has not acknowledged, 0 where the system does not tell."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
