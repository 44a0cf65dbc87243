"""Files of models are read on a thread of their own: those on a network mount that hangs may never answer.

One thread asks, `hardware`; it waits for HOLD seconds at most, and the less the more folders hang: each model of a
mount may have a folder of its own. While a read in a folder hangs nothing more is read of that folder, and what is
asked for is as it was before, or unknown. A thread that hangs is replaced, and ends when its read does; it is a daemon,
so it does not hold up the end of the program. A thread that has nothing to do ends with the `FilesApart` that it is of.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from llamaswap_lib.config.command_check import model_files
from llamaswap_lib.config.schema import Model
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.typed_yaml.secrets import visible

HOLD = 1.0  # seconds
LEAST = 0.1  # of HOLD, however many folders hang

T = TypeVar("T")
_Reads = SimpleQueue[Callable[[], None] | None]  # None: no more come
Look = Callable[[str], list[int]]  # of a file: its size and time; [] where it cannot be seen


def look_of(file: str) -> list[int]:
    """[] also in a container. May take for ever, on a network mount that hangs."""
    try:
        stat = os.stat(file)  # noqa: PTH116 - a name that is too long is an OSError here
    except (OSError, ValueError):
        return []
    return [stat.st_size, stat.st_mtime_ns]


def unseen(_: str) -> list[int]:
    return []


def folder_of(model: Model) -> str:
    """Of the first of its files that its command names; '' where it names none."""
    files = model_files((model.unplaced or model).at_port(0).argv)
    return next((os.path.dirname(file) for _, file in files), "")  # noqa: PTH120 - a name may be anything


class FilesApart:
    """`look` is how size and time of one file are found; `wait` says whether an event is set, after so many seconds."""

    def __init__(
        self,
        warn: Callable[[str], None] = lambda _: None,
        look: Look = look_of,
        hold: float = HOLD,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.look = look
        self._warn = warn
        self._hold = hold
        self._wait = wait
        self._hanging: dict[str, threading.Event] = {}  # folder -> set once its read has ended after all
        self._reads: _Reads | None = None  # of the thread that does them; None where there is none
        self._end_thread: Callable[[], object] = lambda: None

    def is_held(self, folder: str) -> bool:
        """Whether a read of that folder hangs."""
        ended = self._hanging.get(folder)
        if ended is not None and ended.is_set():
            del self._hanging[folder]
            self._warn(f"the files of models in {_where(folder)} answer again")
        return folder in self._hanging

    @property
    def patience(self) -> float:
        """Seconds for which the next one is waited for."""
        return self._hold * max(LEAST, 1 / (1 + len(self._hanging)))

    def ask(self, folder: str, read: Callable[[], T], otherwise: T) -> T:
        """What `read` returns or raises; `otherwise` where that hangs, an earlier one does, or there is no thread."""
        if self.is_held(folder):
            return otherwise
        ended, found, errors = threading.Event(), list[T](), list[Exception]()

        def run() -> None:
            try:
                found.append(read())
            except Exception as error:  # noqa: BLE001 - raised again, to the one that asked
                errors.append(error)
            finally:
                ended.set()

        if not self._begin(run):
            return otherwise
        if not self._wait(ended, self.patience):
            self._hanging[folder] = ended
            self.close()
            where = f"the files of models in {_where(folder)} do not answer, as on a network mount that hangs"
            self._warn(f"{where}; until they do, what is not known of these models stays unknown")
        elif errors:
            raise errors[0]
        return found[0] if found else otherwise

    def close(self) -> None:
        """Let the thread go: it ends when its read has ended. What is asked for later is done by another one."""
        self._reads = None
        self._end_thread()

    def _begin(self, read: Callable[[], None]) -> bool:
        """Have it done by the thread; whether there is one."""
        if self._reads is None:
            reads: _Reads = SimpleQueue()
            try:
                Thread(_work, "model-files", (reads,)).start()
            except (RuntimeError, MemoryError):
                return False
            self._reads, self._end_thread = reads, weakref.finalize(self, reads.put, None)
        self._reads.put(read)
        return True


def _work(reads: _Reads) -> None:
    while (read := reads.get()) is not None:
        read()
        del read  # nothing of it is held on to while the thread waits


def _where(folder: str) -> str:
    return visible(folder) or "the caches of Hugging Face"
