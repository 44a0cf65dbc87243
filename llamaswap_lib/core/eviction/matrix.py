"""The matrix policy: run the set that is cheapest to bring about, among those that hold the wanted model.

Pure. The rules are those of llama-swap's `matrix`: what runs outside the chosen expansion is evicted; ties go to the
earlier set, and within a set to the earlier expansion, alternatives read from left to right and the leftmost counting
most. A model in no set runs alone; a model that runs evicts nobody.

No expansion is ever made: see `projection`, which finds what the best expansion of each set keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamaswap_lib.core.eviction.dsl import MatrixSet
from llamaswap_lib.core.eviction.explanation import Explanation
from llamaswap_lib.core.eviction.projection import Projector


@dataclass(frozen=True, slots=True)
class Choice:
    """The set that is to run, by name ('' for the model alone), who must go for it, and what that costs."""

    set_name: str
    evicted: tuple[str, ...]
    cost: int


class MatrixPolicy:
    """Who must go for a model, by sets. `evict_costs`: model -> positive cost of unloading it, 1 where not named."""

    def __init__(self, sets: Sequence[MatrixSet], evict_costs: Mapping[str, int]) -> None:
        self._names = [one.name for one in sets]
        self._texts = {one.name: one.text for one in sets}
        self._costs = evict_costs
        self._projector = Projector(sets)

    def evict(self, target: str, running: tuple[str, ...]) -> tuple[str, ...]:
        return self.choose(target, running).evicted

    def explain(self, target: str, running: tuple[str, ...]) -> Explanation:
        """The chosen set, its expression and the cost; nothing for a model that runs, for which none is chosen."""
        if target in running:
            return Explanation("")
        choice = self.choose(target, running)
        if not choice.set_name:
            return Explanation(f"{target} is in no set and runs alone", cost=choice.cost)
        expression = self._texts[choice.set_name]
        return Explanation(f"set {choice.set_name} = {expression}", choice.set_name, expression, choice.cost)

    def may_meet(self, one: str, other: str) -> bool:
        """Whether the two can ever run at the same time: some set allows both."""
        return not self.evict(one, (other,))

    def names(self, model: str) -> bool:
        """Whether any set names this model."""
        return self._projector.names(model)

    def choose(self, target: str, running: tuple[str, ...]) -> Choice:
        """The cheapest set for `target` beside what of `running` it allows."""
        if target in running:
            return Choice("", (), 0)
        costs = {model: self._costs.get(model, 1) for model in running}
        best = self._projector.best(target, costs)
        if best is None:
            return Choice("", running, sum(costs.values()))
        evicted = tuple(model for model in running if model not in best.kept)
        return Choice(self._names[best.place], evicted, sum(costs[model] for model in evicted))
