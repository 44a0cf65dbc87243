"""Tells when the content of files has changed: `-watch-config`.

The thread `config-watch` sleeps until the kernel tells of a change (inotify), waits until the change is complete, and
calls `on_change`. While nothing changes it does not wake. Where inotify cannot be used (no Linux, no `ctypes`, a
network file system, a limit of the system, a folder that may not be read) it looks once a second, and says so once.
Only a change of content counts, however it is made: the file is written in place, moved into place, deleted and created
again, or a link or a folder on its path is replaced, as Kubernetes does it.

What is not noticed before the next event: a file system that is mounted or unmounted on a path, and what a program
writes into mapped memory before it closes the file.

Costs: 0.1 ms for each file after an event that concerns one; events are gathered for 50 ms. What is written into other
files next to them costs nothing; if such are created, moved or deleted all the time, it wakes 20 times a second.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from llamaswap_lib.runtime.files.changes import FileChanges
from llamaswap_lib.runtime.files.inotify import Inotify
from llamaswap_lib.runtime.files.watched_paths import WatchedPaths, reason
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import Failures, report
from llamaswap_lib.runtime.wakeup import LONGEST_WAIT, Wakeup, poll_for_input

NAME = "config-watch"
GATHERING = 0.05  # seconds from the first event until events are read: many cost no more than one
_JOIN_TIMEOUT = 2.0


class FileWatch:
    """Follows the files that `files` names, and every name in `folders`."""

    def __init__(
        self,
        files: Callable[[], Iterable[Path]],
        folders: Iterable[Path],
        on_change: Callable[[], None],
        on_error: Callable[[str], None],
        *,
        on_info: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        new_notifier: Callable[[], Inotify] = Inotify,
    ) -> None:
        """Raises OSError where the system gives no descriptor.

        `files` is called whenever something has happened, on the threads of this object and of `look`. It may list a
        folder, and if it raises, that is a change too. `folders` are the folders that it lists. `on_change` is called
        on the thread `config-watch`, never twice at once; a change meanwhile is told afterwards. `on_error` gets the
        exceptions of `on_change`. Relative paths count from the working directory at the time.
        """
        self._on_change = on_change
        self._on_error = on_error
        self._clock = clock
        self._wakeup = Wakeup()
        self._notifier: Inotify | None = None
        try:
            self._notifier = new_notifier()
        except OSError as error:
            on_info(f"changes to the configuration's files are looked for once a second: {reason(error)}")
        self._changes = FileChanges(files, WatchedPaths(self._notifier, folders, on_info, on_error))
        self._thread: Thread | None = None
        self._lock = threading.Lock()  # protects the three below, and the wakeup from being closed meanwhile
        self._is_closing = self._is_closed = False
        self._has_looked = False

    # -- any thread --

    def start(self) -> None:
        """Tell of changes since `look`, or from now on. Raises RuntimeError or MemoryError if there is no thread."""
        if not self._has_looked:
            self.look()
        thread = Thread(self._run, NAME)
        thread.start()
        self._thread = thread

    def look(self) -> None:
        """Take note of the present content: only what changes from now on is told.

        To be called BEFORE the files are read: what changes between the two is then told, and read once more. May be
        called before `start`, from within `on_change`, and by `files`' owner while it holds a lock that `files` takes.
        """
        self._changes.look()
        self._has_looked = True
        self._wake()

    def follow(self, used: Iterable[Path]) -> None:
        """Take note of the set of files that were read, AFTER they were read.

        For files that were in the set before, the content that was seen last counts, so that a change while they were
        read is told; for new ones, their content now. If `files` names others than these, that is a change.
        """
        self._changes.follow(used)
        self._has_looked = True
        self._wake()

    def close(self) -> None:
        """End the thread. No call of `on_change` begins after this; one in progress is waited for, for two seconds."""
        with self._lock:
            self._is_closing = True
        self._wake()
        if self._thread is None:
            self._close_descriptors()
        elif self._thread is not threading.current_thread():
            self._thread.join(_JOIN_TIMEOUT)

    def _wake(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._wakeup.set()

    def _close_descriptors(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._wakeup.close()
                if self._notifier is not None:
                    self._notifier.close()

    # -- thread config-watch --

    def _run(self) -> None:
        try:
            self._follow_until_closed()
        except Exception:  # noqa: BLE001 - each exception is logged already; the server works without this thread
            self._on_error("changes to the configuration's files are not noticed any more")
        finally:
            self._close_descriptors()

    def _follow_until_closed(self) -> None:
        failures = Failures(NAME, self._on_error)
        while not self._is_closing:
            try:
                self._turn()
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                failures.endure()

    def _turn(self) -> None:
        if self._changes.turn(self._clock()) and not self._is_closing:
            try:
                self._on_change()
            except Exception:  # noqa: BLE001 - the next change may be a better one
                report(NAME, self._on_error, "on_change")
        if self._wait(self._changes.wait_until() - self._clock()):
            self._wait_for_wakeup(GATHERING)
        self._wakeup.clear()

    def _wait(self, timeout: float) -> bool:
        """Block until there are events (true), until `_wake`, or for so many seconds."""
        notifier = [] if self._notifier is None else [self._notifier.fileno()]
        ready = {descriptor for descriptor, _ in _poll(poll_for_input(self._wakeup.fileno(), *notifier), timeout)}
        return bool(ready) and self._wakeup.fileno() not in ready

    def _wait_for_wakeup(self, timeout: float) -> None:
        _poll(poll_for_input(self._wakeup.fileno()), timeout)


def _poll(poll: select.poll, timeout: float) -> list[tuple[int, int]]:
    if timeout == math.inf:
        return poll.poll()
    return poll.poll(math.ceil(max(0.0, min(timeout, LONGEST_WAIT)) * 1000))
