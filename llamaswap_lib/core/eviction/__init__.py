"""Policies: (the model that is wanted, what runs) -> which models must be unloaded. Pure functions of their arguments.

`running` holds the names of the models that have a process, the target's own among them if it has one. A policy that
the user has written gets `RunningModel`s; import that from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from llamaswap_lib.core.eviction.explanation import Explanation, unexplained
from llamaswap_lib.core.eviction.own import RunningModel

Evict = Callable[[str, tuple[str, ...]], Collection[str]]
Explain = Callable[[str, tuple[str, ...]], Explanation]
"""Why those must go whom `Evict` names. Asked once a swap."""
Observe = Callable[[Callable[[str], RunningModel], Callable[[str], bool]], None]
"""Told what runs before each decision, by policies that look at more than names: see `own.OwnPolicy.observe`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy, and what belongs to it.

    `observe` is None for one that looks at names alone: any thread may ask that one.
    """

    evict: Evict
    explain: Explain = unexplained
    observe: Observe | None = None


__all__ = ["Evict", "Explain", "Explanation", "Observe", "Rules", "RunningModel"]
