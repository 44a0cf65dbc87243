"""What stands for one character in a regular expression of RE2: a character, an escape, a class in brackets.

Owns the reading of these, and the place up to which the pattern is read. Pure. What is wrong raises Malformed.
"""

from __future__ import annotations

import re
import sys

from .charsets import CLASSES, PERL, Ranges, folded, inverted, property_of, union

SIMPLE = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
CODE = re.compile(r"x(?:\{(?P<long>[0-9A-Fa-f]+)\}|(?P<short>[0-9A-Fa-f]{2}))|(?P<octal>0[0-7]{0,2}|[1-7][0-7]{1,2})")
PROPERTY = re.compile(r"(?P<sign>[pP])(?:\{(?P<not>\^?)(?P<long>\w+)\}|(?P<short>[A-Z]))")
POSIX = re.compile(r"\[:(?P<not>\^?)(?P<name>\w+):\]")


class Malformed(Exception):
    """The pattern is not one of RE2; says why."""


class CharacterReader:
    """Reads what stands at `at`, and moves `at` behind it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags: frozenset[str] = frozenset()  # those in force, of "imsU"

    def cases(self, ranges: Ranges) -> Ranges:
        """With the other cases of these characters where case makes no difference."""
        return folded(ranges) if "i" in self.flags else ranges

    def escaped_class(self) -> Ranges | None:
        """`\\d`, `\\pL` and the like, or None where something else is escaped."""
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter in ("p", "P"):
            return self.property()
        if letter.lower() not in PERL:
            return None
        self.at += 2
        found = self.cases(PERL[letter.lower()])
        return inverted(found) if letter.isupper() else found

    def escaped_character(self) -> str:
        self.at += 1
        letter = self.pattern[self.at : self.at + 1]
        code = CODE.match(self.pattern, self.at)
        if code is not None:
            self.at = code.end()
            number = int(code["octal"], 8) if code["octal"] else int(code["long"] or code["short"], 16)
            if number > sys.maxunicode:
                raise Malformed(f"no such character: \\{code[0]}")
            return chr(number)
        if letter in SIMPLE:
            self.at += 1
            return SIMPLE[letter]
        if not letter or letter.isalnum() or ord(letter) > 127:
            raise Malformed(f"\\{letter} is not known to RE2" if letter else "a backslash at the end")
        self.at += 1
        return letter

    def property(self) -> Ranges:
        match = PROPERTY.match(self.pattern, self.at + 1)
        if match is None:
            raise Malformed(f"{self.pattern[self.at : self.at + 3]} is not known to RE2")
        self.at = match.end()
        name = match["long"] or match["short"]
        try:
            found = self.cases(property_of(name))
        except KeyError:
            raise Malformed(f"\\p{{{name}}} is not known to RE2") from None
        return inverted(found) if (match["sign"] == "P") != bool(match["not"]) else found

    def bracketed(self) -> Ranges:
        """`[...]`, from its bracket on."""
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        found: list[tuple[int, int]] = []
        first = True
        while first or not self.pattern.startswith("]", self.at):
            if self.at >= len(self.pattern):
                raise Malformed("missing ]")
            found += self.bracket_part()
            first = False
        self.at += 1
        ranges = union(found)
        return inverted(ranges) if negated else ranges

    def bracket_part(self) -> Ranges:
        posix = POSIX.match(self.pattern, self.at)
        if posix is not None:
            if posix["name"] not in CLASSES:
                raise Malformed(f"{posix[0]} is not known to RE2")
            self.at = posix.end()
            inner = self.cases(CLASSES[posix["name"]])
            return inverted(inner) if posix["not"] else inner
        if self.pattern.startswith("\\", self.at):
            known = self.escaped_class()
            if known is not None:
                return known
        start = self.at
        low = high = self.bracket_character()
        if self.pattern.startswith("-", self.at) and self.pattern[self.at + 1 : self.at + 2] not in ("", "]"):
            self.at += 1
            high = self.bracket_character()
            if high < low:
                raise Malformed(f"a range that ends before it begins: {self.pattern[start : self.at]}")
        return self.cases(((ord(low), ord(high)),))

    def bracket_character(self) -> str:
        if self.pattern.startswith("\\", self.at):
            return self.escaped_character()
        self.at += 1
        return self.pattern[self.at - 1]
