"""The cheapest set that is large enough: compared with all sets there are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from llamaswap_lib.core.eviction.cover import EXACT, FEW, cheapest_cover
from tests.batches import batches


def by_hand(costs: Sequence[int], sizes: Sequence[Sequence[int]], wanted: Sequence[int]) -> list[int] | None:
    """By trying them all; of sets that cost the same the one that lacks the last item in which they differ."""
    best = None
    for chosen in itertools.product((0, 1), repeat=len(costs)):
        given = [sum(take * size[d] for take, size in zip(chosen, sizes, strict=True)) for d in range(len(wanted))]
        if all(map(int.__ge__, given, wanted)):
            key = sum(take * cost for take, cost in zip(chosen, costs, strict=True)), chosen[::-1]
            best = key if best is None else min(best, key)
    return None if best is None else [i for i, take in enumerate(reversed(best[1])) if take]


Question = tuple[list[int], list[list[int]], list[int]]


def question(rng: random.Random, count: int) -> Question:
    dimensions, most = rng.randint(1, 3), rng.choice([3, 10, 10**10])
    sizes = [[rng.choice([0, rng.randint(1, most)]) for _ in range(dimensions)] for _ in range(count)]
    costs = [rng.randint(1, rng.choice([2, 10, 10**12])) for _ in range(count)]
    return costs, sizes, [rng.randint(1, most * max(1, count // 2)) for _ in range(dimensions)]


@pytest.mark.parametrize("seed", range(20))
def test_no_set_is_cheaper(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        asked = question(rng, rng.randint(0, 8))
        assert cheapest_cover(*asked) == by_hand(*asked)


@pytest.mark.parametrize("seed", range(10))
def test_no_set_is_cheaper_where_not_all_sets_are_tried(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(4):
        asked = question(rng, rng.randint(FEW + 1, 12))
        assert cheapest_cover(*asked) == by_hand(*asked)


def by_halves(costs: Sequence[int], sizes: Sequence[Sequence[int]], wanted: Sequence[int]) -> int | None:
    """What the cheapest set costs: all sets of the first half with those of the other, the cheapest first."""
    halves = [range(len(costs) // 2), range(len(costs) // 2, len(costs))]
    left, right = ([*sums(part, costs, sizes, len(wanted))] for part in halves)
    right.sort()
    best = None
    for cost, given in left:
        for more, rest in right:
            if best is not None and cost + more >= best:
                break
            if all(own + other >= want for own, other, want in zip(given, rest, wanted, strict=True)):
                best = cost + more
    return best


def sums(
    items: Sequence[int], costs: Sequence[int], sizes: Sequence[Sequence[int]], dimensions: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Of each set of the items: its cost, and what it gives."""
    for chosen in itertools.product((0, 1), repeat=len(items)):
        taken = [i for i, take in zip(items, chosen, strict=True) if take]
        yield sum(costs[i] for i in taken), tuple(sum(sizes[i][d] for i in taken) for d in range(dimensions))


@pytest.mark.parametrize("seed", batches(8))
def test_of_as_many_as_can_be_tried_no_set_is_cheaper(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(2):
        costs, sizes, wanted = question(rng, rng.randint(13, EXACT - 2))
        chosen = cheapest_cover(costs, sizes, wanted)
        assert by_halves(costs, sizes, wanted) == (None if chosen is None else sum(costs[i] for i in chosen))


@pytest.mark.parametrize("seed", batches(8))
def test_of_items_that_are_much_alike_no_set_is_cheaper(seed: int) -> None:
    """A bound on the cost tells of none of them, and too many sets are nearly as cheap to try them one by one."""
    rng = random.Random(seed)
    count, dimensions = rng.randint(14, EXACT - 2), rng.randint(1, 3)
    costs = [rng.randint(9900, 10100) for _ in range(count)]
    sizes = [[rng.randint(50, 53) for _ in range(dimensions)] for _ in range(count)]
    wanted = [52 * count // 2] * dimensions
    chosen = cheapest_cover(costs, sizes, wanted)
    assert chosen is not None
    assert by_halves(costs, sizes, wanted) == sum(costs[i] for i in chosen)


@pytest.mark.parametrize("seed", range(10))
def test_a_set_that_costs_too_much_is_none(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(20):
        asked = question(rng, rng.randint(0, 12))
        chosen = cheapest_cover(*asked)
        if chosen is not None:
            cost = sum(asked[0][i] for i in chosen)
            assert cheapest_cover(*asked, cost - 1) is None
            assert cheapest_cover(*asked, cost + rng.randint(0, cost)) == chosen


def test_what_is_left_of_the_answer_is_the_answer_once_some_of_it_is_gone() -> None:
    rng = random.Random(1)
    for _ in range(100):
        sizes = [[rng.randint(1, 9)] for _ in range(10)]
        costs = [rng.randint(1, 5) for _ in range(10)]
        wanted = rng.randint(10, 40)
        chosen = cheapest_cover(costs, sizes, [wanted])
        if chosen is None or len(chosen) == 1:
            continue
        gone = chosen[0]
        rest = [i for i in range(10) if i != gone]
        left = cheapest_cover([costs[i] for i in rest], [sizes[i] for i in rest], [wanted - sizes[gone][0]])
        assert left is not None
        assert [rest[i] for i in left] == chosen[1:]


def test_all_that_there_is_may_not_be_enough() -> None:
    assert cheapest_cover([1, 1], [[2, 0], [2, 0]], [3, 1]) is None


def test_of_more_items_than_can_be_tried_a_good_set_is_taken_of_which_nothing_can_be_spared() -> None:
    rng = random.Random(2)
    count = 3 * EXACT
    sizes = [[rng.randint(50, 60)] for _ in range(count)]
    costs = [rng.randint(90, 110) for _ in range(count)]
    chosen = cheapest_cover(costs, sizes, [1500])
    assert chosen is not None
    given = sum(sizes[i][0] for i in chosen)
    assert given >= 1500
    assert all(given - sizes[i][0] < 1500 for i in chosen)
