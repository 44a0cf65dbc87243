"""What the configuration says of models, and by it, what the loss of one costs that runs.

Pure. The loss of a model costs the seconds of its next load, by the chance that it is needed soon, by its weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import exp
from typing import Protocol

from llamaswap_lib.core.eviction import Explanation, RunningModel

SOON = 60.0  # seconds: what is needed within them would be loaded again at once
TYPICAL_LOAD = 10.0  # seconds, for a model whose load was never timed
STEPS = 10  # of priority, up or down, that count: each of them doubles the weight of a model


class Together(Protocol):
    """Rules for what may not run together, whatever the memory: groups, or a matrix."""

    def evict(self, target: str, running: tuple[str, ...]) -> Collection[str]: ...

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation: ...

    def names(self, model: str) -> bool:
        """Whether they say anything of this model."""
        ...


@dataclass(frozen=True, slots=True)
class Manners:
    """What the configuration says of models. `min_residency` in seconds."""

    pinned: frozenset[str] = frozenset()
    priorities: Mapping[str, int] = field(default_factory=dict)
    min_residency: float = 0.0
    together: Together | None = None

    def others_first(self, target: str, running: Iterable[str]) -> Collection[str]:
        """Those of `running` that may not run beside the target, whatever the memory."""
        if self.together is None or not self.together.names(target):
            return ()
        return self.together.evict(target, self.named(running))

    def named(self, running: Iterable[str]) -> tuple[str, ...]:
        return tuple(model for model in running if self.together is not None and self.together.names(model))

    def is_young(self, seen: RunningModel) -> bool:
        return seen.state == "ready" and seen.ready_seconds < self.min_residency

    def loss(self, seen: RunningModel, gap: float) -> int:
        """The seconds that this is expected to cost, by its weight, in billionths. `gap`: seconds between requests."""
        if is_passing(seen):
            return 1
        chance = 1.0
        if is_calm(seen):
            quiet = max(seen.idle_seconds, gap, 0.001)
            chance = 1.0 - exp(-SOON / quiet)
        priority = max(-STEPS, min(STEPS, self.priorities.get(seen.model, 0)))
        seconds = TYPICAL_LOAD if seen.load_seconds is None else seen.load_seconds
        return 2 + int((seconds + 0.001) * chance * 2.0**priority * 1e9)


def is_passing(seen: RunningModel) -> bool:
    """Whether it ends anyway, or is yet to start: nothing is lost if it goes."""
    return seen.is_planned or seen.state == "stopping"


def is_calm(seen: RunningModel) -> bool:
    """Whether nobody has to wait until it may go: it is idle, goes anyway, or is yet to start."""
    return is_passing(seen) or (seen.state == "ready" and not seen.in_flight)
