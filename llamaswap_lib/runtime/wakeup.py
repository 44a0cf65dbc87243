"""A flag that a thread can wait for in `poll`, beside sockets: an eventfd, or a pipe where there is none.

Any thread may set it; setting it twice is setting it once. Its maker closes it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

LONGEST_WAIT = 86_400.0  # seconds; `poll` and sockets take no more than 24 days, and a lock no more than 292 years


def seconds_until(deadline: float, now: float) -> float:
    """How long to wait for a moment: 0 if it has passed, and LONGEST_WAIT at most; who wakes by that looks again."""
    return min(max(0.0, deadline - now), LONGEST_WAIT)


class Wakeup:
    """Like `threading.Event`, with a file descriptor that is readable while the flag is set."""

    __slots__ = ("_read", "_write")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._read = self._write = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        """Make it readable. Never blocks: a full pipe is already readable."""
        try:
            os.write(self._write, b"\1\0\0\0\0\0\0\0")
        except BlockingIOError:
            pass

    def clear(self) -> None:
        """Make it unreadable again; what is set after this call is seen."""
        try:
            while os.read(self._read, 4096) and self._read != self._write:
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._read)
        if self._write != self._read:
            os.close(self._write)


class CallingWakeup(Wakeup):
    """One that calls a function when it is set, for those that wait for something else; there is nothing to poll."""

    __slots__ = ("_on_set",)

    def __init__(self, on_set: Callable[[], None]) -> None:
        """`on_set` is quick: the thread that sets it may hold locks."""
        self._on_set = on_set

    def set(self) -> None:
        self._on_set()

    def clear(self) -> None: ...
    def close(self) -> None: ...


def poll_for_input(*descriptors: int) -> select.poll:
    """What waits for any of them to be readable, or broken."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return poll
