"""Signals as bytes on a descriptor that the main thread can wait for, so that no handler takes a lock.

Main thread only. SIGTERM and SIGINT end the program; SIGHUP and SIGUSR2 call a function; SIGUSR1 does nothing (without
a handler, it would end the program). SIGINT and SIGHUP stay ignored if they were ignored at the start: `nohup` and
shells with background jobs ask for that. An inherited mask of blocked signals is cleared.

Not `signal.sigwait`: it needs the signals blocked, and a blocked mask is inherited by every child, which would then
not hear SIGTERM. A handler that does nothing, and Python's wake-up descriptor, leave the children alone.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

from llamaswap_lib.runtime.wakeup import poll_for_input

ENDING = (signal.SIGTERM, signal.SIGINT)
CALLING = (signal.SIGHUP, signal.SIGUSR2)
HARMLESS = (signal.SIGUSR1, signal.SIGUSR2)
MAY_STAY_IGNORED = (signal.SIGINT, signal.SIGHUP)


def outlive_harmless() -> None:
    """Keep signals that do not end the program later from ending it now; call it as early as possible."""
    for number in (signal.SIGHUP, *HARMLESS):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _nothing)


class Signals:
    """Catches signals for a `with` block on the main thread, and puts everything back at its end."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def __enter__(self) -> Signals:
        self._before = {
            number: signal.signal(number, _nothing)
            for number in (*ENDING, signal.SIGHUP, *HARMLESS)
            if number not in MAY_STAY_IGNORED or signal.getsignal(number) is not signal.SIG_IGN
        }
        self._before_fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._before_mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before_mask)
        signal.set_wakeup_fd(self._before_fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()

    def wait(self, on_other: Callable[[signal.Signals], None], other_fd: int | None = None) -> signal.Signals | None:
        """Block until a signal comes that ends the program, or `other_fd` is readable: then None.

        `on_other` is called for each SIGHUP and SIGUSR2 that comes meanwhile.
        """
        poll = poll_for_input(self._read.fileno(), *([] if other_fd is None else [other_fd]))
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._read.fileno() in ready:
                number = self._read.recv(1)[0]
                if number in ENDING:
                    return signal.Signals(number)
                if number in CALLING:
                    on_other(signal.Signals(number))
            elif ready:
                return None


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """With a handler the system does not take its default action; the wake-up descriptor tells of the signal."""
