"""The cheapest of some items that together are large enough in every dimension.

Pure. Exact for up to `EXACT` items: all sets of one half of them meet those of the other half. There is one answer,
also where several sets cost the same; what is left of it is the answer again once some of its items are gone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

EXACT = 20

Sizes = Sequence[Sequence[int]]
_Sets = tuple[list[int], list[list[int]]]  # the cost of each set of some items, and for each dimension what it gives


def cheapest_cover(costs: Sequence[int], sizes: Sizes, wanted: Sequence[int]) -> list[int] | None:
    """Indexes of the items, in order. `sizes[i][d]`: what item i gives in dimension d, of which `wanted[d]` is wanted.

    Costs and wants are positive. None if all items together are not enough.
    """
    if any(sum(size[d] for size in sizes) < want for d, want in enumerate(wanted)):
        return None
    unlike = [(cost << len(costs)) + (1 << i) for i, cost in enumerate(costs)]  # no two sets cost the same
    good = _good_cover(unlike, sizes, wanted)
    most = sum(unlike[i] for i in good)
    rest = sorted((i for i, size in enumerate(sizes) if unlike[i] <= most and any(size)), key=unlike.__getitem__)
    return sorted(good if len(rest) > EXACT else _best_cover(rest, unlike, sizes, wanted))


def _good_cover(costs: Sequence[int], sizes: Sizes, wanted: Sequence[int]) -> list[int]:
    """The best values until it is enough, then without what can be spared, the dearest first."""
    worths = [sum(min(size, want) / want for size, want in zip(item, wanted, strict=True)) for item in sizes]
    lack, taken = list(wanted), []
    for i in sorted((i for i, worth in enumerate(worths) if worth), key=lambda i: costs[i] / worths[i]):
        if any(more > 0 and size for more, size in zip(lack, sizes[i], strict=True)):
            lack = list(map(int.__sub__, lack, sizes[i]))
            taken.append(i)
    for i in sorted(taken, key=costs.__getitem__, reverse=True):
        without = list(map(int.__add__, lack, sizes[i]))
        if max(without) <= 0:
            lack = without
            taken.remove(i)
    return taken


def _best_cover(items: list[int], costs: Sequence[int], sizes: Sizes, wanted: Sequence[int]) -> list[int]:
    """Of `items`, the cheapest first; they are enough. The sets of one half are bits in the order of their cost."""
    half = len(items) // 2
    (left_costs, left), (right_costs, right) = (_sets(part, costs, sizes) for part in (items[:half], items[half:]))
    order = sorted(range(len(right_costs)), key=right_costs.__getitem__)
    tables = [_large_enough([given[i] for i in order]) for given in right]
    best, chosen = -1, 0
    for i, cost in enumerate(left_costs):
        if 0 <= best <= cost:
            continue
        fitting = -1
        for (given, masks), want, own in zip(tables, wanted, left, strict=True):
            fitting &= masks[bisect_left(given, want - own[i])]
        if fitting:
            first = order[(fitting & -fitting).bit_length() - 1]
            if best < 0 or cost + right_costs[first] < best:
                best, chosen = cost + right_costs[first], i | first << half
    return [item for bit, item in enumerate(items) if chosen >> bit & 1]


def _sets(items: Sequence[int], costs: Sequence[int], sizes: Sizes) -> _Sets:
    """All sets of `items`: number i has those whose bits are set in i."""
    all_costs, given = [0], [[0] for _ in sizes[0]]
    for item in items:
        all_costs += [cost + costs[item] for cost in all_costs]
        for sums, size in zip(given, sizes[item], strict=True):
            sums += [one + size for one in sums]
    return all_costs, given


def _large_enough(given: Sequence[int]) -> tuple[list[int], list[int]]:
    """What each set gives, in order, and for each place there the sets from there on, as bits."""
    order = sorted(range(len(given)), key=given.__getitem__)
    masks, bits = [0], 0
    for i in reversed(order):
        bits |= 1 << i
        masks.append(bits)
    return [given[i] for i in order], masks[::-1]
