"""What goes wrong beside the requests: signals that do not end it, grandchildren, floods of output."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from itertools import count

from llamaswap_lib.demo.flags import Flags
from llamaswap_lib.demo.loop import Loop

SPAM_BURSTS_PER_SECOND = 20
SPAM_BYTES = 4000  # a pipe takes this much in one piece, so other lines stay whole


def say(line: str) -> None:
    """A line on stdout in one write; its reader may have gone."""
    write(f"{line}\n".encode("utf-8", "replace"))


def write(data: bytes) -> None:
    """Bytes on stdout; blocks while its reader does not read, as any program would."""
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        pass


def handle_signals(flags: Flags, loop: Loop) -> None:
    """From now on SIGTERM and SIGINT do what the flags say."""
    ending = _Ending(flags, loop)
    signal.set_wakeup_fd(ending.told.fileno())
    signal.signal(signal.SIGINT, _leave_to_the_loop)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if flags.ignore_sigterm else _leave_to_the_loop)


class _Ending:
    """SIGTERM and SIGINT: the end at once, after a while, or not, as the flags say; a second one is always the end."""

    def __init__(self, flags: Flags, loop: Loop) -> None:
        self._flags = flags
        self._loop = loop
        self._is_stopping = False
        self._signals, self.told = socket.socketpair()
        for end in (self._signals, self.told):
            end.setblocking(False)
        loop.call_when_readable(self._signals, self._stop)

    def _stop(self) -> None:
        say(f"got {signal.Signals(self._signals.recv(1)[0]).name}")
        if self._flags.hang_on_sigterm:
            if not self._is_stopping:
                self._loop.stop_listening()
        elif self._is_stopping or not self._flags.stop_seconds:
            _exit(1 if self._is_stopping else 0)
        else:
            self._loop.stop_listening()
            self._loop.call_at(time.monotonic() + self._flags.stop_seconds, lambda: _exit(0))
        self._is_stopping = True


def _exit(code: int) -> None:
    say("bye")
    os._exit(code)


def _leave_to_the_loop(*_: object) -> None:
    """The number comes through the wakeup descriptor."""


def fork_grandchild(ignores_sigterm: bool) -> None:
    """A child that holds all that we have open, and sleeps until a signal ends it, also when we are gone."""
    ours = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # what is for the child must not wake our loop
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
        say(f"grandchild {pid}")
        return
    signal.set_wakeup_fd(-1)
    for number in ours:
        signal.signal(number, signal.SIG_IGN if ignores_sigterm else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
    while True:
        signal.pause()


def start_log_spam(megabytes_per_second: float) -> None:
    """Write so much, in lines of 100 bytes, on a thread of its own."""
    writes = max(round(megabytes_per_second * 1_000_000 / SPAM_BYTES / SPAM_BURSTS_PER_SECOND), 1)

    def spam() -> None:
        numbers = count()
        while True:
            for _ in range(writes):
                write(b"".join(b"%099d\n" % next(numbers) for _ in range(SPAM_BYTES // 100)))
            time.sleep(1 / SPAM_BURSTS_PER_SECOND)

    threading.Thread(target=spam, name="spam", daemon=True).start()
