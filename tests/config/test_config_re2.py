"""Regular expressions mean what RE2 means by them, or are refused."""

from __future__ import annotations

import re

import pytest

from llamaswap_lib.config.re2 import BadPattern, compiled


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        (r".*\.(js|json)$", ["/a.js", "x.json"], ["/a.js\n", "a.jsx"]),
        (r"a\z", ["a", "ba"], ["a\n"]),
        (r"(?m)^a$", ["b\na\nb"], ["ab"]),
        (r"^\pL+$", ["é", "Ωa"], ["1", "a1"]),
        (r"^\PL+$", ["1_"], ["a"]),
        (r"^\p{Greek}$", ["α"], ["a"]),
        (r"^[\p{Lu}\d]+$", ["A1"], ["a"]),
        (r"^\p{^L}$", ["1"], ["a"]),
        (r"^[[:alpha:]_]x$", ["ax", "_x"], ["1x", "éx"]),
        (r"^[[:^alpha:]]$", ["1"], ["a"]),
        (r"a(?i)b|c", ["aB", "C"], ["Ab"]),
        (r"(?i:a)b", ["Ab"], ["AB"]),
        (r"(?i)(a(?-i)b)c", ["AbC"], ["ABC"]),
        (r"(?s)a.b", ["a\nb"], ["ab"]),
        (r"\Qa.b\E+", ["a.bb"], ["axb"]),
        (r"\Qa.b", ["a.b"], ["axb"]),
        (r"^\d\w\s$", ["1a "], ["١a ", "1é "]),
        (r"^[^\D5]$", ["1"], ["5", "a"]),
        (r"\bfoo\B", ["foox"], ["foo"]),
        (r"\x{41}\x42\103\n\t\.\/\-", ["ABC\n\t./-"], ["abc"]),
        (r"(?P<n>a)(?<m>b)", ["ab"], ["ba"]),
        (r"^a{2}b{1,2}c{1,}$", ["aabc", "aabbccc"], ["abc"]),
        (r"^a{,2}$", ["a{,2}"], ["aa"]),
        (r"x{", ["x{"], ["x"]),
        (r"^[]a]$", ["]", "a"], ["b"]),
        (r"^[a&&c~~d||\[[-]$", ["&", "~", "|", "[", "-"], ["x", "b"]),
        (r"^[\w-]$", ["-", "a"], ["+"]),
        (r"^(?:a|b)*?$", ["abab", ""], ["c"]),
        (r"(|a)*", ["", "x"], []),
        (r"^\C$", ["a"], ["ab"]),
        ("^é+$", ["éé"], ["e"]),
    ],
)
def test_pattern_finds_what_it_means(pattern: str, hits: list[str], misses: list[str]) -> None:
    found = compiled(pattern)
    assert isinstance(found, re.Pattern)
    assert [text for text in hits if not found.search(text)] == []
    assert [text for text in misses if found.search(text)] == []


def test_ungreedy_flag_swaps_what_a_question_mark_does() -> None:
    lazy, greedy = compiled("(?U)a+"), compiled("(?U)a+?")
    assert isinstance(lazy, re.Pattern)
    assert isinstance(greedy, re.Pattern)
    assert [pattern.search("aaa")[0] for pattern in (lazy, greedy)] == ["a", "aaa"]  # type: ignore[index]


@pytest.mark.parametrize(
    "pattern",
    [
        "(", ")", "[a", "a\\", "(?", "(?)", "(?P<n>a", "[b-a]",
        "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?#c)", "(?P=n)", "(?P<1>a)", r"(a)\1", r"\8",
        "*a", "(*a)", "|*", "a**", "a++", "x*?+", "a{2}{3}", "a{1001}", "a{1,2000}", "^*?*",
        r"\Z", r"\k", r"\é", "[[:foo:]]", r"\p{Foo}", r"\pX", r"\p", r"[\p{Foo}]", r"\x{110000}", "(?P<n>a)(?P<n>b)",
    ],
)  # fmt: skip
def test_what_re2_does_not_know_is_refused_with_a_reason(pattern: str) -> None:
    found = compiled(pattern)
    assert isinstance(found, BadPattern)
    assert found.reason
