"""Models that sleep, as far as what they hold is known; which of them are stopped for it, `look.py` says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection

from llamaswap_lib.core.eviction import RunningModel
from llamaswap_lib.core.eviction.devices import Memory


def was_read(memory: Memory, asleep_since: float) -> bool:
    """Whether the last reading tells what a model holds that fell asleep then; else it is of before."""
    return bool(memory.readings) and memory.readings[-1].at > asleep_since


def sleepers(memory: Memory, view: Callable[[str], RunningModel], but: Collection[str]) -> tuple[str, ...]:
    """All that sleep, in order, as far as what they hold was read since then."""
    found = []
    for model in memory.held.keys() - but if memory.readings else ():
        seen = view(model)
        if seen.state == "sleeping" and seen.asleep_since is not None and was_read(memory, seen.asleep_since):
            found.append(model)
    return tuple(sorted(found))
