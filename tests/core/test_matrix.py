"""The matrix policy against the rules written out, and its speed where writing them out would never end."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from llamaswap_lib.core.eviction.dsl import Both, Expression, MatrixSet, Member, Reference, compile_sets
from llamaswap_lib.core.eviction.matrix import MatrixPolicy, SetChoice
from tests.batches import batches

MODELS = "abcdefgh"


def linked(texts: Mapping[str, str]) -> tuple[MatrixSet, ...]:
    return compile_sets(texts, lambda name: name)


def choose(target: str, running: Sequence[str], costs: Mapping[str, int] | None = None, **texts: str) -> SetChoice:
    return MatrixPolicy(linked(texts), costs or {}).choose(target, tuple(running))


# -- the rules, one by one --


def test_what_the_set_allows_beside_the_wanted_model_stays() -> None:
    assert choose("a", "bcd", s="a & (b | c)") == SetChoice("s", ("c", "d"), 2)


def test_a_set_allows_all_its_subsets() -> None:
    assert choose("a", "c", s="a & b & c") == SetChoice("s", (), 0)


def test_a_model_that_runs_evicts_nobody() -> None:
    assert choose("a", "abcd", s="a", t="b & c") == SetChoice("", (), 0)


def test_a_model_in_no_set_runs_alone() -> None:
    assert choose("x", "abc", {"b": 5}, s="a & b & c") == SetChoice("", ("a", "b", "c"), 7)


def test_a_model_in_no_set_goes_for_any_other() -> None:
    assert choose("a", "xb", s="a & b") == SetChoice("s", ("x",), 1)


def test_the_set_whose_evictions_cost_least_is_chosen() -> None:
    assert choose("a", "bc", {"c": 3}, s="a & b", t="a & c") == SetChoice("t", ("b",), 1)
    assert choose("a", "bcd", {"c": 3, "b": 2, "d": 2}, s="a & c", t="a & b & d").evicted == ("c",)


def test_equal_costs_go_to_the_set_defined_first() -> None:
    assert choose("a", "bc", z="a & b", y="a & c") == SetChoice("z", ("c",), 1)


def test_equal_costs_go_to_a_set_that_is_used_before_its_user() -> None:
    assert choose("a", "bc", user="a & c | +used", used="a & b") == SetChoice("used", ("c",), 1)


def test_within_a_set_equal_costs_go_to_the_alternative_on_the_left() -> None:
    assert choose("a", "bc", s="a & (c | b)").evicted == ("b",)
    assert choose("a", "bcde", s="a & (b & x | c) & (d | e)").evicted == ("c", "e")
    assert choose("a", "bcde", s="a & (d | e) & (c | b)").evicted == ("b", "e")


def test_equal_costs_go_to_the_first_alternative_also_where_it_is_an_and() -> None:
    assert choose("a", "bd", S="d", T="a & ((b & c) | d)") == SetChoice("T", ("d",), 1)


def test_the_leftmost_alternative_counts_most() -> None:
    """(b | c) & (c | b | d): b first on the left, whatever that means on the right."""
    assert choose("a", "bcd", s="a & (b | c | d) & (b | d | c)").evicted == ("c",)


def test_a_used_set_breaks_ties_in_its_own_order_wherever_it_is_used() -> None:
    policy = MatrixPolicy(linked({"pick": "b | c | d", "two": "a & +pick & +pick"}), {"e": 2})
    assert policy.choose("a", ("b", "c", "d", "e")) == SetChoice("two", ("d", "e"), 3)


# -- the rules, written out --


def expansions(expression: Expression, earlier: Sequence[Sequence[frozenset[str]]]) -> Sequence[frozenset[str]]:
    """All of them in their order."""
    if isinstance(expression, Member):
        return [frozenset((expression.model,))]
    if isinstance(expression, Reference):
        return earlier[expression.index]
    parts = [expansions(part, earlier) for part in expression.parts]
    if isinstance(expression, Both):
        return [frozenset().union(*choice) for choice in itertools.product(*parts)]
    return list(itertools.chain.from_iterable(parts))


def written_out(sets: Sequence[MatrixSet]) -> list[Sequence[frozenset[str]]]:
    found: list[Sequence[frozenset[str]]] = []
    for one in sets:
        found.append(expansions(one.expression, found))
    return found


def slow_choice(
    sets: Sequence[MatrixSet], written: Sequence[Sequence[frozenset[str]]], costs: Mapping[str, int],
    target: str, running: tuple[str, ...],
) -> SetChoice:  # fmt: skip
    if target in running:
        return SetChoice("", (), 0)

    def choices() -> Iterator[SetChoice]:
        for one, expanded in zip(sets, written, strict=True):
            for expansion in expanded:
                if target in expansion:
                    gone = tuple(model for model in running if model not in expansion)
                    yield SetChoice(one.name, gone, sum(costs.get(model, 1) for model in gone))

    alone = SetChoice("", running, sum(costs.get(model, 1) for model in running))
    return min(choices(), key=lambda choice: choice.cost, default=alone)


def random_text(chance: random.Random, depth: int, names: Sequence[str]) -> str:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(names)
    inner = [random_text(chance, depth - 1, names) for _ in range(chance.randint(1, 3))]
    return "(" + chance.choice((" & ", " | ")).join(inner) + ")"


def random_sets(chance: random.Random) -> tuple[MatrixSet, ...]:
    """Up to four, each of which may use those before it; few models, so that alternatives overlap."""
    models = MODELS[: chance.randint(3, 8)]
    texts: dict[str, str] = {}
    for name in chance.sample("stuvwxyz", chance.randint(1, 4)):
        names = [*models, *(f"+{used}" for used in texts)]
        texts[name.upper()] = random_text(chance, chance.randint(1, 3), names)
    return linked(texts)


@pytest.mark.parametrize("batch", batches(8))
def test_the_choice_is_that_of_all_expansions_written_out(batch: int) -> None:
    compared = 0
    for seed in range(batch, 1600, 8):
        chance = random.Random(seed)
        sets = random_sets(chance)
        written = written_out(sets)
        if sum(map(len, written)) > 3000:
            continue
        costs = {model: chance.randint(1, 3) for model in MODELS if chance.random() < 0.5}
        policy = MatrixPolicy(sets, costs)
        for _ in range(8):
            running = tuple(chance.sample(MODELS, chance.randint(0, 8)))
            target = chance.choice([*MODELS, "stranger"])
            expected = slow_choice(sets, written, costs, target, running)
            assert policy.choose(target, running) == expected, (seed, sets, costs, target, running)
            compared += 1
    assert compared > 1000


# -- questions that the configuration's checks ask --


def test_models_meet_where_some_set_allows_both() -> None:
    may_meet = MatrixPolicy(linked({"one": "a & (b | c)", "two": "+one & (d | e) | f"}), {}).may_meet
    assert may_meet("a", "b")
    assert may_meet("e", "c")
    assert not may_meet("b", "c")
    assert not may_meet("f", "a")
    assert not may_meet("a", "stranger")
    assert not may_meet("stranger", "a")


@pytest.mark.parametrize("seed", range(60))
def test_who_meets_and_who_is_named_agrees_with_all_expansions_written_out(seed: int) -> None:
    sets = random_sets(random.Random(seed))
    policy, expanded = MatrixPolicy(sets, {}), [set(one) for written in written_out(sets) for one in written]
    for model in [*MODELS, "stranger"]:
        assert policy.names(model) == any(model in expansion for expansion in expanded)
    for one, other in itertools.permutations(MODELS, 2):
        assert policy.may_meet(one, other) == any({one, other} <= expansion for expansion in expanded)


# -- shapes that must not blow up --


def grid(letter: str, groups: int = 10, size: int = 10) -> str:
    return " & ".join("(" + "|".join(f"{letter}{group}x{n}" for n in range(size)) + ")" for group in range(groups))


def seconds(policy: MatrixPolicy, target: str, running: Sequence[str]) -> float:
    """The fastest of some decisions: how fast it can be, not how busy the machine is."""
    best = float("inf")
    for _ in range(20):
        begun = time.process_time()
        policy.choose(target, tuple(running))
        best = min(best, time.process_time() - begun)
    return best


def test_twelve_that_run_of_two_hundred_take_well_below_a_millisecond() -> None:
    policy = MatrixPolicy(linked({"one": grid("a"), "two": grid("b")}), {})
    together = [f"a{group}x{group}" for group in range(10)] + ["b1x1", "b2x2"]
    assert policy.choose("a3x4", tuple(together)) == SetChoice("one", ("a3x3", "b1x1", "b2x2"), 3)
    assert seconds(policy, "a3x4", together) < 0.000_5
    crowded = [f"a0x{n}" for n in range(6)] + [f"a1x{n}" for n in range(6)]
    assert seconds(policy, "a3x4", crowded) < 0.000_5


TWELVE = [f"m{n}" for n in range(12)]
ANY = "(" + "|".join([*TWELVE, "wanted"]) + ")"
SHAPES: dict[str, tuple[dict[str, str], list[str]]] = {
    "grid": ({"s": f"{grid('m', 3, 12)} & wanted"}, [f"m{group}x{n}" for group in range(3) for n in range(4)]),
    "overlap": ({"s": f"{ANY} & {ANY} & {ANY}"}, TWELVE),
    "ring": ({"s": "wanted & " + " & ".join(f"(m{n} & m{(n + 1) % 12} | m{(n + 5) % 12})" for n in range(12))}, TWELVE),
    "doubling": ({"s0": "wanted | b", **{f"s{n}": f"+s{n - 1} | +s{n - 1}" for n in range(1, 400)}}, ["b"]),
    "squaring": ({"s0": "wanted | b", **{f"s{n}": f"+s{n - 1} & +s{n - 1}" for n in range(1, 400)}}, ["b"]),
    "nesting": ({"s": "(x & " * 90 + "(wanted | b)" + ")" * 90}, ["b", "x"]),
    "references": ({"one": "|".join(TWELVE), "s": "+one & (wanted | +one) & +one"}, TWELVE),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_blows_up(shape: str) -> None:
    texts, running = SHAPES[shape]
    policy = MatrixPolicy(linked(texts), {})
    assert policy.choose("wanted", tuple(running)).set_name
    assert seconds(policy, "wanted", running) < 0.05


def test_a_chain_of_thousands_of_sets_is_decided() -> None:
    policy = MatrixPolicy(linked({"s0": "a & b", **{f"s{n}": f"+s{n - 1} & +s{n - 1}" for n in range(1, 3000)}}), {})
    assert policy.choose("a", ("b", "c")) == SetChoice("s0", ("c",), 1)
