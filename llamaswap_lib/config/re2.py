"""Regular expressions as users write them for RE2 and Go, read into automata.

Owns the syntax and the messages about what is wrong with it. What Go accepts is accepted, and `\\C` of RE2; what only
other languages know (look-around, back references, possessive repeats) is refused, so that a pattern means the same
everywhere. `\\d`, `\\w`, `\\s`, `\\b` are ASCII, as there. Groups capture nothing, and whether a repeat is greedy makes
no difference: all that is asked is whether a pattern matches. Pure; one pass over the pattern, without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .automaton import Pattern
from .characters import CharacterReader, Malformed
from .charsets import ALL, Ranges, inverted
from .fragments import MAX_REPEAT, Assertion, Fragment, TooLarge, alternation, concatenation, leaf, repetition, times

MAX_DEPTH = 1000  # of groups in groups, as in Go
NEW_LINE: Ranges = ((10, 10),)
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


class BadPattern(NamedTuple):
    """Why a pattern cannot be used."""

    reason: str


def compiled(pattern: str) -> Pattern | BadPattern:
    try:
        return Pattern(pattern, _Reader(pattern).fragment())
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

    def fragment(self) -> Fragment:
        return alternation([*self.alternatives, concatenation(self.parts)])


class _Reader(CharacterReader):
    """One pass over the pattern."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
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
        return self.group.fragment()

    def add(self, what: Ranges | Assertion) -> None:
        self.group.parts.append(leaf(what))

    def add_character(self, char: str) -> None:
        self.add(self.cases(((ord(char), ord(char)),)))

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
        self.group.parts.append(closed.fragment())

    def alternative(self) -> None:
        self.at += 1
        self.group.alternatives.append(concatenation(self.group.parts))
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
        self.group.parts.append(repetition(part, least, most))

    def begin(self) -> None:
        self.at += 1
        self.add(Assertion.BEGIN_LINE if "m" in self.flags else Assertion.BEGIN_TEXT)

    def end(self) -> None:
        self.at += 1
        self.add(Assertion.END_LINE if "m" in self.flags else Assertion.END_TEXT)

    def any_character(self) -> None:
        self.at += 1
        self.add(ALL if "s" in self.flags else inverted(NEW_LINE))

    def bracket(self) -> None:
        self.add(self.bracketed())

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
            self.add(ALL)
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


def _counts(match: re.Match[str]) -> tuple[int, int | None]:
    """How often at least and at most, of a repeat in braces."""
    written = match["least"], match["most"] or ("" if match["comma"] else match["least"])
    if any(len(number) > len(str(MAX_REPEAT)) or int(number or 0) > MAX_REPEAT for number in written):
        raise Malformed(f"a repeat of more than {MAX_REPEAT} times: {match[0]}")
    least, most = int(written[0]), int(written[1]) if written[1] else None
    if most is not None and most < least:
        raise Malformed(f"a repeat whose most is less than its least: {match[0]}")
    return least, most
