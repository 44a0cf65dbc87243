"""Sets of characters that RE2 has names for, as the inside of a character class of Python's `re`.

Owns the named classes, Unicode properties and their complements. Pure; properties are computed when first asked for.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

LAST_NAMED = 0xE01EF  # above it only private characters and none
CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
PERL = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}

Ranges = list[tuple[int, int]]  # of characters, both ends in them, in order


def _ranges(codes: Iterable[int]) -> Ranges:
    """The ranges of codes that stand in order."""
    found: Ranges = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found


def _inverted(ranges: Ranges) -> Ranges:
    """Everything else."""
    starts = [0, *(end + 1 for _, end in ranges)]
    ends = [*(start - 1 for start, _ in ranges), sys.maxunicode]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]


def _written(ranges: Ranges) -> str:
    """The inside of a character class."""
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in ranges)


def complement(inner: str) -> str:
    """The inside of a character class for what an ASCII one leaves out."""
    matches = re.compile(f"[{inner}]").fullmatch
    return _written(_inverted(_ranges(code for code in range(128) if matches(chr(code)))))


@lru_cache(maxsize=32)
def property_of(name: str, negated: bool) -> str:
    """The characters of a Unicode category (`L`, `Lu`) or script (`Greek`, by names of characters), or KeyError."""
    script = name.upper().replace("_", " ") + " "

    def has(char: str) -> bool:
        if len(name) <= 2:
            return unicodedata.category(char).startswith(name)
        return unicodedata.name(char, "").startswith(script)

    last = sys.maxunicode if name.startswith("C") else LAST_NAMED
    ranges = [(0, sys.maxunicode)] if name == "Any" else _ranges(code for code in range(last + 1) if has(chr(code)))
    if not ranges:
        raise KeyError(name)
    return _written(_inverted(ranges) if negated else ranges)
