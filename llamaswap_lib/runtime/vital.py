"""Threads that the program needs: they go on after any exception, or the program ends.

A program that runs but does not serve is worse than one that has ended, because a supervisor starts the latter again.
So a loop reports what went wrong, pauses and goes on (`Failures`). If it cannot go on, its `VitalThread` calls what
`end_with` was given, which ends the program. Any thread. Guarantees: both work when memory has run out. Without
`end_with` (in tests) the death of such a thread is like that of any other.
"""

from __future__ import annotations

import gc
import math
import sys
import time
import traceback
from collections.abc import Callable

from llamaswap_lib.runtime.threads import Thread

PAUSE = 0.1  # seconds after a failure, so that a lasting one neither spins nor floods the log
IN_A_ROW = 1.0  # seconds; two failures that are not farther apart count as in a row
MANY, HOPELESS = 10, 30.0  # so many failures in a row, over so many seconds, will not end by themselves

_end: Callable[[str], None] | None = None


def end_with(end: Callable[[str], None] | None) -> None:
    """Have `end` called with the name of a vital thread that dies, while its exception is being handled."""
    global _end  # noqa: PLW0603 - one for the whole program, like `threading.excepthook`
    _end = end


class VitalThread(Thread):
    """A thread whose death is the program's; a daemon."""

    def run(self) -> None:
        try:
            super().run()
        except BaseException:
            if _end is None:
                raise
            _end(self.name)  # from here, and not from `threading.excepthook`, which needs memory to be called


class Failures:
    """What a loop does about the exceptions of its turns. Costs nothing while there are none."""

    def __init__(
        self,
        name: str,
        on_error: Callable[[str], None],
        *,
        in_a_row: float = IN_A_ROW,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_error` gets the traceback of each, under `name`.

        `in_a_row`: seconds without an exception after which the loop counts as working again. A loop that rests for
        long has to call `forget` itself.
        """
        self._name = name
        self._on_error = on_error
        self._in_a_row = in_a_row
        self._pause = pause
        self._clock = clock
        self.count = 0  # in a row
        self._first = self._last = -math.inf

    def endure(self, during: object = None) -> None:
        """In an `except` block: report the exception, and pause if it is not the first in a row.

        `during` is what was being done. Raises the exception again if it is at least the MANY-th in a row, HOPELESS
        seconds after the first.
        """
        report(self._name, self._on_error, during)
        try:
            if isinstance(sys.exc_info()[1], MemoryError) and not self.count % MANY:
                gc.collect()  # earlier exceptions may hold all the memory
            now = self._clock()
            if now - self._last > self._in_a_row:
                self.forget()
            self._last = now
            if not self.count:
                self._first = now
        except MemoryError:
            pass
        self.count += 1
        if self.count >= MANY and self._last - self._first >= HOPELESS:
            raise  # noqa: PLE0704 - what is being handled
        if self.count > 1:
            self._pause(PAUSE)

    def forget(self) -> None:
        """A turn went well."""
        self.count = 0


def report(name: str, on_error: Callable[[str], None], during: object = None) -> None:
    """Give `on_error` the exception that is being handled, with its traceback if there is memory for that."""
    try:
        on_error(f"{name} failed{f' at {during!r}' if during else ''}: {traceback.format_exc()}")
    except Exception:  # noqa: BLE001 - whatever it is, the loop is to go on
        try:
            on_error(f"{name} failed, and there is too little memory to say more")
        except Exception:  # noqa: BLE001, S110 - as above
            pass
