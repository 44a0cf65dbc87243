"""Monotonic times, written as wall-clock time for people.

Any thread. All times are measured on the monotonic clock and only shown on this one. The difference between the clocks
is kept, so that a time is written the same each time. When the wall clock is set, all times follow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llamaswap_lib.wire.rfc3339 import moment_text

SET_BY = 1.0  # seconds; if the clocks differ by so much more than before, the wall clock was set


class WallClock:
    """`text(moment)` is RFC 3339 in UTC, with milliseconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()

    def text(self, moment: float) -> str:
        offset = self._wall() - self._monotonic()
        if abs(offset - self._offset) > SET_BY:
            self._offset = offset
        return moment_text((moment + self._offset) * 1000)
