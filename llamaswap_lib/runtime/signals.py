"""Signals as bytes on a descriptor that the main thread can wait for, so that no handler ever takes a lock.

Not `signal.sigwait`: it needs the signals blocked, and a blocked mask is inherited by every child, which would then
not hear SIGTERM. A handler that does nothing, and Python's wake-up descriptor, leave the children alone.
"""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Catches the signals that end a program, for a `with` block on the main thread."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, _nothing) for number in ENDING}
        self._before_fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()

    def wait(self, other_fd: int | None = None) -> signal.Signals | None:
        """Block until one of the signals comes, or `other_fd` is readable: then None."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if other_fd is not None:
            poll.register(other_fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._read.fileno() in ready:
                caught = [number for number in self._read.recv(1) if number in ENDING]
                if caught:
                    return signal.Signals(caught[0])
            elif ready:
                return None


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler of our own keeps the default action away; the news travels by the wake-up descriptor."""
