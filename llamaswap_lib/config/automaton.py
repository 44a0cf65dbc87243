"""Whether a regular expression matches anywhere in a text, in a time that grows with the length of the text alone.

Owns Glushkov's construction (each character of the expression is a position, and what is kept is which may follow
which; a set of positions is an integer with one bit for each), the sets of characters that positions stand for, the
search and its cache. Any thread, several at once: the cache is shared without a lock. What two threads work out at the
same time is the same; a lost update costs time only. Guarantees: (1) each character of the text is looked at once,
whatever the expression is: the automaton is in all the positions at once that a backtracking search would try one
after the other; (2) a step costs one look-up where it was taken before, and otherwise less than a millisecond, unless
hundreds of assertions stand side by side; (3) the cache of steps holds CACHE_BYTES or so, and is emptied when it is
full.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

MAX_POSITIONS = 4000
CACHE_BYTES = 1 << 20
STEP_BYTES = 400  # about what Python takes to remember one

# What stands on either side of a place in the text. What the assertions of an expression do not tell apart is OTHER.
EDGE, NEW_LINE, WORD, OTHER = range(4)

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
LAST_OF_SCRIPTS = 0x1FFFF  # above it only more characters of Han, and some of no script
FOLDED = range(0x41, 0x1E944)  # no other character has another case


class TooLarge(Exception):
    """The expression has more than MAX_POSITIONS."""


class Assertion(Enum):
    """What has to be so between two characters. In the automaton it is a position that takes no character."""

    BEGIN_TEXT = r"\A"
    END_TEXT = r"\z"
    BEGIN_LINE = "(?m)^"
    END_LINE = "(?m)$"
    BOUNDARY = r"\b"
    NO_BOUNDARY = r"\B"

    def holds(self, before: int, after: int) -> bool:
        if self in (Assertion.BOUNDARY, Assertion.NO_BOUNDARY):
            return ((before == WORD) != (after == WORD)) == (self is Assertion.BOUNDARY)
        beside = before if self in (Assertion.BEGIN_TEXT, Assertion.BEGIN_LINE) else after
        is_of_lines = self in (Assertion.BEGIN_LINE, Assertion.END_LINE)
        return beside == EDGE or (is_of_lines and beside == NEW_LINE)


# -- characters --


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


def is_property(name: str) -> bool:
    """Whether any character has it."""
    if len(name) <= 2 and name not in SCRIPTS:
        return CATEGORY.fullmatch(name) is not None
    return name in SCRIPTS or name == "Any" or name.upper().replace("_", " ") in _beginnings()


@lru_cache(maxsize=1)
def _beginnings() -> frozenset[str]:
    """The words before the last one of each character's name, one, two or three of them: scripts are among these."""
    words = (unicodedata.name(chr(code), "").split(" ", 3)[:-1] for code in range(LAST_OF_SCRIPTS + 1))
    return frozenset(" ".join(some[:count]) for some in words for count in range(1, len(some) + 1))


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


# -- construction --


class Fragment(NamedTuple):
    """What a part of an expression matches; its positions and links are those from a certain one on."""

    start: int
    first_link: int
    nullable: bool = True  # it matches the empty text too
    first: int = 0  # the positions that it may begin with
    last: int = 0  # and end with
    repeats: int = 1  # the largest product of counts of repeats inside each other


def times(least: int, most: int | None) -> int:
    """What a repeat counts as; one without an end as its least."""
    return max(least if most is None else most, 1)


class Construction:
    """An automaton that is made from left to right. Whatever would be beyond MAX_POSITIONS is left out."""

    def __init__(self) -> None:
        self.is_too_large = False
        self.leaves: list[Characters | Assertion] = []  # what each position stands for
        self.links: list[tuple[int, int]] = []  # positions, and those which may come behind each of them

    def empty(self) -> Fragment:
        return Fragment(len(self.leaves), len(self.links))

    def leaf(self, what: Characters | Assertion) -> Fragment:
        if not self._has_room(1):
            return self.empty()
        position = 1 << len(self.leaves)
        made = self.empty()._replace(nullable=False, first=position, last=position)
        self.leaves.append(what)
        return made

    def concatenation(self, parts: Sequence[Fragment]) -> Fragment:
        """One after the other: all that was made since the first of them."""
        first = last = 0
        nullable = True
        for part in parts:
            self._link(last, part.first)
            first |= part.first if nullable else 0
            last = part.last | (last if part.nullable else 0)
            nullable = nullable and part.nullable
        return self._whole(parts, nullable, first, last)

    def alternation(self, parts: Sequence[Fragment]) -> Fragment:
        """Any of them."""
        first = last = 0
        for part in parts:
            first |= part.first
            last |= part.last
        return self._whole(parts, any(part.nullable for part in parts), first, last)

    def repetition(self, part: Fragment, least: int, most: int | None) -> Fragment:
        """From `least` to `most` times, None without an end; `part` is what was made last."""
        leaves, links = self.leaves[part.start :], self.links[part.first_link :]
        if most == 0:
            del self.leaves[part.start :], self.links[part.first_link :]
            return self.empty()
        repeats = part.repeats * times(least, most)
        nullable = least == 0 or part.nullable
        if part.nullable:  # as many times or fewer of what is not empty come to the same
            least = 0
        copies = max(least, 1) if most is None else most
        if not self._has_room(len(leaves) * (copies - 1)):
            return part
        begins, ends = part.first, part.last
        last = ends if least <= 1 else 0
        for number in range(2, copies + 1):
            self.leaves += leaves
            offset = len(leaves) * (number - 1)
            self.links += [(before << offset, after << offset) for before, after in links]
            begins, previous, ends = part.first << offset, ends, part.last << offset
            self._link(previous, begins)
            last |= ends if number >= least else 0
        if most is None:
            self._link(ends, begins)
        return part._replace(nullable=nullable, last=last, repeats=repeats)

    def _has_room(self, positions: int) -> bool:
        self.is_too_large = self.is_too_large or len(self.leaves) + positions > MAX_POSITIONS
        return not self.is_too_large

    def _link(self, before: int, after: int) -> None:
        """Each of `after` may follow each of `before`."""
        if before and after:
            self.links.append((before, after))

    def _whole(self, parts: Sequence[Fragment], nullable: bool, first: int, last: int) -> Fragment:
        start, first_link = parts[0][:2] if parts else self.empty()[:2]
        repeats = max((part.repeats for part in parts), default=1)
        return Fragment(start, first_link, nullable, first, last, repeats)


# -- search --


class Pattern:
    """A regular expression that is ready to be searched for. Equal to another of the same text."""

    def __init__(self, text: str, made: Construction, fragment: Fragment) -> None:
        """`fragment`: all of what was made of `text`. Raises TooLarge."""
        self.text = text
        end = made.leaf(Characters())  # no character leads on from it
        if made.is_too_large:
            raise TooLarge
        self._end = end.first
        self._first = made.concatenation([fragment, end]).first
        self._links: dict[int, int] = {}  # positions -> those behind each of which they may come
        for before, after in made.links:
            self._links[after] = self._links.get(after, 0) | before
        self._sets: dict[Characters, int] = {}  # the characters that positions stand for -> those positions
        self._assertions: dict[Assertion, int] = {}
        for position, what in enumerate(made.leaves):
            if isinstance(what, Assertion):
                self._assertions[what] = self._assertions.get(what, 0) | 1 << position
            else:
                self._sets[what] = self._sets.get(what, 0) | 1 << position
        self._asserting = sum(self._assertions.values())
        self._tells_words = bool(self._assertions.keys() & {Assertion.BOUNDARY, Assertion.NO_BOUNDARY})
        self._tells_lines = bool(self._assertions.keys() & {Assertion.BEGIN_LINE, Assertion.END_LINE})
        self._most_steps = CACHE_BYTES // (STEP_BYTES + len(made.leaves) // 4)
        self._steps = 0  # that are remembered
        self._states: dict[tuple[int, int], _State] = {}
        self._taking: dict[str, int] = {}  # character -> the positions that stand for it
        self._start = _State(self, self._first, EDGE)

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in `text`."""
        state = self._start
        for char in text:
            following = state[char]
            if following is None:
                return True
            state = following
        return bool(self._passed(state, EDGE) & self._end)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    # -- one step, worked out --

    def step(self, state: _State, char: str) -> _State | None:
        """Where `char` leads from `state`, None where there is a match before it; remembered there."""
        if self._steps >= self._most_steps:
            self._forget()
        self._steps += 1
        kind = self._kind(char)
        candidates = self._passed(state, kind)
        target = None
        if not candidates & self._end:
            key = (self._followers(candidates & self._takers(char)) | self._first, kind)
            target = self._states.get(key)
            if target is None:
                target = self._states[key] = _State(self, *key)
        state[char] = target
        return target

    def _forget(self) -> None:
        """Empties the cache. A state that a search is in has lost what it remembered, no more."""
        states = [self._start, *self._states.values()]
        self._states = {}
        self._taking = {}
        self._steps = 0
        for state in states:
            state.clear()

    def _followers(self, positions: int) -> int:
        """The positions that may follow any of these."""
        found = 0
        for after, before in self._links.items():
            if positions & before:
                found |= after
        return found

    def _passed(self, state: _State, after: int) -> int:
        """The state's candidates, and those reached through assertions that hold between `state.before` and `after`."""
        found = state.candidates
        if not found & self._asserting:
            return found
        holding = 0
        for assertion, positions in self._assertions.items():
            holding |= positions if assertion.holds(state.before, after) else 0
        reached = found & holding
        while reached:
            fresh = self._followers(reached) & ~found
            found |= fresh
            reached = fresh & holding
        return found

    def _takers(self, char: str) -> int:
        """The positions that stand for this character."""
        takers = self._taking.get(char)
        if takers is None:
            takers = sum(positions for characters, positions in self._sets.items() if characters.has(char))
            self._taking[char] = takers
        return takers

    def _kind(self, char: str) -> int:
        if self._tells_lines and char == "\n":
            return NEW_LINE
        return WORD if self._tells_words and (char == "_" or (char.isascii() and char.isalnum())) else OTHER


class _State(dict[str, "_State | None"]):
    """What may come next after some text, and where each character that was met there led."""

    __slots__ = ("before", "candidates", "pattern")

    def __init__(self, pattern: Pattern, candidates: int, before: int) -> None:
        super().__init__()
        self.pattern = pattern
        self.candidates = candidates  # the positions that the next character may be
        self.before = before  # the kind of the character just read

    def __missing__(self, char: str) -> _State | None:
        return self.pattern.step(self, char)
