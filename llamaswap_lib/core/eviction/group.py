"""The group policy: members of a group swap with each other, and an exclusive group empties the others.

Pure. The rules are those of llama-swap's `groups`: a request for a model, also for one that is ready, unloads the other
running members of its group if the group swaps, and the running models of every other group that is not persistent
if the group is exclusive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llamaswap_lib.core.eviction import Explanation


@dataclass(frozen=True, slots=True)
class Group:
    """Models that share a rule about running together."""

    name: str
    members: tuple[str, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


class GroupPolicy:
    """Which models must be unloaded for a model, by groups. Every model is a member of exactly one group."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._group_of = {member: group for group in groups for member in group.members}

    def evict(self, target: str, running: tuple[str, ...]) -> set[str]:
        group = self._group_of[target]
        return {model for model in running if model != target and self._must_go(group, self._group_of[model])}

    def names(self, model: str) -> bool:
        """Whether it is a member of any group."""
        return model in self._group_of

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation:
        """Which of the two rules it is for each model that must be unloaded."""
        group = self._group_of[target]
        evicted = self.evict(target, running)
        own = [model for model in running if model in evicted and self._group_of[model] is group]
        others = [model for model in running if model in evicted and self._group_of[model] is not group]
        reasons = {
            **dict.fromkeys(own, f"group {group.name} runs one model at a time"),
            **dict.fromkeys(others, f"group {group.name} is exclusive"),
        }
        return Explanation(" and ".join(dict.fromkeys(reasons.values())), reasons=reasons)

    def may_meet(self, one: str, other: str) -> bool:
        """Whether the two can ever run at the same time: one of them may be asked for while the other runs."""
        return not (self.evict(one, (other,)) and self.evict(other, (one,)))

    def _must_go(self, wanted: Group, other: Group) -> bool:
        """The rule."""
        if other is wanted:
            return wanted.swap
        return wanted.exclusive and not other.persistent
