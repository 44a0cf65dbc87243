"""Why somebody must go for a model, as data: what the log says of a swap.

Pure. One function for each kind of policy makes the `Explain` that stands beside its `evict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llamaswap_lib.core.eviction.dsl import MatrixSet
from llamaswap_lib.core.eviction.group import Group
from llamaswap_lib.core.eviction.matrix import MatrixPolicy


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rule` is a clause for people. The rest is the choice of a matrix; `set_name` '' is the model alone."""

    rule: str
    set_name: str = ""
    expression: str = ""
    cost: int | None = None

    def __str__(self) -> str:
        return self.rule if self.cost is None else f"{self.rule}, cost {self.cost}"


def unexplained(target: str, running: tuple[str, ...]) -> Explanation:
    """Where nobody knows more than who goes."""
    del target, running
    return Explanation("so the policy says")


def explain_own(name: str) -> Callable[[str, tuple[str, ...]], Explanation]:
    """Of a policy of the user's own only its name is known."""

    def explain(target: str, running: tuple[str, ...]) -> Explanation:
        del target, running
        return Explanation(f"so {name} says")

    return explain


def explain_groups(groups: Iterable[Group]) -> Callable[[str, tuple[str, ...]], Explanation]:
    """Members of a group that swaps make room for each other, and an exclusive one empties the others."""
    group_of = {member: group for group in groups for member in group.members}

    def explain(target: str, running: tuple[str, ...]) -> Explanation:
        group = group_of[target]
        others = [group_of[model] for model in running if model != target]
        rules = []
        if group.swap and group in others:
            rules.append(f"group {group.name} runs one model at a time")
        if group.exclusive and any(other is not group and not other.persistent for other in others):
            rules.append(f"group {group.name} is exclusive")
        return Explanation(" and ".join(rules))

    return explain


def explain_matrix(policy: MatrixPolicy, sets: Sequence[MatrixSet]) -> Callable[[str, tuple[str, ...]], Explanation]:
    """The chosen set, its expression and the cost."""
    texts = {one.name: one.text for one in sets}

    def explain(target: str, running: tuple[str, ...]) -> Explanation:
        choice = policy.choose(target, running)
        if not choice.set_name:
            return Explanation(f"{target} is in no set and runs alone", cost=choice.cost)
        expression = texts[choice.set_name]
        rule = f"set {choice.set_name} = {expression}"
        return Explanation(rule, choice.set_name, expression, choice.cost)

    return explain
