"""The matrix policy: run the set that is cheapest to bring about, among those that hold the wanted model.

Pure. The rules are those of llama-swap's `matrix`: what runs outside the chosen expansion is evicted; ties go to the
earlier set, and within a set to the earlier expansion: alternatives are read from left to right, and the leftmost
counts most. A model in no set runs alone; for a model that already runs, none is evicted.

Sets are not expanded: `Projector` finds which of the running models the best expansion of each set keeps.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from llamaswap_lib.core.eviction import Explanation
from llamaswap_lib.core.eviction.dsl import Both, Either, Expression, MatrixSet, Member, Reference

_State = tuple[int, int, int]
_Table = dict[int, _State]  # by what the state keeps of what is beside


class SetChoice(NamedTuple):
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

    def choose(self, target: str, running: tuple[str, ...]) -> SetChoice:
        """The set for `target` that costs least to unload, and which of `running` must be unloaded for it."""
        if target in running:
            return SetChoice("", (), 0)
        costs = {model: self._costs.get(model, 1) for model in running}
        best = self._projector.best(target, costs)
        if best is None:
            return SetChoice("", running, sum(costs.values()))
        evicted = tuple(model for model in running if model not in best.kept)
        return SetChoice(self._names[best.place], evicted, sum(costs[model] for model in evicted))


class Best(NamedTuple):
    """The set with the best expansion, by its place, and which of the running models that expansion keeps."""

    place: int
    kept: frozenset[str]


class Projector:
    """The sets, made once into nodes that know which models they reach, ready for decisions.

    Each model is a bit, so what a node reaches or a state keeps is an integer. A decision visits only nodes that reach
    a model that runs or is wanted, each of them once.

    1. What a node can do is a table of states; a state is (minus the worth of what it keeps, its rank, what it keeps),
       and the least is the best. Ranks follow the order of expansions, and mean something only within one table.
    2. States that keep the same of the models that something *beside* the node may keep too are equivalent for the
       choice there, so only the best of them is kept. So independent alternatives never multiply, and where
       alternatives overlap a table has at most 2^n states for n models that run.
    """

    def __init__(self, sets: Sequence[MatrixSet]) -> None:
        self._bits: dict[str, int] = {}
        self._nodes: list[_Node] = []  # one for each set, in their order: what a set uses stands before it
        self._needs: list[int] = []  # for each set the sets whose tables it takes, itself included, as bits
        for place, one in enumerate(sets):
            self._needs.append(1 << place)
            self._nodes.append(self._node(one.expression))
        beside = [0] * len(sets)
        for place in reversed(range(len(sets))):
            self._nodes[place].settle(beside[place], beside)

    def _node(self, expression: Expression) -> _Node:
        match expression:
            case Member(model):
                return _Leaf(self._bits.setdefault(model, 1 << len(self._bits)))
            case Reference(index):
                self._needs[-1] |= self._needs[index]
                return _Use(self._nodes[index].reach, index)
            case Either(parts):
                return _OneOf([self._node(part) for part in parts])
            case Both(parts):
                return _AllOf([self._node(part) for part in parts])

    def names(self, model: str) -> bool:
        """Whether any set has an expansion that holds the model."""
        return model in self._bits

    def best(self, target: str, costs: Mapping[str, int]) -> Best | None:
        """Of all expansions that hold `target`, the first of those that keep most of `costs`; None if there is none.

        `costs`: model that runs -> the positive cost of losing it.
        """
        wanted = self._bits.get(target)
        if wanted is None:
            return None
        worths = {self._bits[model]: cost for model, cost in costs.items() if model in self._bits}
        worths[wanted] = sum(costs.values()) + 1  # more than all others together
        walk = _Walk(worths)
        candidates = [place for place, node in enumerate(self._nodes) if node.reach & wanted]
        needs = functools.reduce(operator.or_, (self._needs[place] for place in candidates))
        for place, node in enumerate(self._nodes):
            if needs >> place & 1 and node.reach & walk.active:
                walk.tables[place] = _ranked(node.table(walk)[0])
        _, place, _, kept = min((w, place, r, k) for place in candidates for w, r, k in walk.tables[place].values())
        return Best(place, frozenset(model for model in costs if self._bits.get(model, 0) & kept))


class _Walk:
    """One decision: the worth of each model that runs or is wanted, by its bit, and the tables of the sets so far."""

    def __init__(self, worths: Mapping[int, int]) -> None:
        self.worths = worths
        self.active = sum(worths)
        self.tables: dict[int, _Table] = {}

    def worth(self, kept: int) -> int:
        return sum([worth for bit, worth in self.worths.items() if bit & kept])


class _Node(Protocol):
    """A part of an expression. `table` is called only for a node that reaches something active."""

    reach: int  # all that its expansions may keep

    def settle(self, beside: int, sets: list[int]) -> None:
        """Learn what may be kept beside it, and add to `sets` what may be kept beside the sets it uses."""

    def table(self, walk: _Walk) -> tuple[_Table, int]:
        """Its states, and a number above all their ranks."""


class _Leaf:
    """One model."""

    def __init__(self, bit: int) -> None:
        self.reach = bit
        self._key = 0

    def settle(self, beside: int, sets: list[int]) -> None:  # noqa: ARG002 - it uses no set
        self._key = beside & self.reach

    def table(self, walk: _Walk) -> tuple[_Table, int]:
        return {self._key: (-walk.worths[self.reach], 0, self.reach)}, 1


class _Use:
    """Another set. Its table is made once for all its users, for all that may be beside it in any of them."""

    def __init__(self, reach: int, index: int) -> None:
        self.reach = reach
        self._index = index

    def settle(self, beside: int, sets: list[int]) -> None:
        sets[self._index] |= beside & self.reach

    def table(self, walk: _Walk) -> tuple[_Table, int]:
        table = walk.tables[self._index]
        return table, len(table)


class _OneOf:
    """Alternatives. Those that reach nothing active keep nothing, so the first of them stands for all."""

    def __init__(self, parts: Sequence[_Node]) -> None:
        self.reach = functools.reduce(operator.or_, (part.reach for part in parts))
        self._parts = parts
        self._beside = 0

    def settle(self, beside: int, sets: list[int]) -> None:
        self._beside = beside & self.reach
        for part in self._parts:
            part.settle(beside, sets)

    def table(self, walk: _Walk) -> tuple[_Table, int]:
        active, beside = walk.active, self._beside
        best: _Table = {}
        ranks = 0
        for part in self._parts:
            if not part.reach & active:
                best.setdefault(0, (0, ranks, 0))
                ranks += 1
                continue
            table, width = part.table(walk)
            for worth, rank, kept in table.values():
                _improve(best, kept & beside, (worth, ranks + rank, kept))
            ranks += width
        return best, ranks


class _AllOf:
    """Parts that run together, joined from left to right."""

    def __init__(self, parts: Sequence[_Node]) -> None:
        self.reach = functools.reduce(operator.or_, (part.reach for part in parts))
        self._parts = parts
        self._later: list[int] = []  # for each part, what those to its right, or something beside, may keep too

    def settle(self, beside: int, sets: list[int]) -> None:
        laters = itertools.accumulate((part.reach for part in reversed(self._parts)), operator.or_, initial=beside)
        before = 0
        for part, later in zip(self._parts, reversed(list(laters)[:-1]), strict=True):
            part.settle(before | later, sets)
            before |= part.reach
            self._later.append(later & before)

    def table(self, walk: _Walk) -> tuple[_Table, int]:
        joined: _Table = {0: (0, 0, 0)}
        ranks = 1
        for part, later in zip(self._parts, self._later, strict=True):
            if part.reach & walk.active:
                table, width = part.table(walk)
                joined = _join(joined, table, width, later, walk)
                ranks *= width
        return joined, ranks


def _join(left: _Table, right: _Table, width: int, later: int, walk: _Walk) -> _Table:
    best: _Table = {}
    for left_worth, left_rank, left_kept in left.values():
        for worth, rank, kept in right.values():
            both = left_kept | kept
            gain = left_worth + worth + (walk.worth(left_kept & kept) if left_kept & kept else 0)
            _improve(best, both & later, (gain, left_rank * width + rank, both))
    return best


def _improve(table: _Table, key: int, state: _State) -> None:
    known = table.get(key)
    if known is None or state < known:
        table[key] = state


def _ranked(table: _Table) -> _Table:
    """The same with the smallest ranks in the same order: in nested sets, ranks would grow without bound."""
    ordered = sorted(table.items(), key=lambda item: item[1][1])
    return {key: (worth, rank, kept) for rank, (key, (worth, _, kept)) in enumerate(ordered)}
