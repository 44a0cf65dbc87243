"""Swaps: what was unloaded for which model, why, and how long it took. Each is told when it is over.

Controller thread only. A swap begins when it is decided and is over when its model is ready; where that ran already,
as the model of an exclusive group may, when the others have gone. A swap is not told if its load fails, or if no
request waits for it any more before it has started.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from llamaswap_lib.core.snapshot import RunView


class Swap(NamedTuple):
    """One swap that is over."""

    gone: tuple[str, ...]  # the models that were unloaded
    model: str  # that is ready now
    reason: str
    seconds: float  # from the decision until it was over


class _Begun(NamedTuple):
    gone: tuple[str, ...]
    reason: str
    at: float

    def awaits(self, run: RunView) -> bool:
        """Whether it is to go: one that was loaded later is another one."""
        return run.model in self.gone and run.load_began < self.at


class Swaps:
    """Those that have begun."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}
        self._listeners: list[Callable[[Swap], None]] = []

    def listen(self, listener: Callable[[Swap], None]) -> None:
        """Call `listener` with each swap that is over. Call before the controller starts; it must be quick."""
        self._listeners.append(listener)

    def begin(self, model: str, gone: tuple[str, ...], reason: str, now: float) -> None:
        """These are to be unloaded for `model`."""
        self._begun[model] = _Begun(gone, reason, now)

    def look(self, runs: Iterable[RunView], waited_for: Collection[str], now: float) -> None:
        """Note what runs now, and the models that requests wait for."""
        if not self._begun:
            return
        by_model = {run.model: run for run in runs if not run.is_asleep}
        for model, begun in list(self._begun.items()):
            ready_at = by_model[model].ready_at if model in by_model else None
            ran_before = ready_at is not None and ready_at < begun.at
            if ready_at is not None and not ran_before:
                self._tell(model, begun, ready_at)
            elif ran_before and not any(begun.awaits(run) for run in by_model.values()):
                self._tell(model, begun, now)
            elif (ran_before or model not in by_model) and model not in waited_for:
                del self._begun[model]

    def _tell(self, model: str, begun: _Begun, over_at: float) -> None:
        del self._begun[model]
        swap = Swap(begun.gone, model, begun.reason, over_at - begun.at)
        for listener in self._listeners:
            listener(swap)
