"""How often each model is asked for: the seconds between two requests, the last ones counting most.

Pure. One thread notes; any thread reads `now`, which is never changed, only replaced.
"""

from __future__ import annotations

from collections.abc import Mapping

SHARE = 0.25  # of the last gap in the average


class Gaps:
    """By model, once it was asked for twice."""

    def __init__(self) -> None:
        self.now: Mapping[str, float] = {}
        self._last: dict[str, float] = {}

    def note(self, model: str, at: float) -> None:
        """A request came at this time, in seconds of any clock; they may be told a little out of order."""
        last = self._last.get(model)
        self._last[model] = at if last is None else max(at, last)
        if last is not None:
            gap = abs(at - last)
            before = self.now.get(model, gap)
            self.now = {**self.now, model: before + SHARE * (gap - before)}
