"""Sets of characters, as ranges of their codes: those that RE2 has names for, and what can be done with them.

Owns the named classes, Unicode's categories and scripts, complements and case folding. Pure, any thread. Tables that
take a while are made when first asked for.
"""

from __future__ import annotations

import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

Ranges = tuple[tuple[int, int], ...]  # both ends in them, in order, with a gap between one and the next

ALL: Ranges = ((0, sys.maxunicode),)
# How the names of a script's characters begin, where that is not the name of the script.
SCRIPTS = {
    "Canadian_Aboriginal": ("CANADIAN SYLLABICS ",),
    "Egyptian_Hieroglyphs": ("EGYPTIAN HIEROGLYPH ",),
    "Han": (
        *("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL ", "KANGXI RADICAL "),
        *("HANGZHOU NUMERAL ", "IDEOGRAPHIC ITERATION MARK", "IDEOGRAPHIC NUMBER ZERO"),
    ),
    "Phags_Pa": ("PHAGS-PA ",),
    "Yi": ("YI SYLLABLE ", "YI RADICAL "),
}
LAST_NAMED = 0xE01EF  # above it only private characters and none
FOLDED = range(0x41, 0x1E944)  # no other character has another case


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same characters, as `Ranges`; `ranges` may come in any order and overlap."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def inverted(ranges: Ranges) -> Ranges:
    """Everything else."""
    lows = [0, *(high + 1 for _, high in ranges)]
    highs = [*(low - 1 for low, _ in ranges), sys.maxunicode]
    return tuple((low, high) for low, high in zip(lows, highs, strict=True) if low <= high)


def contains(ranges: Ranges, code: int) -> bool:
    at = bisect_right(ranges, (code, sys.maxunicode))
    return at > 0 and code <= ranges[at - 1][1]


def folded(ranges: Ranges) -> Ranges:
    """With every character those that differ from it in case only: K, k and the Kelvin sign go together."""
    cases = _cases()
    if sum(high - low + 1 for low, high in ranges) < len(cases):
        codes = [code for low, high in ranges for code in range(low, high + 1) if code in cases]
    else:
        codes = [code for code in cases if contains(ranges, code)]
    return union([*ranges, *((other, other) for code in codes for other in cases[code])])


@lru_cache(maxsize=1)
def _cases() -> dict[int, tuple[int, ...]]:
    """Each character that has other cases, with all of them, itself included: Unicode's simple case folding."""
    together: dict[str, list[int]] = {}
    for code in FOLDED:
        char = chr(code)
        plain = _simply_folded(char)
        if plain != char:
            together.setdefault(plain, [ord(plain)]).append(code)
    return {code: tuple(codes) for codes in together.values() for code in codes}


def _simply_folded(char: str) -> str:
    """Python folds to several characters where there are such; then the simple folding is the lower case, if any."""
    for plain in (char.casefold(), char.lower()):
        if len(plain) == 1:
            return plain
    return char


@lru_cache(maxsize=32)
def property_of(name: str) -> Ranges:
    """The characters of a Unicode category (`L`, `Lu`) or script (`Greek`, by names of characters), or KeyError."""
    if name == "Any":
        return ALL
    script = SCRIPTS.get(name, (name.upper().replace("_", " ") + " ",))

    def has(char: str) -> bool:
        if len(name) <= 2 and name not in SCRIPTS:
            return unicodedata.category(char).startswith(name)
        return unicodedata.name(char, "").startswith(script)

    last = sys.maxunicode if name.startswith("C") else LAST_NAMED
    ranges = union((code, code) for code in range(last + 1) if has(chr(code)))
    if not ranges:
        raise KeyError(name)
    return ranges


def _written(text: str) -> Ranges:
    """Of pairs of characters, first and last."""
    return union((ord(text[at]), ord(text[at + 1])) for at in range(0, len(text), 2))


CLASSES = {
    "alnum": _written("09AZaz"),
    "alpha": _written("AZaz"),
    "ascii": _written("\0\x7f"),
    "blank": _written("\t\t  "),
    "cntrl": _written("\0\x1f\x7f\x7f"),
    "digit": _written("09"),
    "graph": _written("!~"),
    "lower": _written("az"),
    "print": _written(" ~"),
    "punct": _written("!/:@[`{~"),
    "space": _written("\t\r  "),
    "upper": _written("AZ"),
    "word": _written("09AZaz__"),
    "xdigit": _written("09AFaf"),
}
PERL = {"d": CLASSES["digit"], "w": CLASSES["word"], "s": _written("\t\n\f\r  ")}
