"""Regular expressions mean what RE2 means by them, or are refused."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from llamaswap_lib.config.automaton import Pattern
from llamaswap_lib.config.re2 import BadPattern, compiled
from tests.batches import samples


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    samples(
        [
            (r".*\.(js|json)$", ["/a.js", "x.json"], ["/a.js\n", "a.jsx"]),
            (r"a\z", ["a", "ba"], ["a\n"]),
            (r"(?m)^a$", ["b\na\nb"], ["ab"]),
            (r"^\pL+$", ["é", "Ωa"], ["1", "a1"]),
            (r"^\PL+$", ["1_"], ["a"]),
            (r"^\p{Greek}$", ["α"], ["a"]),
            (r"^\p{Yi}\p{Canadian_Aboriginal}\p{Phags_Pa}\p{Egyptian_Hieroglyphs}$", ["ꀀᐁꡀ\U00013000"], ["aaaa"]),
            (r"^\p{Han}+$", ["中文々", "\u9fa5\u2f00\uf900", "\U00020000\U0002f800"], ["a", "あ", "、"]),
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
            ("", ["", "x"], []),
            ("()|x", ["", "y"], []),
            ("a||^$", ["a", ""], []),
            ("^(?:|a)+b$", ["b", "aab"], ["ac"]),
            ("^(a*)*b", ["b", "aab"], ["", "cb"]),
            ("^(?:a*|b*)*$", ["", "abba"], ["c"]),
            ("(?:a?){1000}b", ["b", "aab"], ["a"]),
            ("^((a{10}){10}){10}$", ["a" * 1000], ["a" * 999, "a" * 1001]),
            ("^a{0}b{0,}$", ["", "bb"], ["a"]),
            ("a{01}", ["a{01}"], ["a"]),
            ("^*a", ["ba"], ["b"]),
            ("a(?i)*$", ["", "aa"], []),
            ("^a*(?i)*$", ["aaa"], ["b"]),
            (r"^ab\Q\E*$", ["a", "abb"], ["abab"]),
            ("(?)a", ["a"], ["b"]),
            ("(?P<1>a)(?P<n>b)(?P<n>c)", ["abc"], ["ab"]),
            ("a^b|b$c", [], ["ab", "bc", "a\nb"]),
            (r"\Aa|b\z", ["ax", "xb"], ["xax"]),
            (r"(?m)a$\n^b", ["a\nb"], ["ab"]),
            (r"(^|/)x", ["x", "a/x"], ["ax"]),
            (r"\b(\B|\b)x\b", ["x", "-x-"], ["xx", "éx_"]),
            ("^(?i)straße$", ["STRAẞE", "Straße"], ["strasse"]),
            ("^(?i)[k-s]+$", ["K\u212aſS"], ["t"]),
            ("^(?i)[^k]$", ["x"], ["k", "K", "\u212a"]),
            (r"^(?i)\w$", ["ſ", "\u212a"], ["é"]),
            (r"^(?i)\W$", ["é"], ["ſ", "s"]),
            (r"^(?i)\p{Lu}$", ["a", "Σ", "ς"], ["1"]),
            (r"^(?i)[[:^lower:]]$", ["1"], ["a", "A"]),
            (r"^[^\x00-\x{10FFFF}]$", [], ["", "a"]),
            (r"^(?i:σ)(?-i:σ)$", ["ςσ", "Σσ"], ["σς"]),
        ],
        4,
    ),
)
def test_pattern_finds_what_it_means(pattern: str, hits: list[str], misses: list[str]) -> None:
    found = compiled(pattern)
    assert isinstance(found, Pattern)
    assert [text for text in hits if not found.search(text)] == []
    assert [text for text in misses if found.search(text)] == []


@pytest.mark.parametrize("pattern", ["a+b", "a+?b", "(?U)a+b", "(?U)a+?b", "(?U:a{1,9}?)b", "a{1,9}?b", "a??ab"])
def test_greedy_or_not_makes_no_difference_to_whether_a_pattern_matches(pattern: str) -> None:
    found = compiled(pattern)
    assert isinstance(found, Pattern)
    assert found.search("xaaab")
    assert not found.search("xaaa")


@pytest.mark.parametrize(
    "pattern",
    samples([
        "(", ")", "[a", "a\\", "(?", "(?i-)", "(?P<n>a", "(?P<>a)", "[b-a]", r"[a-\d]", "[]", "[^]",
        "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?#c)", "(?P=n)", "(?P<a b>a)", r"(a)\1", r"\8",
        "*a", "(*a)", "|*", "a**", "a++", "x*?+", "a{2}{3}", "a{1001}", "a{1,2000}", "^*?*",
        r"\Z", r"\k", r"\é", "[[:foo:]]", r"\p{Foo}", r"\pX", r"\p", r"[\p{Foo}]", r"\x{110000}", "x{2,1}",
        "(a{100}){100}", "((a{10}){11}){10}", "(a{2,500}b*){3}", "(a{20,}){51,}", "a{99999999999999999999}",
    ], 4),
)  # fmt: skip
def test_what_re2_does_not_know_is_refused_with_a_reason(pattern: str) -> None:
    found = compiled(pattern)
    assert isinstance(found, BadPattern)
    assert found.reason


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(b", "missing )"),
        ("a**", "a repeat of a repeat: **"),
        ("*", "nothing to repeat before *"),
        ("a{3,2}", "a repeat whose most is less than its least: {3,2}"),
        ("(a{100}){11}", "a repeat of more than 1000 times, with those inside it: {11}"),
        ("(a{1000}|b?){1000,}", "a repeat of more than 1000 times, with those inside it: {1000,}"),
        ("(?=x)", "(?=x is not known to RE2"),
        ("[z-a]", "a range that ends before it begins: z-a"),
        (r"\pX", r"\p{X} is not known to RE2"),
        ("a.{1000}" * 60, "the expression is too large"),
        ("a?b?" * 3000, "the expression is too large"),
        ("(" * 1001 + ")" * 1001, "more than 1000 groups inside each other"),
    ],
)  # fmt: skip
def test_reason_says_what_is_wrong(pattern: str, reason: str) -> None:
    assert compiled(pattern) == BadPattern(reason)


def test_a_script_that_there_is_not_is_found_out_without_a_look_at_all_characters() -> None:
    assert isinstance(compiled(r"\p{Greek}"), Pattern)  # from here on it is known which scripts there are
    looks = []

    def profile(_frame: object, event: str, called: object) -> None:
        if event == "c_call" and called is unicodedata.name:
            looks.append(called)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        found = [compiled(f"\\p{{{name}}}") for name in ("Foo", "Latin_Foo", "Old_North_Foo")]
    finally:
        sys.setprofile(before)
    assert [isinstance(one, BadPattern) for one in found] == [True] * 3
    assert not looks


def test_patterns_are_equal_by_their_text() -> None:
    assert compiled("a|b") == compiled("a|b")
    assert compiled("a|b") != compiled("b|a")
    assert len({compiled("a"), compiled("a")}) == 1
    assert repr(compiled("a+")) == "Pattern('a+')"
