"""Policies: (the model that is wanted, what runs) -> who must go. Pure functions of their arguments.

`running` holds the names of the models that have a process, the target's own among them if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from llamaswap_lib.core.eviction.explanation import Explanation

Evict = Callable[[str, tuple[str, ...]], Collection[str]]
Explain = Callable[[str, tuple[str, ...]], Explanation]
"""Why those must go whom `Evict` names. Asked once a swap."""

__all__ = ["Evict", "Explain", "Explanation"]
