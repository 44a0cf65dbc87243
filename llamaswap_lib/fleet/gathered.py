"""What many ask for at nearly the same time, done once for all of them.

Any thread may ask, and waits until it was done after it had asked. The first one is not held up; who asks soon after
the last time waits for a moment, in which others may join.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf

MOMENT = 0.1  # seconds from the end of one time to the begin of the next


class Gathered:
    """`do`, at most once in so many seconds."""

    def __init__(
        self,
        do: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._do = do
        self._clock = clock
        self._wait = wait
        self._guard = threading.Lock()  # protects the next one
        self._asked = 0  # times that somebody has asked
        self._turn = threading.Lock()  # held by the one that does it; protects what follows
        self._done = 0  # of these, those it was done for
        self._ended_at = -inf

    def __call__(self) -> None:
        """Do it, or have it done by another thread that does it after now; blocks. Raises what `do` raises."""
        with self._guard:
            self._asked += 1
            mine = self._asked
        with self._turn:
            if self._done >= mine:
                return
            self._wait(max(0.0, self._ended_at + MOMENT - self._clock()))
            with self._guard:
                all_asked = self._asked
            try:
                self._do()
            finally:
                self._ended_at = self._clock()
            self._done = all_asked
