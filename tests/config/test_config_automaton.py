"""A pattern is searched for in a time that grows with the text alone, and finds what Python's `re` finds."""

from __future__ import annotations

import random
import re
import threading
import tracemalloc
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaswap_lib.config.automaton import Pattern
from llamaswap_lib.config.re2 import BadPattern, compiled
from tests.batches import samples

DEFAULT = r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$"


def pattern_of(text: str) -> Pattern:
    found = compiled(text)
    assert isinstance(found, Pattern), found
    return found


class Counted(str):
    """A text that counts how many of its characters were looked at."""

    __slots__ = ("looks",)

    def __iter__(self) -> Iterator[str]:
        self.looks = 0
        for char in super().__iter__():
            self.looks += 1
            yield char

    def __getitem__(self, index: object) -> str:
        raise AssertionError("looked at a second time")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (DEFAULT, "a" * 60_000),
        (DEFAULT, "a." * 30_000),
        (DEFAULT, ".js" * 20_000 + "/"),
        ("^/(a+)+$", "/" + "a" * 30_000 + "!"),
        ("(a|a)*b", "a" * 30_000),
        ("(x+x+)+y", "x" * 30_000),
        ("(.*a){20}b", "a" * 30_000),
        ("(a*)*(b*)*c", "ab" * 15_000),
        ("(?:a?){1000}a{1000}b", "a" * 30_000),
        (r"(\b\w+\b.?)*!", "ab " * 10_000),
        ("((a{0,10}b){0,10}a){0,10}x", "aab" * 10_000),
    ],
)
def test_each_character_is_looked_at_once_where_a_search_that_tries_would_never_end(pattern: str, text: str) -> None:
    counted = Counted(text)
    assert not pattern_of(pattern).search(counted)
    assert counted.looks == len(text)


@pytest.mark.parametrize(
    "text",
    samples(
        ["(?:aaaa){1000}" * 500, "(?:a?){1000}" * 500, "|".join(["a{1000}"] * 500), "((a{30}){30}b)" * 500, "a" * 9000],
        5,
    ),
)
def test_a_short_text_that_asks_for_very_many_positions_is_refused_in_bounded_memory(text: str) -> None:
    tracemalloc.start()
    try:
        assert compiled(text) == BadPattern("the expression is too large")
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_each_of_thirty_thousand_characters_leads_to_a_new_state_in_bounded_memory() -> None:
    pattern = pattern_of("a[ab]{63}c")
    text = "".join(random.Random(1).choices("ab", k=30_000))
    tracemalloc.start()
    try:
        assert not pattern.search(text)
        assert pattern.search(f"{text}c") == (text[-64] == "a")
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_threads_share_a_pattern_whose_cache_is_emptied_again_and_again() -> None:
    pattern = pattern_of("a[ab]{63}$")
    wrong: list[str] = []

    def search(seed: int) -> None:
        text = "".join(random.Random(seed).choices("ab", k=6_000))
        ends = range(5_900, 6_000, 20)
        wrong.extend(text[:end] for end in ends if pattern.search(text[:end]) != (text[end - 64] == "a"))

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.parametrize("seed", range(5))
def test_letters_that_may_each_be_left_out_match_what_can_be_picked_from_them_in_order(seed: int) -> None:
    pick = random.Random(seed)
    letters = pick.choices("abc", k=400)
    pattern = pattern_of("^" + "".join(f"{letter}?" for letter in letters) + "$")
    for size in (0, 1, 100, 200, 230, 260, 399, 400):
        picked = "".join(letters[at] for at in sorted(pick.sample(range(400), size)))
        assert pattern.search(picked)
        other = "".join(pick.choices("abc", k=size))
        rest = iter(letters)
        assert pattern.search(other) == all(letter in rest for letter in other)


class Written(NamedTuple):
    """One expression, as RE2 and as Python write it."""

    ours: str
    pythons: str


def alike(text: str) -> Written:
    return Written(text, text)


LEAVES = st.sampled_from(
    [
        *map(
            alike, ["a", "a", "b", "b", "c", ".", "[ab]", "[^a]", "[a-c_]", r"\d", r"\w", r"[^\W1]", r"\n", r"\.", ""]
        ),
        *map(alike, ["^", r"\A", r"\b", "(?m:^)", "(?m:$)", "(?s:.)", "(?i:A)", "(?i:[^B])", "(a)", ""]),
        Written(r"\B", r"(?!\b)"),  # before 3.14 Python finds no \B in an empty text
        Written("$", r"\Z"),
        Written(r"\z", r"\Z"),
        Written(r"\Qa.\E", r"a\."),
        Written("[[:alpha:]]", "[A-Za-z]"),
        Written(r"\pL", "[^\\W\\d_]"),
    ]
)
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}", "*?", "+?", "??", "{1,2}?"])


def joined(parts: list[Written], mark: str, around: str = "{}") -> Written:
    return Written(*(around.format(mark.join(texts)) for texts in zip(*parts, strict=True)))


EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda parts: joined(parts, "")),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, "|", "(?:{})")),
        st.tuples(inner, REPEATS).map(lambda pair: Written(*(f"(?:{text}){pair[1]}" for text in pair[0]))),
    ),
    max_leaves=8,
)
TEXTS = st.lists(st.text("ab1_.\n", max_size=6), min_size=3, max_size=3)  # short: Python's search tries every way


def finds_what_python_finds(written: Written, texts: list[str]) -> None:
    ours, pythons = pattern_of(written.ours), re.compile(written.pythons, re.ASCII)
    assert [ours.search(text) for text in texts] == [bool(pythons.search(text)) for text in texts]


@given(EXPRESSIONS, TEXTS)
@pytest.mark.slow
def test_what_matches_is_what_matches_in_python(written: Written, texts: list[str]) -> None:
    finds_what_python_finds(written, texts)


@pytest.mark.slow
@settings(max_examples=2 * max(1_000, settings().max_examples), deadline=None)  # of `.ci/long` ten thousand
@given(EXPRESSIONS, TEXTS)
def test_what_matches_is_what_matches_in_python_thousands_of_times(written: Written, texts: list[str]) -> None:
    finds_what_python_finds(written, texts)
