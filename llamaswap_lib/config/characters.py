"""Sets of characters as regular expressions name them: ranges, properties of Unicode, and those of other cases too.

Pure, any thread. What takes a while is computed when it is first needed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

CATEGORY = re.compile(r"L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfson]?")
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


class Characters(NamedTuple):
    """Those in the ranges, with the property and in the parts; with `any_case` their other cases; or all but these."""

    ranges: tuple[tuple[str, str], ...] = ()  # first and last
    property: str = ""  # a category (`L`, `Lu`), a script (`Greek`, by the names of its characters) or `Any`
    parts: tuple[Characters, ...] = ()
    any_case: bool = False
    negated: bool = False

    def has(self, char: str) -> bool:
        return any(map(self._names, cases_of(char) if self.any_case else char)) != self.negated

    def _names(self, char: str) -> bool:
        if any(low <= char <= high for low, high in self.ranges) or any(part.has(char) for part in self.parts):
            return True
        return bool(self.property) and _has_property(char, self.property)


def _has_property(char: str, name: str) -> bool:
    if name == "Any":
        return True
    if len(name) <= 2 and name not in SCRIPTS:
        return unicodedata.category(char).startswith(name)
    return unicodedata.name(char, "").startswith(SCRIPTS.get(name, (name.upper().replace("_", " ") + " ",)))


@lru_cache(maxsize=32)
def is_property(name: str) -> bool:
    """Whether any character has it."""
    if len(name) <= 2 and name not in SCRIPTS:
        return CATEGORY.fullmatch(name) is not None
    return any(_has_property(chr(code), name) for code in range(LAST_NAMED + 1))


def cases_of(char: str) -> str:
    """All that differ from the character in case only, itself included: K, k and the Kelvin sign go together."""
    return _cases().get(char, char)


@lru_cache(maxsize=1)
def _cases() -> dict[str, str]:
    """Each character that has other cases, with all of them: Unicode's simple case folding."""
    together: dict[str, str] = {}
    for char in map(chr, FOLDED):
        plain = _simply_folded(char)
        if plain != char:
            together[plain] = together.get(plain, plain) + char
    return {char: cases for cases in together.values() for char in cases}


def _simply_folded(char: str) -> str:
    """Python folds to several characters where there are such; then the simple folding is the lower case, if any."""
    return next((plain for plain in (char.casefold(), char.lower()) if len(plain) == 1), char)
