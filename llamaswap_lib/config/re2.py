"""Regular expressions as users write them for RE2 and Go, read into automata.

Owns the syntax and the messages about what is wrong with it. What Go accepts is accepted, and `\\C` of RE2; what only
other languages know (look-around, back references, possessive repeats) is refused, so that a pattern means the same
everywhere. `\\d`, `\\w`, `\\s`, `\\b` are ASCII, as there. Groups capture nothing, and whether a repeat is greedy makes
no difference: all that is asked is whether a pattern matches. Pure; one pass over the pattern, without recursion.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .automaton import Assertion, Characters, Construction, Fragment, Pattern, TooLarge, cases_of, is_property, times

MAX_DEPTH = 1000  # of groups in groups, as in Go
MAX_REPEAT = 1000  # as in RE2, where the counts of repeats inside each other are multiplied
ANY = Characters(negated=True)
NEW_LINE = Characters((("\n", "\n"),))
ASSERTIONS = {
    "A": Assertion.BEGIN_TEXT,
    "z": Assertion.END_TEXT,
    "b": Assertion.BOUNDARY,
    "B": Assertion.NO_BOUNDARY,
}
SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
GROUP = re.compile(r"\?(?:P?<(?P<name>[^>]*)>|(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<end>[:)]))")
NAME = re.compile(r"[A-Za-z0-9_]+")
REPEAT = re.compile(r"(?:[*+?]|\{(?P<least>0|[1-9][0-9]*)(?P<comma>,)?(?P<most>(?<=,)(?:0|[1-9][0-9]*)|)\})")
SIMPLE = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
CODE = re.compile(r"x(?:\{(?P<long>[0-9A-Fa-f]+)\}|(?P<short>[0-9A-Fa-f]{2}))|(?P<octal>0[0-7]{0,2}|[1-7][0-7]{1,2})")
PROPERTY = re.compile(r"(?P<sign>[pP])(?:\{(?P<not>\^?)(?P<long>\w+)\}|(?P<short>[A-Z]))")
POSIX = re.compile(r"\[:(?P<not>\^?)(?P<name>\w+):\]")
# Each class as pairs of characters, first and last.
CLASSES = {
    "alnum": "09AZaz", "alpha": "AZaz", "ascii": "\0\x7f", "blank": "\t\t  ", "cntrl": "\0\x1f\x7f\x7f", "digit": "09",
    "graph": "!~", "lower": "az", "print": " ~", "punct": "!/:@[`{~", "space": "\t\r  ", "upper": "AZ",
    "word": "09AZaz__", "xdigit": "09AFaf",
}  # fmt: skip
PERL = {"d": CLASSES["digit"], "w": CLASSES["word"], "s": "\t\n\f\r  "}


class BadPattern(NamedTuple):
    """Why a pattern cannot be used."""

    reason: str


class Malformed(Exception):
    """The pattern is not one of RE2; says why."""


def compiled(pattern: str) -> Pattern | BadPattern:
    try:
        reader = _Reader(pattern)
        return Pattern(pattern, reader.made, reader.fragment())
    except Malformed as error:
        return BadPattern(str(error))
    except TooLarge:
        return BadPattern("the expression is too large")


@dataclass(slots=True)
class _Group:
    """One that is open, or the whole pattern."""

    flags: frozenset[str]  # those in force before it
    alternatives: list[Fragment] = field(default_factory=list)  # those that have ended
    parts: list[Fragment] = field(default_factory=list)  # of the one that has not

    def fragment(self, made: Construction) -> Fragment:
        return made.alternation([*self.alternatives, made.concatenation(self.parts)])


class _Reader:
    """One pass over the pattern: reads what stands at `at`, and moves `at` behind it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.made = Construction()
        self.flags: frozenset[str] = frozenset()  # those in force, of "imsU"
        self.group = _Group(self.flags)
        self.outer: list[_Group] = []
        self.repeat_start = self.repeat_end = -1  # of the last repeat

    def fragment(self) -> Fragment:
        while self.at < len(self.pattern):
            step = self.steps.get(self.pattern[self.at])
            if step is not None:
                step(self)
            elif REPEAT.match(self.pattern, self.at):
                self.repeat()
            else:
                self.at += 1
                self.add_character(self.pattern[self.at - 1])
        if self.outer:
            raise Malformed("missing )")
        return self.group.fragment(self.made)

    def add(self, what: Characters | Assertion) -> None:
        self.group.parts.append(self.made.leaf(what))

    def add_character(self, char: str) -> None:
        self.add(self.range(char, char))

    # -- groups --

    def open_group(self) -> None:
        self.at += 1
        if not self.pattern.startswith("?", self.at):
            self.enter()
            return
        match = GROUP.match(self.pattern, self.at)
        if match is None:
            raise Malformed(f"{self.pattern[self.at - 1 : self.at + 3]} is not known to RE2")
        self.at = match.end()
        if match["name"] is not None:
            if not NAME.fullmatch(match["name"]):
                raise Malformed(f"bad name of a group: {match['name']}")
            self.enter()
            return
        if match["end"] == ":":
            self.enter()
        on, _, off = match["flags"].partition("-")
        self.flags = (self.flags | set(on)) - set(off)

    def enter(self) -> None:
        if len(self.outer) == MAX_DEPTH:
            raise Malformed(f"more than {MAX_DEPTH} groups inside each other")
        self.outer.append(self.group)
        self.group = _Group(self.flags)

    def close_group(self) -> None:
        if not self.outer:
            raise Malformed("unexpected )")
        self.at += 1
        closed, self.group = self.group, self.outer.pop()
        self.flags = closed.flags
        self.group.parts.append(closed.fragment(self.made))

    def alternative(self) -> None:
        self.at += 1
        self.group.alternatives.append(self.made.concatenation(self.group.parts))
        self.group.parts = []

    # -- what stands by itself --

    def repeat(self) -> None:
        match = REPEAT.match(self.pattern, self.at)
        assert match is not None
        if not self.group.parts:
            raise Malformed(f"nothing to repeat before {match[0]}")
        if self.repeat_end == self.at:
            raise Malformed(f"a repeat of a repeat: {self.pattern[self.repeat_start : match.end()]}")
        least, most = SIGNS.get(match[0]) or _counts(match)
        self.repeat_start, self.at = self.at, match.end()
        self.at += self.pattern.startswith("?", self.at)  # not greedy, which is all the same here
        self.repeat_end = self.at
        part = self.group.parts.pop()
        if part.repeats * times(least, most) > MAX_REPEAT:
            raise Malformed(f"a repeat of more than {MAX_REPEAT} times, with those inside it: {match[0]}")
        self.group.parts.append(self.made.repetition(part, least, most))

    def begin(self) -> None:
        self.at += 1
        self.add(Assertion.BEGIN_LINE if "m" in self.flags else Assertion.BEGIN_TEXT)

    def end(self) -> None:
        self.at += 1
        self.add(Assertion.END_LINE if "m" in self.flags else Assertion.END_TEXT)

    def any_character(self) -> None:
        self.at += 1
        self.add(ANY if "s" in self.flags else NEW_LINE._replace(negated=True))

    def bracket(self) -> None:
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        parts: list[Characters] = []
        while not parts or not self.pattern.startswith("]", self.at):
            if self.at >= len(self.pattern):
                raise Malformed("missing ]")
            parts.append(self.bracket_part())
        self.at += 1
        self.add(Characters(parts=tuple(parts), negated=negated))

    def escape(self) -> None:
        letter = self.pattern[self.at + 1 : self.at + 2]
        known = self.escaped_class()
        if known is not None:
            self.add(known)
        elif letter in ASSERTIONS:
            self.at += 2
            self.add(ASSERTIONS[letter])
        elif letter == "Q":
            end = self.pattern.find("\\E", self.at)
            end = len(self.pattern) if end < 0 else end
            for char in self.pattern[self.at + 2 : end]:
                self.add_character(char)
            self.at = end + 2
        elif letter == "C":
            self.at += 2
            self.add(ANY)
        else:
            self.add_character(self.escaped_character())

    steps: Mapping[str, Callable[[_Reader], None]] = {
        "(": open_group,
        ")": close_group,
        "|": alternative,
        "^": begin,
        "$": end,
        ".": any_character,
        "\\": escape,
        "[": bracket,
    }

    # -- characters --

    def range(self, low: str, high: str) -> Characters:
        if "i" not in self.flags:
            return Characters(((low, high),))
        cases = cases_of(low)  # also of a range: so the table of cases is made now, not by the first search
        return Characters(((low, high),), any_case=low != high or len(cases) > 1)

    def class_of(self, pairs: str, *, negated: bool) -> Characters:
        ranges = tuple(zip(pairs[::2], pairs[1::2], strict=True))
        return Characters(ranges, any_case="i" in self.flags, negated=negated)

    def escaped_class(self) -> Characters | None:
        """`\\d`, `\\pL` and the like, or None where something else is escaped."""
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter in ("p", "P"):
            return self.property()
        if letter.lower() not in PERL:
            return None
        self.at += 2
        return self.class_of(PERL[letter.lower()], negated=letter.isupper())

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

    def property(self) -> Characters:
        match = PROPERTY.match(self.pattern, self.at + 1)
        if match is None:
            raise Malformed(f"{self.pattern[self.at : self.at + 3]} is not known to RE2")
        self.at = match.end()
        name = match["long"] or match["short"]
        if not is_property(name):
            raise Malformed(f"\\p{{{name}}} is not known to RE2")
        negated = (match["sign"] == "P") != bool(match["not"])
        return Characters(property=name, any_case="i" in self.flags, negated=negated)

    def bracket_part(self) -> Characters:
        posix = POSIX.match(self.pattern, self.at)
        if posix is not None:
            if posix["name"] not in CLASSES:
                raise Malformed(f"{posix[0]} is not known to RE2")
            self.at = posix.end()
            return self.class_of(CLASSES[posix["name"]], negated=bool(posix["not"]))
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
        return self.range(low, high)

    def bracket_character(self) -> str:
        if self.pattern.startswith("\\", self.at):
            return self.escaped_character()
        self.at += 1
        return self.pattern[self.at - 1]


def _counts(match: re.Match[str]) -> tuple[int, int | None]:
    """How often at least and at most, of a repeat in braces."""
    written = match["least"], match["most"] or ("" if match["comma"] else match["least"])
    if any(len(number) > len(str(MAX_REPEAT)) or int(number or 0) > MAX_REPEAT for number in written):
        raise Malformed(f"a repeat of more than {MAX_REPEAT} times: {match[0]}")
    least, most = int(written[0]), int(written[1]) if written[1] else None
    if most is not None and most < least:
        raise Malformed(f"a repeat whose most is less than its least: {match[0]}")
    return least, most
