"""The pipe that takes what a process prints, and the thread `output-M`, which empties it.

The process never waits for a reader of logs: what it writes is handed on at once, as raw bytes. All that is in the pipe
when it is closed is handed on too, and then b"". Its close ends it, not the end of the data: a process that left the
group may keep its write end open for days.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup, poll_for_input

_READ_BYTES = 65_536
_PAUSE = 0.1  # seconds to wait when there is no memory to read into
_LAST_READS = 16  # 1 MiB, the largest pipe; what still writes then is not of the run, and is not waited for


class OutputPipe:
    """A `with` block in which what arrives in the pipe goes to `output`, which must not block."""

    def __init__(self, model: str, output: Callable[[bytes], None], read_end: int | None = None) -> None:
        """`read_end`: that of a pipe which there is already; it is closed with this one.

        Raises OSError (no descriptor left).
        """
        self._output = output
        self._lock = threading.Lock()  # held while something is read and handed on; protects the two below
        self._is_held = False
        self._is_closing = False
        with ExitStack() as stack:
            if read_end is None:
                self._read_end, self.write_end = os.pipe()
                stack.callback(os.close, self._read_end)
                os.set_blocking(self._read_end, False)
            else:
                self._read_end = read_end
                self.write_end = os.open(f"/proc/self/fd/{read_end}", os.O_WRONLY)
            stack.callback(os.close, self.write_end)
            self._news = Wakeup()
            stack.pop_all()
        self._thread = Thread(self._drain, f"output-{model}")

    def __enter__(self) -> OutputPipe:
        """Raises RuntimeError (no thread)."""
        try:
            self._thread.start()
        except BaseException:
            self._close_descriptors()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closing = True
        self._news.set()
        self._thread.join()
        self._close_descriptors()

    # -- any thread, within the block --

    def hold(self) -> int:
        """Read nothing more until `go_on`: another process may. A descriptor of the read end, which the caller closes.

        Raises OSError.
        """
        with self._lock:
            copy = os.dup(self._read_end)
            self._is_held = True
        self._news.set()
        return copy

    def go_on(self) -> None:
        """Read again."""
        with self._lock:
            self._is_held = False
        self._news.set()

    # -- thread output-M --

    def _drain(self) -> None:
        news = poll_for_input(self._news.fileno())
        input_or_news = poll_for_input(self._news.fileno(), self._read_end)
        while True:
            try:
                ready = (news if self._is_held else input_or_news).poll()
                if any(descriptor == self._news.fileno() for descriptor, _ in ready):
                    self._news.clear()
                with self._lock:
                    if self._is_closing:
                        break
                    if not self._is_held:
                        self._output(os.read(self._read_end, _READ_BYTES))
            except BlockingIOError:
                pass  # it was the news that woke us
            except MemoryError:  # some output is lost; without this thread the process would block
                time.sleep(_PAUSE)
        self._hand_on_rest()

    def _hand_on_rest(self) -> None:
        try:
            for _ in range(0 if self._is_held else _LAST_READS):
                self._output(os.read(self._read_end, _READ_BYTES))
        except (BlockingIOError, MemoryError):
            pass  # empty, or there is no room for it
        self._output(b"")

    def _close_descriptors(self) -> None:
        os.close(self._read_end)
        os.close(self.write_end)
        self._news.close()
