"""Stdout: shows what a subscription brings, on one thread, `log-stdout`.

A thread that logs never waits for a terminal or a pipe: the subscription holds what stdout does not take, up to its
capacity, and tells what it dropped. One write brings out all that came in the meantime and a short pause follows it, so
a busy server pays for a system call and a thread switch a hundred times a second, not once a line. (Writing from the
caller's thread whenever `poll` allows it was rejected: it costs every request two system calls, a slow disk stops it
all the same, and the last lines before a quiet hour stay unseen.)

A stdout that is closed (EPIPE, EBADF) is given up. Any other refusal, such as a full disk, is waited out: the newest
HELD_BYTES are kept, and once there is room again a line says how much was lost, and why.
"""

from __future__ import annotations

import errno
import math
import os
import select
import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

from llamaswap_lib.runtime.vital import Failures, VitalThread
from llamaswap_lib.runtime.wakeup import Wakeup

PAUSE_MS = 10  # after a write; a lone line is shown at once
RETRY_PAUSE_MS = 250  # before the next try, when it takes nothing: a full disk
PIECE_BYTES = select.PIPE_BUF  # a pipe that polls as writable takes this much without blocking
HELD_BYTES = 32_768  # of what it refuses: a disk that was full may have little room
_GONE = (errno.EPIPE, errno.EBADF)


class Lines(AbstractContextManager[Any], Protocol):
    """What is shown: a subscription, as `logs` has them."""

    wakeup: Wakeup

    def take(self) -> bytes:
        """All that is there, without blocking; clears the wakeup."""


class StdoutSink:
    """Shows `lines` on file descriptor `fd` until it is closed, then leaves them."""

    def __init__(self, lines: Lines, fd: int, retry_pause_ms: int = RETRY_PAUSE_MS) -> None:
        self._retry_pause_ms = retry_pause_ms
        self._lines = lines
        self._fd = fd
        self._deadline = math.inf  # of the flush: finite once closing, written before `_stop` is set
        self._stop = Wakeup()
        self._is_over = False
        self._thread = VitalThread(self._run, "log-stdout")
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
        failures = Failures("log-stdout", _nobody)  # stdout is where it would be said
        with self._lines:
            while not self._is_over:
                try:
                    self._show_all()
                except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                    failures.endure()

    def _show_all(self) -> None:
        stop = _poll_for_input(self._stop.fileno())
        stop_or_lines = _poll_for_input(self._stop.fileno(), self._lines.wakeup.fileno())
        while not self._is_over:
            stop_or_lines.poll()
            is_last = self._deadline < math.inf  # looked at before taking, so what was said before `close` is taken
            self._is_over = not self._show(self._lines.take()) or is_last
            if not self._is_over:
                stop.poll(PAUSE_MS)

    def _show(self, data: bytes) -> bool:
        """Write it all, blocking; False when stdout is gone or the time to flush is over."""
        rest, refused = data, _Refused()
        while rest:
            if not self._is_writable():
                return False
            try:
                written = os.write(self._fd, rest[:PIECE_BYTES])
            except BlockingIOError:  # somebody else filled it since
                if not self._pause(PAUSE_MS):
                    return False
            except OSError as error:
                if error.errno in _GONE or not self._pause(self._retry_pause_ms):
                    return False
                rest = refused.more(rest, self._lines.take(), error.strerror or "")
            else:
                refused.note_written(rest[:written])
                rest = rest[written:]
        return True

    def _pause(self, pause_ms: int) -> bool:
        """Wait a while before the next try; False when the time to flush is over."""
        if self._deadline == math.inf and not _poll_for_input(self._stop.fileno()).poll(pause_ms):
            return True
        left_ms = (self._deadline - time.monotonic()) * 1000
        if left_ms > 0:
            select.poll().poll(min(left_ms, pause_ms))
        return left_ms > 0

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


class _Refused:
    """What stdout did not take, and is offered again."""

    def __init__(self) -> None:
        self._held = b""
        self._offer = b""
        self._lost_bytes = 0
        self._at_line_start = True

    def note_written(self, data: bytes) -> None:
        self._at_line_start = data.endswith(b"\n")

    def more(self, rest: bytes, data: bytes, reason: str) -> bytes:
        """What to offer after `rest` was refused for `reason` and `data` has come: the newest lines of both."""
        if rest is not self._offer:  # the first time, or some of the last offer was taken
            self._held, self._lost_bytes = rest, 0
        held = self._held + data
        excess_bytes = len(held) - HELD_BYTES
        if excess_bytes > 0:
            cut = held.find(b"\n", excess_bytes - 1) + 1 or excess_bytes  # whole lines, where there are any
            self._lost_bytes += cut
            held = held[cut:]
        self._held = self._offer = held
        if self._lost_bytes:
            line_end = "" if self._at_line_start else "\n"
            self._offer = f"{line_end}— {self._lost_bytes} bytes dropped: {reason} —\n".encode() + held
        return self._offer


def _nobody(_message: str) -> None: ...
