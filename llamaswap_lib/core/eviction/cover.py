"""The cheapest of some items that together are large enough in every dimension.

Pure. Exact for up to `EXACT` items that are in doubt: a bound on the cost tells of most that they are in no better set
than one that was found quickly, or in each. The others are tried one by one, as long as they may lead to a better set;
where that takes too long, all sets of one half meet those of the other half. There is one answer, also where several
sets cost the same; what is left of it is the answer again once some of its items are gone.

The sizes of an item are one whole number with a field for each dimension: one sum is that of all dimensions. A cost has
a bit for each item at its end: a sum of costs tells whose they are, and no two sets cost the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType

EXACT = 20
FEW = 8  # items that are tried one by one at once
STEPS = 1000  # of trying one by one, after which halves are quicker
ROUNDS, STEP = 6, 0.8  # in which the bound on the cost gets better, and how far each goes
ROUNDING = 1e-9  # of sums of shares
NOTHING: Mapping[int, float] = MappingProxyType({})

Sizes = Sequence[Sequence[int]]


class _TooLongError(Exception):
    """Trying one by one takes too many steps."""


def cheapest_cover(
    costs: Sequence[int], sizes: Sizes, wanted: Sequence[int], most: int | None = None
) -> list[int] | None:
    """Indexes of the items, in order. `sizes[i][d]`: what item i gives in dimension d, of which `wanted[d]` is wanted.

    Costs and wants are positive. None if all items together are not enough, or if every set that is costs more than
    `most`.
    """
    count = len(costs)
    unlike = [(cost << count) + (1 << i) for i, cost in enumerate(costs)]
    highest = sum(unlike) if most is None else (most + 1 << count) - 1
    items = [i for i, size in enumerate(sizes) if unlike[i] <= highest and any(size)]
    items.sort(key=unlike.__getitem__)
    best = _Cover(unlike, {i: sizes[i] for i in items}, wanted).cheapest(items, highest)
    return None if best is None else [i for i in range(count) if best >> i & 1]


class _Cover:
    """One question. No more of a size counts than is wanted. What a set gives has a bit above each field.

    A set is told by what it costs.
    """

    def __init__(self, costs: Sequence[int], sizes: Mapping[int, Sequence[int]], wanted: Sequence[int]) -> None:
        width = max(wanted).bit_length() + len(costs).bit_length() + 1
        self._costs, self._wants = costs, wanted
        self._shifts = [width * d for d in range(len(wanted))]
        self._field = (1 << width - 1) - 1
        self._ones = sum([1 << shift for shift in self._shifts])
        self._nothing = self._ones << width - 1  # what no item gives
        places = list(zip(wanted, self._shifts, strict=True))
        self._wanted = sum([want << shift for want, shift in places])
        self._sizes = {
            i: sum([min(one, want) << shift for one, (want, shift) in zip(size, places, strict=True)])
            for i, size in sizes.items()
        }

    def cheapest(self, items: list[int], most: int) -> int | None:
        """What the cheapest set costs, of `items`, the cheapest first; None if that is more than `most`."""
        if not self._is_enough(self._nothing + sum([self._sizes[i] for i in items])):
            return None
        if len(items) <= FEW:
            return self._one_by_one(items[::-1], most)
        shares = {i: self._shares(i) for i in items}
        good = self._good(items, shares)
        most = min(good, most)
        items = [i for i in items if self._costs[i] <= most]
        if len(items) <= FEW:
            return self._one_by_one(items[::-1], most)
        bound, losses = self._priced(items, shares, most)
        room = 1.0 + ROUNDING - bound
        sure = [i for i in items if losses[i] < -room]
        doubted = sorted([i for i in items if abs(losses[i]) <= room], key=lambda i: -abs(losses[i]))
        if room < 0 or len(doubted) > EXACT:
            return good if room >= 0 and good <= most else None
        try:
            return self._one_by_one(doubted, most, sure, losses, room)
        except _TooLongError:
            return self._by_halves(doubted, most, sure)

    def _is_enough(self, given: int) -> bool:
        return (given - self._wanted) & self._nothing == self._nothing

    def _shares(self, item: int) -> list[float]:
        """What it gives of what is wanted."""
        size, field = self._sizes[item], self._field
        return [(size >> shift & field) / want for want, shift in zip(self._wants, self._shifts, strict=True)]

    def _good(self, items: list[int], shares: dict[int, list[float]]) -> int:
        """The best values until it is enough, then without what can be spared, the dearest first."""
        worths = {i: self._costs[i] / sum(shares[i]) for i in items}
        given, taken = self._nothing, []
        for i in sorted(items, key=worths.__getitem__):
            size = self._sizes[i]
            lacking = self._nothing & ~(given - self._wanted)
            if lacking & self._nothing + size - self._ones:  # it gives something of what is lacking
                given += size
                taken.append(i)
        for i in sorted(taken, key=self._costs.__getitem__, reverse=True):
            if self._is_enough(given - self._sizes[i]):
                given -= self._sizes[i]
                taken.remove(i)
        return sum([self._costs[i] for i in taken])

    def _priced(self, items: list[int], shares: dict[int, list[float]], most: int) -> tuple[float, dict[int, float]]:
        """What a set costs at least, as a part of `most`, and how much more it costs with an item than it must.

        With a price for each dimension, a set costs at least what is wanted there is worth, and for each of its items
        what that costs more than it is worth (Lagrange; the prices by steps of Polyak). So a set with an item costs
        more by its loss than the bound; where the loss is less than nothing, a set without it does.
        """
        each = [(self._costs[i] / most, shares[i]) for i in items]
        prices = [1.0 / len(self._wants)] * len(self._wants)
        bound, losses = -1.0, [0.0] * len(items)
        for _ in range(ROUNDS):
            now = [part - sum(map(float.__mul__, prices, share)) for part, share in each]
            low = sum(prices) + sum([loss for loss in now if loss < 0])
            if low > bound:
                bound, losses = low, now
            lacks = [1.0] * len(prices)
            for (_, share), loss in zip(each, now, strict=True):
                if loss < 0:
                    lacks = list(map(float.__sub__, lacks, share))
            length = sum([lack * lack for lack in lacks])
            if low >= 1.0 or not length:
                break
            step = STEP * (1.0 - low) / length
            prices = [max(0.0, price + step * lack) for price, lack in zip(prices, lacks, strict=True)]
        return bound, dict(zip(items, losses, strict=True))

    def _one_by_one(
        self,
        items: list[int],
        most: int,
        sure: Sequence[int] = (),
        losses: Mapping[int, float] = NOTHING,
        room: float = inf,
    ) -> int | None:
        """With those that are `sure`, and each of `items` or without it. The losses of a set come to `room` at most."""
        costs, sizes, nothing, wanted = self._costs, self._sizes, self._nothing, self._wanted
        spent = sum([costs[i] for i in sure])
        begun = nothing + sum([sizes[i] for i in sure])
        last = begun + sum([sizes[i] for i in items])
        best, steps = most + 1, 0
        todo = [(0, spent, begun, last, 0.0)]  # the item, what is paid and given, what would be with all, what is lost
        while todo:
            place, cost, given, with_all, lost = todo.pop()
            if lost > room or cost >= best:
                continue
            if (given - wanted) & nothing == nothing:
                room -= (best - 1 - cost) / most
                best = cost
            elif (with_all - wanted) & nothing == nothing:
                steps += 1
                if steps > STEPS:
                    raise _TooLongError
                item = items[place]
                loss, size = losses.get(item, 0.0), sizes[item]
                without = place + 1, cost, given, with_all - size, lost - min(loss, 0.0)
                with_it = place + 1, cost + costs[item], given + size, with_all, lost + max(loss, 0.0)
                todo += (with_it, without) if loss >= 0 else (without, with_it)  # the likely one is next
        return best if best <= most else None

    def _by_halves(self, items: list[int], most: int, sure: Sequence[int]) -> int | None:
        """The same. The sets of one half are bits, by their cost."""
        half = len(items) // 2
        begun = sum([self._costs[i] for i in sure]), sum([self._sizes[i] for i in sure])
        left, right = self._sets(items[:half], begun), sorted(self._sets(items[half:], (0, 0)))
        tables = [_large_enough([given >> shift & self._field for _, given in right]) for shift in self._shifts]
        best = most + 1
        for cost, given in left:
            if cost >= best:
                continue
            fitting = -1
            for (sizes, masks), want, shift in zip(tables, self._wants, self._shifts, strict=True):
                fitting &= masks[bisect_left(sizes, want - (given >> shift & self._field))]
            if fitting:
                best = min(best, cost + right[(fitting & -fitting).bit_length() - 1][0])
        return best if best <= most else None

    def _sets(self, items: Sequence[int], begun: tuple[int, int]) -> list[tuple[int, int]]:
        """All sets of `items`: what each costs, and what it gives."""
        found = [begun]
        for item in items:
            more, size = self._costs[item], self._sizes[item]
            found += [(cost + more, given + size) for cost, given in found]
        return found


def _large_enough(given: Sequence[int]) -> tuple[list[int], list[int]]:
    """What each set gives, in order, and for each place there the sets from there on, as bits."""
    order = sorted(range(len(given)), key=given.__getitem__)
    masks, bits = [0], 0
    for i in reversed(order):
        bits |= 1 << i
        masks.append(bits)
    return [given[i] for i in order], masks[::-1]
