"""The matrix policy: run the set that is cheapest to bring about, among those that hold the wanted model.

Pure. The rules are those of llama-swap's `matrix`: what runs outside the chosen expansion is evicted; ties go to the
earlier set, and within a set to the earlier expansion, alternatives read from left to right and the leftmost counting
most. A model in no set runs alone; a model that runs evicts nobody.

No expansion is ever made. An expression is walked once, and gives for each part of the running models that something
beside it could also keep (its `key`) the one best way to keep models: independent alternatives never multiply.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llamaswap_lib.core.eviction.dsl import Both, Either, Expression, MatrixSet, Member, Reference

# (minus the worth of what is kept, number of the expansion, what is kept): the least is the best.
_State = tuple[int, int, int]
_Table = dict[int, _State]


@dataclass(frozen=True, slots=True)
class Choice:
    """The set that is to run, by name ('' for the model alone), who must go for it, and what that costs."""

    set_name: str
    evicted: tuple[str, ...]
    cost: int


class MatrixPolicy:
    """Who must go for a model, by sets. `evict_costs`: model -> positive cost of unloading it, 1 where not named."""

    def __init__(self, sets: Sequence[MatrixSet], evict_costs: Mapping[str, int]) -> None:
        self._sets = sets
        self._costs = evict_costs

    def evict(self, target: str, running: tuple[str, ...]) -> tuple[str, ...]:
        return self.choose(target, running).evicted

    def choose(self, target: str, running: tuple[str, ...]) -> Choice:
        """The cheapest set for `target` beside what of `running` it allows."""
        if target in running:
            return Choice("", (), 0)
        costs = [self._costs.get(model, 1) for model in running]
        total = sum(costs)
        walk = _Walk(self._sets, (*running, target), [*costs, total + 1])
        kept, place = min(((walk.best(place), place) for place in range(len(self._sets))), default=((0, 0, 0), 0))
        if -kept[0] <= total:  # no set holds the target, which alone is worth more than all others
            return Choice("", running, total)
        evicted = tuple(model for bit, model in enumerate(running) if not kept[2] >> bit & 1)
        return Choice(self._sets[place].name, evicted, sum(self._costs.get(model, 1) for model in evicted))


class _Walk:
    """One decision: the best that each set can keep of some models, each with its worth."""

    def __init__(self, sets: Sequence[MatrixSet], models: Sequence[str], worths: Sequence[int]) -> None:
        self._sets = sets
        self._bits = {model: 1 << place for place, model in enumerate(models)}
        self._worths = worths
        self._reaches: dict[int, int] = {}  # of sets, by place

    def best(self, place: int) -> tuple[int, int, int]:
        """(minus the worth, place of the set, mask): so sets compare by worth, then by place."""
        table, _ = self._table(self._sets[place].expression, 0)
        worth, _, mask = table[0]
        return worth, place, mask

    def _table(self, expression: Expression, beside: int) -> tuple[_Table, int]:
        """The best state for each key (what it keeps of `beside`), and how many expansions there are."""
        match expression:
            case Member(model):
                mask = self._bits.get(model, 0)
                return {mask & beside: (-self._worth(mask), 0, mask)}, 1
            case Reference(index):
                return self._table(self._sets[index].expression, beside)
            case Either(parts):
                return self._choose(parts, beside)
            case Both(parts):
                return self._join(parts, beside)

    def _choose(self, parts: Iterable[Expression], beside: int) -> tuple[_Table, int]:
        best: _Table = {}
        total = 0
        for part in parts:
            table, count = self._table(part, beside)
            for key, (worth, number, mask) in table.items():
                _improve(best, key, (worth, total + number, mask))
            total += count
        return best, total

    def _join(self, parts: Sequence[Expression], beside: int) -> tuple[_Table, int]:
        reaches = [self._reach(part) for part in parts]
        joined: _Table = {0: (0, 0, 0)}
        total = 1
        for place, part in enumerate(parts):
            later = functools.reduce(operator.or_, reaches[place + 1 :], beside)
            table, count = self._table(part, functools.reduce(operator.or_, reaches[:place], later))
            best: _Table = {}
            for _, left_number, left_mask in joined.values():
                for _, number, mask in table.values():
                    kept = left_mask | mask
                    _improve(best, kept & later, (-self._worth(kept), left_number * count + number, kept))
            joined = best
            total *= count
        return joined, total

    def _reach(self, expression: Expression) -> int:
        """Everything that some expansion keeps."""
        match expression:
            case Member(model):
                return self._bits.get(model, 0)
            case Reference(index):
                if index not in self._reaches:
                    self._reaches[index] = self._reach(self._sets[index].expression)
                return self._reaches[index]
            case Either(parts) | Both(parts):
                return functools.reduce(operator.or_, map(self._reach, parts))

    def _worth(self, mask: int) -> int:
        return sum(worth for place, worth in enumerate(self._worths) if mask >> place & 1)


def _improve(table: _Table, key: int, state: _State) -> None:
    known = table.get(key)
    if known is None or state < known:
        table[key] = state
