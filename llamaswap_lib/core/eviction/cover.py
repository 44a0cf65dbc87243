"""The cheapest of some items that together are large enough in every dimension.

Pure. Exact for up to `EXACT` items that are in doubt: a bound on the cost tells of most that they are in no better set
than one that was found quickly, or in each. Of the others, a few are tried one by one, as long as they may lead to a
better set; of more, all sets of one half meet those of the other half. There is one answer, also where several sets
cost the same; what is left of it is the answer again once some of its items are gone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

EXACT = 20
FEW = 8  # items that are tried one by one
ROUNDS, STEP = 6, 0.8  # in which the bound on the cost gets better, and how far each goes
ROUNDING = 1e-9  # of sums of shares

Sizes = Sequence[Sequence[int]]
_Sets = tuple[list[int], list[list[int]]]  # the cost of each set of some items, and for each dimension what it gives


def cheapest_cover(costs: Sequence[int], sizes: Sizes, wanted: Sequence[int]) -> list[int] | None:
    """Indexes of the items, in order. `sizes[i][d]`: what item i gives in dimension d, of which `wanted[d]` is wanted.

    Costs and wants are positive. None if all items together are not enough.
    """
    if any(sum(size[d] for size in sizes) < want for d, want in enumerate(wanted)):
        return None
    unlike = [(cost << len(costs)) + (1 << i) for i, cost in enumerate(costs)]  # no two sets cost the same
    rest = sorted([i for i, size in enumerate(sizes) if any(size)], key=unlike.__getitem__)
    if len(rest) <= FEW:
        return sorted(_best_of_few(rest, unlike, sizes, wanted, sum(unlike)))
    good = _good_cover(unlike, sizes, wanted)
    most = sum(unlike[i] for i in good)
    rest = rest[: bisect_right(rest, most, key=unlike.__getitem__)]
    sure, rest = _decided(rest, unlike, sizes, wanted, most) if len(rest) > FEW else ([], rest)
    if len(rest) > EXACT:
        return sorted(good)
    left = {d: want - sum(sizes[i][d] for i in sure) for d, want in enumerate(wanted)}
    open_ = [d for d, want in left.items() if want > 0]
    spent = sum(unlike[i] for i in sure)
    best = _best_of_few if len(rest) <= FEW else _best_of_halves
    chosen = best(rest, unlike, [[size[d] for d in open_] for size in sizes], [left[d] for d in open_], most - spent)
    return sorted(sure + chosen)


def _good_cover(costs: Sequence[int], sizes: Sizes, wanted: Sequence[int]) -> list[int]:
    """The best values until it is enough, then without what can be spared, the dearest first."""
    worths = [sum([min(size, want) / want for size, want in zip(item, wanted, strict=True)]) for item in sizes]
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


def _decided(
    items: list[int], costs: Sequence[int], sizes: Sizes, wanted: Sequence[int], most: int
) -> tuple[list[int], list[int]]:
    """Of `items`: those in each set that costs `most` at the most, and those in some of them.

    With a price for each dimension, a set costs at least what is wanted there is worth, and for each of its items what
    that costs more than it is worth (Lagrange; the prices by steps of Polyak). So an item with which this is more than
    `most` is in none, and one without which it is more is in all. Of sizes no more counts than is wanted.
    """
    shares = [[min(1.0, size / want) for size, want in zip(sizes[i], wanted, strict=True)] for i in items]
    prices = [1.0 / len(wanted)] * len(wanted)
    bound, losses = -1.0, [0.0] * len(items)
    for _ in range(ROUNDS):
        now = [costs[i] / most - sum(map(float.__mul__, prices, share)) for i, share in zip(items, shares, strict=True)]
        taken = [share for share, loss in zip(shares, now, strict=True) if loss < 0]
        low = sum(prices) + sum(loss for loss in now if loss < 0)
        if low > bound:
            bound, losses = low, now
        lacks = [1.0 - sum(share[d] for share in taken) for d in range(len(wanted))]
        length = sum(lack * lack for lack in lacks)
        if low >= 1.0 or not length:
            break
        prices = [max(0.0, p + STEP * (1.0 - low) / length * lack) for p, lack in zip(prices, lacks, strict=True)]
    room = 1.0 + ROUNDING - bound
    sure = [i for i, loss in zip(items, losses, strict=True) if loss < -room]
    return sure, [i for i, loss in zip(items, losses, strict=True) if abs(loss) <= room]


def _best_of_few(items: list[int], costs: Sequence[int], sizes: Sizes, wanted: Sequence[int], most: int) -> list[int]:
    """Of `items`, the cheapest first; some that cost `most` are enough. Tried with each one, then without."""
    left = [list(wanted)]  # what is wanted yet if all items from here on are taken; no more than 0 if that is enough
    for item in reversed(items):
        left.append(list(map(int.__sub__, left[-1], sizes[item])))
    left.reverse()
    best, chosen = most + 1, list[int]()
    todo: list[tuple[int, int, list[int], list[int]]] = [(0, 0, [0] * len(wanted), [])]
    while todo:
        place, cost, given, taken = todo.pop()
        if all(map(int.__ge__, given, wanted)):
            best, chosen = cost, taken
        elif all(map(int.__le__, left[place], given)):
            item = items[place]
            if cost + costs[item] < best:
                todo.append((place + 1, cost, given, taken))
                more = list(map(int.__add__, given, sizes[item]))
                todo.append((place + 1, cost + costs[item], more, [*taken, item]))
    return chosen


def _best_of_halves(
    items: list[int], costs: Sequence[int], sizes: Sizes, wanted: Sequence[int], most: int
) -> list[int]:
    """Of `items`, the cheapest first; some that cost `most` are enough. The sets of one half are bits by their cost."""
    half = len(items) // 2
    (left_costs, left), (right_costs, right) = (_sets(part, costs, sizes) for part in (items[:half], items[half:]))
    order = sorted((i for i, cost in enumerate(right_costs) if cost <= most), key=right_costs.__getitem__)
    tables = [_large_enough([given[i] for i in order]) for given in right]
    best, chosen = most + 1, 0
    for i, cost in enumerate(left_costs):
        if cost >= best:
            continue
        fitting = -1
        for (given, masks), want, own in zip(tables, wanted, left, strict=True):
            fitting &= masks[bisect_left(given, want - own[i])]
        if fitting:
            first = order[(fitting & -fitting).bit_length() - 1]
            if cost + right_costs[first] < best:
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
