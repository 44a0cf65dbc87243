"""The end of a client's connection where the client may still be sending.

A socket that is closed with unread bytes behind it is reset, and a reset takes away what the client has not read of its
answer. So our direction is ended first; what the client sends is read and dropped until it closes too, is silent for
the pump's `linger_timeout` while nothing of the answer is under way, or has had LONGEST or MOST_BYTES. Nobody waits for
it: thread `pump` does all of it but `close_gently` and `make_room`, which any thread calls. Beyond MOST_AT_ONCE the
oldest is closed; where no descriptor is left, `make_room` closes one after the other.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time

from llamaswap_lib.net.loop import Pump
from llamaswap_lib.net.poller import IN
from llamaswap_lib.net.sockets import PlainEnd, was_reset

READ_BYTES = 65_536
LONGEST = 30.0  # seconds
MOST_BYTES = 256 << 20  # of a body that was refused, for one
MOST_AT_ONCE = 256
DONTWAIT = socket.MSG_DONTWAIT


def close_gently(sock: socket.socket, pump: Pump, *, is_sending: bool = False) -> None:
    """Close `sock` so that the client gets all that was sent; at once unless it may still send. Never blocks.

    `is_sending`: it is known to. A socket that is to be reset is closed at once.
    """
    try:
        if (is_sending or _may_send(sock)) and not was_reset(sock):
            sock.shutdown(socket.SHUT_WR)
            pump.take_aboard(LingeringClose(sock))
            return
    except OSError:
        pass  # it has ended by itself
    except BaseException:
        sock.close()
        raise
    sock.close()


def _may_send(sock: socket.socket) -> bool:
    """Whether there are unread bytes, or some may still come before the client has all of its answer."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | DONTWAIT))
    except BlockingIOError:
        return isinstance(sock, PlainEnd) or unsent_bytes(sock) > 0  # what is behind a plain end cannot be seen


def unsent_bytes(sock: socket.socket) -> int:
    """How many bytes the other side's kernel has not acknowledged, 0 where the system does not tell."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def make_room(pump: Pump) -> bool:
    """Have one that lingers closed, for its descriptor; False if there is none. Any thread; returns at once."""
    if not len(pump.lingering):
        return False
    pump.take_aboard(_Closing())
    return True


class _Closing:
    """Rides for a moment only: those that linger are the pump's."""

    def begin(self, pump: Pump) -> None:
        pump.aboard.discard(self)
        lingering = [one for one in pump.lingering.all() if isinstance(one, LingeringClose)]
        if lingering:
            min(lingering, key=LingeringClose.worth).end()

    def give_up(self) -> None:
        """It waits for nothing."""

    def throw_off(self) -> None:
        """All that lingered are closed."""


class LingeringClose:
    """One connection whose client has all that it will get from us."""

    __slots__ = ("_left_bytes", "_pump", "_sock", "_until")

    _pump: Pump

    def __init__(self, sock: socket.socket) -> None:
        """Takes `sock` over."""
        self._sock = sock
        self._left_bytes = MOST_BYTES
        self._until = time.monotonic() + LONGEST

    # -- pump thread only --

    def begin(self, pump: Pump) -> None:
        self._pump = pump
        pump.poller.register(self._sock, IN)
        pump.on_ready[self._sock.fileno()] = self._drop_what_comes
        pump.lingering.renew(self)
        if len(pump.lingering) > MOST_AT_ONCE:
            pump.lingering.give_up_oldest()

    def give_up(self) -> None:
        """The client was silent: its time is over, unless it is busy with what it was sent."""
        if time.monotonic() < self._until and unsent_bytes(self._sock) and len(self._pump.lingering) < MOST_AT_ONCE:
            self._pump.lingering.renew(self)
        else:
            self.end()

    def throw_off(self) -> None:
        self._sock.close()

    def _drop_what_comes(self, _mask: int) -> None:
        try:
            data = self._sock.recv(READ_BYTES, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._left_bytes -= len(data)
        if not data or self._left_bytes <= 0 or time.monotonic() >= self._until:
            self.end()
        else:
            self._pump.lingering.renew(self)

    def worth(self) -> tuple[bool, float]:
        """The least: one that has received all of its answer; of those, the one that has lingered for longest."""
        return unsent_bytes(self._sock) > 0, self._until

    def end(self) -> None:
        self._pump.aboard.discard(self)
        self._pump.lingering.drop(self)
        del self._pump.on_ready[self._sock.fileno()]
        self._pump.poller.unregister(self._sock)
        self._sock.close()
