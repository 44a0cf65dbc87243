"""Which models wait until memory of processes that have ended is free, and how long they may.

Pure; part of the scheduler. A start waits for `settle_timeout` at most, from the last end of a process before it had to
wait: what ends later does not prolong it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from llamaswap_lib.core.eviction import Room, Unfreed


class Wait(NamedTuple):
    """Of one model: since when, until when at most, which models have ended when, and for what it waits."""

    since: float
    until: float
    ended: Mapping[str, float]
    unfreed: Unfreed
    is_over: bool = False  # it has waited for as long as it may


class Freeing:
    """Waits by model. Monotonic seconds."""

    def __init__(self) -> None:
        self.ended: Mapping[str, float] = {}  # model -> when its last process was gone
        self.waits: dict[str, Wait] = {}

    def note_end(self, model: str, now: float) -> None:
        self.ended = {**self.ended, model: now}

    def find(self, model: str, room: Room, running: tuple[str, ...], gpus: tuple[str, ...], now: float) -> Wait | None:
        """What the model, which could start on these GPUs now, waits for; None if for nothing, or not any more."""
        self.ended = {one: at for one, at in self.ended.items() if now < at + room.settle_timeout}
        wait = self.waits.get(model)
        if wait is None and not self.ended:
            return None
        ended = self.ended if wait is None else {**wait.ended, **self.ended}
        lacking = room.unfreed(model, running, gpus, ended)
        if lacking:
            until = max(self.ended.values()) + room.settle_timeout if wait is None else wait.until
            if now < until:
                wait = self.waits[model] = Wait(now if wait is None else wait.since, until, ended, lacking)
                return wait
            if wait is not None:
                self.waits[model] = wait._replace(unfreed=lacking, is_over=True)
        return None

    def end(self, model: str, now: float) -> tuple[str, str] | None:
        """It starts; what the log has of its wait, with the level."""
        wait = self.waits.pop(model, None)
        if wait is None:
            return None
        waited, after = f"{now - wait.since:.1f} s", ", ".join(wait.unfreed.after)
        if wait.is_over:
            late = f"{wait.unfreed.room} did not become free within {waited} after the end of {after}"
            message = f"{model}: {late}; it is started all the same"
            return "warn", message
        return "info", f"{model}: waited {waited} for {wait.unfreed.room} to become free after the end of {after}"

    def keep_only(self, models: Collection[str]) -> None:
        """Nobody waits for the others any more."""
        self.waits = {model: wait for model, wait in self.waits.items() if model in models}

    def next_deadline(self, now: float) -> float | None:
        return min((wait.until for wait in self.waits.values() if wait.until > now), default=None)
