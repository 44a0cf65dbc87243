"""The guardian as llamaswap sees it: a child process that ends every upstream when llamaswap ends, in whatever way.

It is started with the first model, so that start-up pays nothing, and again at once when it dies (thread `guardian`,
which sleeps in `wait` until then). Guarantees: when `marks` has returned, whatever is started with these marks is ended
within GRACE and a look of our own death, wherever it went. What is left of a window: a program that drops its
environment (sudo, a title that is written over it) and dies to us in the microseconds between its start and `add`; a
guardian that is killed together with us (the next life finds what carries the marks); and a system without /proc, for
programs whose environment `ps` may not show.

Thread `leftovers`, at the start, ends what earlier lives have left; no model is started before that is done. Rejected:
PR_SET_PDEATHSIG (fires with the thread, spares grandchildren, Linux only), a state file (stale by nature, and a second
llamaswap's children would have to be told from ours by it).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from llamaswap_lib.runtime.descriptors import keep_inherited_descriptors
from llamaswap_lib.runtime.guard.sweep import end, leftovers
from llamaswap_lib.runtime.guard.table import (
    GUARDIAN_MARKER,
    HAS_PROC,
    MARKER,
    Entry,
    command_of,
    look,
    mark_of,
    new_token,
)
from llamaswap_lib.runtime.logs import Logger
from llamaswap_lib.runtime.vital import Failures, VitalThread, report

_PROGRAM = Path(__file__).parent
_SHORTEST_LIFE = 1.0  # of a guardian that is replaced at once; where they die sooner, after a pause that doubles
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 60.0
_BLOCKED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP}


class Guard(Protocol):
    """What whoever starts processes needs of it."""

    def marks(self, run_id: int) -> Mapping[str, str]:
        """What goes into the environment of a process of that run; blocks while leftovers are ended."""

    def add(self, group: int) -> None:
        """A group was started."""

    def remove(self, group: int) -> None:
        """Nobody of the group is left."""


class Guardian:
    """Starts the guardian, keeps it alive and tells it what runs."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._token = ""
        self._is_clean = threading.Event()  # the leftovers are gone
        self._cleaning: threading.Thread | None = None
        self._closing = threading.Event()
        self._pause = 0.0  # before the next guardian; the thread's own
        self._lock = threading.Lock()  # protects what follows
        self._groups: set[int] = set()
        self._pipe = -1  # while there is a guardian: its stdin
        self._thread: threading.Thread | None = None

    # -- main thread --

    def start(self) -> None:
        """End what earlier lives have left, on a thread of its own."""
        self._cleaning = VitalThread(self._clean, "leftovers")
        self._cleaning.start()

    def close(self, timeout: float) -> None:
        """Let the guardian end whoever is left, and then itself; gives up waiting after `timeout` seconds."""
        with self._lock:
            self._closing.set()
            self._drop_pipe()
            threads = (self._cleaning, self._thread)
        deadline = time.monotonic() + timeout
        for thread in filter(None, threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    # -- any thread --

    def marks(self, run_id: int) -> Mapping[str, str]:
        self._is_clean.wait()
        with self._lock:
            self._start_if_needed()
        return {MARKER: mark_of(self._token, run_id)}

    def leftovers(self) -> list[int]:
        """The processes whose end `marks` waits for; nobody, without a look, when it waits for nothing any more."""
        return [] if self._is_clean.is_set() else [entry.pid for entry in leftovers(look(), os.geteuid())]

    def has(self, group: int) -> bool:
        """Whether it was added, and somebody of it is left."""
        return group in self._groups

    def add(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)
            self._tell(b"+%d\n" % group)

    def remove(self, group: int) -> None:
        with self._lock:
            self._groups.discard(group)
            self._tell(b"-%d\n" % group)

    # -- under the lock --

    def _tell(self, line: bytes) -> None:
        """Never blocks. One that is gone is replaced by its thread, and told everything anew."""
        try:
            if self._pipe >= 0:
                os.write(self._pipe, line)
        except BlockingIOError:
            self._log.error("the guardian takes nothing any more")  # stopped by hand: its pipe holds thousands of lines
        except OSError:
            pass

    def _start_if_needed(self) -> None:
        if self._pipe < 0 and not self._closing.is_set():
            self._start()

    def _start(self) -> None:
        """A guardian that knows what runs, and a thread that waits for its end."""
        keep_inherited_descriptors()
        read_end = -1
        try:
            read_end, self._pipe = os.pipe()
            os.set_blocking(self._pipe, False)
            pid = _spawn(read_end, self._token)
            self._thread = VitalThread(partial(self._watch, pid), "guardian")
            self._thread.start()
        except (OSError, RuntimeError, MemoryError) as error:
            self._drop_pipe()
            self._log.error(f"could not start the guardian, so models may outlive a crash: {error}")
        finally:
            if read_end >= 0:
                os.close(read_end)
        for group in self._groups:
            self._tell(b"+%d\n" % group)

    def _drop_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    # -- thread guardian --

    def _watch(self, pid: int) -> None:
        begun = time.monotonic()
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored: it has ended all the same
        has_lived = time.monotonic() - begun >= _SHORTEST_LIFE
        failures = Failures("guardian", self._log.error)
        while True:
            try:
                return self._replace(has_lived=has_lived)
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                failures.endure()

    def _replace(self, *, has_lived: bool) -> None:
        """Start another one, unless we are closing."""
        with self._lock:
            if self._closing.is_set():
                return
            self._drop_pipe()
        self._pause = 0.0 if has_lived else self._longer_pause()
        self._log.warn(
            f"the guardian has ended; another one starts {f'in {self._pause:g} s' if self._pause else 'now'}"
        )
        while not self._closing.wait(self._pause):
            with self._lock:
                self._start_if_needed()  # or a model that came meanwhile has
                if self._pipe >= 0:
                    return
            self._pause = self._longer_pause()

    def _longer_pause(self) -> float:
        return min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)

    # -- thread leftovers --

    def _clean(self) -> None:
        try:
            self._token = new_token()
            if not HAS_PROC:
                self._log.warn(
                    "there is no /proc, so a process that leaves its model's process group outlives its model"
                )
            told: set[int] = set()

            def choose(entries: list[Entry], known: Mapping[int, str]) -> list[Entry]:
                found = leftovers(entries, os.geteuid(), known=known)
                for entry in found:
                    if entry.pid not in told:
                        told.add(entry.pid)
                        # The name alone: arguments may hold secrets.
                        program = Path(command_of(entry.pid).partition(" ")[0]).name
                        self._log.warn(f"ending what an earlier life left behind: {entry.pid}, {program}")
                return found

            try:
                if not end(choose):
                    self._log.error("something that an earlier life left behind cannot be ended")
            except Exception:  # noqa: BLE001 - models can be started all the same
                report("leftovers", self._log.error)
        finally:
            self._is_clean.set()


def _spawn(stdin: int, token: str) -> int:
    """The guardian's pid. It gets its stdin and nothing else that is open; no signal can come before it is ready."""
    if not sys.executable:
        raise OSError("the Python that runs us is unknown")
    env = {name: value for name, value in os.environ.items() if name != MARKER}
    flags = "-ISB" if sys.dont_write_bytecode else "-IS"  # -I does not read what the environment says of that
    return os.posix_spawn(
        sys.executable,
        (sys.executable, flags, str(_PROGRAM), token),
        {**env, GUARDIAN_MARKER: token},
        file_actions=(
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ),
        setsid=True,
        setsigmask=_BLOCKED,
    )
