"""Files of models are read on threads of their own: those on a network mount that hangs may never answer.

One thread asks, `hardware`; it waits for HOLD seconds at most, and the less the more folders hang: each model of a
mount may have a folder of its own. While a read in a folder hangs nothing more is read of that folder, and what is
asked for is as it was before, or unknown. A thread that hangs is a daemon: it does not hold up the end of the program.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from llamaswap_lib.config.command_check import model_files
from llamaswap_lib.config.schema import Model
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.typed_yaml.secrets import visible

HOLD = 1.0  # seconds
LEAST = 0.1  # of HOLD, however many folders hang

T = TypeVar("T")
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
    """`look` is how size and time of one file are found."""

    def __init__(self, warn: Callable[[str], None] = lambda _: None, look: Look = look_of, hold: float = HOLD) -> None:
        self.look = look
        self._warn = warn
        self._hold = hold
        self._hanging: dict[str, threading.Event] = {}  # folder -> set once its read has ended after all

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

        try:
            Thread(run, "model-files").start()
        except (RuntimeError, MemoryError):
            return otherwise
        if not ended.wait(self.patience):
            self._hanging[folder] = ended
            where = f"the files of models in {_where(folder)} do not answer, as on a network mount that hangs"
            self._warn(f"{where}; until they do, what is not known of these models stays unknown")
        elif errors:
            raise errors[0]
        return found[0] if found else otherwise


def _where(folder: str) -> str:
    return visible(folder) or "the caches of Hugging Face"
