"""The language of the matrix: parsed, linked, ordered, never expanded."""

from __future__ import annotations

import time

import pytest

from llamaswap_lib.core.eviction.dsl import (
    Both,
    DslError,
    Either,
    Expression,
    MatrixSet,
    Member,
    Reference,
    compile_sets,
)

A, B, C = Member("a"), Member("b"), Member("c")


def compiled(**sets: str) -> tuple[MatrixSet, ...]:
    return compile_sets(sets, lambda name: name if name in "abcdefgh" else None)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("a", A),
        (" ( ( a ) )\n", A),
        ("a & b | c", Either((Both((A, B)), C))),
        ("a | b & c", Either((A, Both((B, C))))),
        ("a & (b | c)", Both((A, Either((B, C))))),
        ("a&b&c", Both((A, B, C))),
        ("(a & b) & c", Both((Both((A, B)), C))),
        ("a\n|\tb", Either((A, B))),
    ],
)
def test_and_binds_tighter_than_or(text: str, expression: Expression) -> None:
    assert compiled(s=text) == (MatrixSet("s", expression),)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0), ("  ", 2), ("a &", 3), ("& a", 0), ("a b", 2), ("(a", 2), ("a)", 1), ("()", 1), ("a | | b", 4),
        ("a, b", 1), ("a & 'b'", 4), ("a & x", 4), ("a & +nope", 4), ("a + b", 2), ("(" * 200 + "a" + ")" * 200, 101),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused_at_its_place(text: str, position: int) -> None:
    with pytest.raises(DslError) as refusal:
        compiled(fine="a", s=text)
    assert refusal.value.set_name == "s"
    assert refusal.value.position == position
    assert refusal.value.message


def test_sets_stand_as_defined_but_what_one_uses_stands_before_it() -> None:
    sets = compiled(one="a | +three", two="b", three="+two & +four", four="c", five="+one")
    assert [one.name for one in sets] == ["two", "four", "three", "one", "five"]
    assert sets[2].expression == Both((Reference(0), Reference(1)))
    assert sets[3].expression == Either((A, Reference(2)))


@pytest.mark.parametrize(
    ("sets", "circle"),
    [
        ({"x": "+x"}, "x -> x"),
        ({"x": "a & +y", "y": "b | +z", "z": "(+x)"}, "x -> y -> z -> x"),
        ({"w": "+x", "x": "+y", "y": "+x"}, "x -> y -> x"),
    ],
)
def test_circles_are_refused_and_written_out(sets: dict[str, str], circle: str) -> None:
    with pytest.raises(DslError, match=circle):
        compiled(**sets)


@pytest.mark.slow
def test_a_chain_of_thousands_of_sets_is_no_trouble() -> None:
    sets = {"s0": "a", **{f"s{n}": f"+s{n - 1} | +s{n - 1}" for n in range(1, 3000)}}
    backwards = dict(reversed(sets.items()))
    assert [one.name for one in compiled(**backwards)] == list(sets)


def test_ten_groups_of_ten_alternatives_compile_in_a_millisecond() -> None:
    text = " & ".join("(" + "|".join(f"m{group}x{n}" for n in range(10)) + ")" for group in range(10))

    def seconds() -> float:
        start = time.process_time()
        compile_sets({"s": text}, lambda name: name)
        return time.process_time() - start

    assert min(seconds() for _ in range(20)) < 0.001
