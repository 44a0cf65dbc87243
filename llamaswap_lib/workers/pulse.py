"""Whether a worker still serves: its loop answers its parent, which asks once a second.

What counts is how often the parent has looked in vain, and not the time: while the machine sleeps, or parent and worker
are stopped together, nobody looks. On a machine that is too busy the parent looks less often as well.
"""

from __future__ import annotations

from collections.abc import Callable

PAUSE = 1.0  # seconds between two looks
MOST_MISSED = 10  # looks


class Pulse:
    """That of one worker."""

    def __init__(self, ask: Callable[[], None]) -> None:
        """`ask` has the loop of the worker answer; it is called again once that has come."""
        self._ask = ask
        self._is_awaited = False
        self._missed = 0

    # -- the thread that looks after the worker --

    def has_stopped(self) -> bool:
        """Look once: whether it has not answered for so many looks that it hangs."""
        if not self._is_awaited:
            self._is_awaited = True
            self._ask()
        self._missed += 1
        return self._missed > MOST_MISSED

    # -- thread link-in --

    def note_work(self) -> None:
        """Something has come that only a loop which turns brings about: it is behind at most."""
        self._missed = 0

    def note_answer(self) -> None:
        """It has answered."""
        self._is_awaited = False
        self._missed = 0
