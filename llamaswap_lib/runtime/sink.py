"""Stdout: shows what a subscription brings, on one thread, `log-stdout`.

Nobody who logs ever waits for a terminal or a pipe: the subscription holds what stdout does not take, up to its
capacity, and tells what it dropped. One write brings out all that came in the meantime and a short pause follows it,
so a busy server pays for a system call and a thread switch a hundred times a second, not once a line.
(Writing from the caller's thread whenever `poll` allows it was rejected: it costs every request two system calls, a
slow disk stops it all the same, and the last lines before a quiet hour stay unseen.) A stdout that is gone is given up.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

from llamaswap_lib.runtime.wakeup import Wakeup

PAUSE_MS = 10  # after a write; a lone line is shown at once
PIECE_BYTES = select.PIPE_BUF  # a pipe that polls as writable takes this much without blocking


class Lines(AbstractContextManager[Any], Protocol):
    """What is shown: a subscription, as `logs` has them."""

    wakeup: Wakeup

    def take(self) -> bytes:
        """All that is there, without blocking; clears the wakeup."""


class StdoutSink:
    """Shows `lines` on file descriptor `fd` until it is closed, then leaves them."""

    def __init__(self, lines: Lines, fd: int) -> None:
        self._lines = lines
        self._fd = fd
        self._deadline = math.inf  # of the flush: finite once closing, written before `_stop` is set
        self._stop = Wakeup()
        self._thread = threading.Thread(target=self._run, name="log-stdout", daemon=True)
        self._thread.start()

    # -- any thread but the sink's --

    def close(self, flush_timeout: float) -> None:
        """Bring out what there is, within `flush_timeout` seconds, and end the thread; once only.

        A stdout that blocks although it polled as writable (a stopped terminal) keeps that daemon thread, but not us.
        """
        self._deadline = time.monotonic() + flush_timeout
        self._stop.set()
        self._thread.join(flush_timeout + 0.1)
        if not self._thread.is_alive():
            self._stop.close()

    # -- thread log-stdout only --

    def _run(self) -> None:
        stop = _poll_for_input(self._stop.fileno())
        stop_or_lines = _poll_for_input(self._stop.fileno(), self._lines.wakeup.fileno())
        with self._lines as lines:
            while True:
                stop_or_lines.poll()
                is_last = self._deadline < math.inf  # looked at before taking, so what was said before `close` is taken
                if not self._show(lines.take()) or is_last:
                    return
                stop.poll(PAUSE_MS)

    def _show(self, data: bytes) -> bool:
        """Write it all, blocking; False when stdout is gone or the time to flush is over."""
        rest = memoryview(data)
        while rest:
            if not self._is_writable():
                return False
            try:
                rest = rest[os.write(self._fd, rest[:PIECE_BYTES]) :]
            except BlockingIOError:  # somebody else filled it since
                continue
            except OSError:
                return False
        return True

    def _is_writable(self) -> bool:
        """Block until stdout takes something, or has an error to tell; False when the time to flush is over."""
        while True:
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            timeout_ms = None
            if self._deadline == math.inf:
                poller.register(self._stop.fileno(), select.POLLIN)
            else:
                timeout_ms = max(0.0, self._deadline - time.monotonic()) * 1000
            ready = poller.poll(timeout_ms)
            if any(fd == self._fd for fd, _ in ready):
                return True
            if not ready:
                return False


def _poll_for_input(*fds: int) -> select.poll:
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return poller
