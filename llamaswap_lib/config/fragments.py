"""Parts of a regular expression as parts of an automaton, and the ways of putting them together.

Owns Glushkov's construction: each character of the expression is a position, and what is kept is which position may
follow which. There are no moves without a character. A set of positions is an integer with one bit for each, so that a
step of the automaton takes a few operations however many positions are in the set.

Pure. A fragment has MAX_POSITIONS at most: what would be larger raises TooLarge before it is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from .charsets import Ranges

MAX_POSITIONS = 50_000
MAX_REPEAT = 1000  # as in RE2, where the counts of repeats inside each other are multiplied
MAX_PAIRS = 16  # a link of more pairs of positions is kept as two sets, unless copies of it make that dear
MAX_SHARED_PAIRS = 20_000


class TooLarge(Exception):
    """The expression needs more of an automaton than one may have."""


class Assertion(Enum):
    """What has to be so between two characters. In the automaton it is a position that takes no character."""

    BEGIN_TEXT = r"\A"
    END_TEXT = r"\z"
    BEGIN_LINE = "(?m)^"
    END_LINE = "(?m)$"
    BOUNDARY = r"\b"
    NO_BOUNDARY = r"\B"


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a part of an expression matches."""

    leaves: tuple[Ranges | Assertion, ...] = ()  # what each position stands for
    nullable: bool = True  # it matches the empty text too
    first: int = 0  # the positions that it may begin with
    last: int = 0  # and end with
    # What may follow what: distance -> the positions that the one so far behind may follow (copies of a repeat share
    # them), and pairs of sets, each position of the second after each of the first.
    distances: Mapping[int, int] = field(default_factory=dict)
    links: tuple[tuple[int, int], ...] = ()
    repeats: int = 1  # the largest product of counts of repeats inside each other


EMPTY = Fragment()


def leaf(what: Ranges | Assertion) -> Fragment:
    return Fragment((what,), nullable=False, first=1, last=1)


def concatenation(parts: Sequence[Fragment]) -> Fragment:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    whole = _Assembly(parts)
    first = last = 0
    nullable = True
    for part in parts:
        begins, ends = whole.add(part)
        whole.link(last, begins)
        first |= begins if nullable else 0
        last = ends | (last if part.nullable else 0)
        nullable = nullable and part.nullable
    return whole.fragment(nullable, first, last)


def alternation(parts: Sequence[Fragment]) -> Fragment:
    """Any of them."""
    if len(parts) == 1:
        return parts[0]
    whole = _Assembly(parts)
    first = last = 0
    for part in parts:
        begins, ends = whole.add(part)
        first |= begins
        last |= ends
    return whole.fragment(any(part.nullable for part in parts), first, last)


def times(least: int, most: int | None) -> int:
    """What a repeat counts as; one without an end as its least."""
    return max(least if most is None else most, 1)


def repetition(part: Fragment, least: int, most: int | None) -> Fragment:
    """From `least` to `most` times, None without an end."""
    if most == 0:
        return EMPTY
    repeats = part.repeats * times(least, most)
    nullable = least == 0 or part.nullable
    if part.nullable:  # as many times or fewer of what is not empty come to the same
        least = 0
    copies = max(least, 1) if most is None else most
    whole = _Assembly([part] * copies)
    part = _with_shared_links(part, copies)
    first = last = previous = 0
    for number in range(1, copies + 1):
        begins, ends = whole.add(part)
        whole.link(previous, begins)
        first = first or begins
        last |= ends if number >= least else 0
        previous = ends
        if most is None and number == copies:
            whole.link(ends, begins)
    return replace(whole.fragment(nullable, first, last), repeats=repeats)


def _with_shared_links(part: Fragment, copies: int) -> Fragment:
    """The same, with distances for links where that makes fewer rules once there are `copies` of it."""
    pairs = sum(before.bit_count() * after.bit_count() for before, after in part.links)
    if not part.links or copies == 1 or pairs > MAX_SHARED_PAIRS:
        return part
    distances = dict(part.distances)
    for before, after in part.links:
        _add_distances(distances, before, after)
    if len(distances) - len(part.distances) > len(part.links) * copies:
        return part
    return replace(part, distances=distances, links=())


def _add_distances(distances: dict[int, int], before: int, after: int) -> None:
    for start in positions_in(before):
        for end in positions_in(after):
            distances[end - start] = distances.get(end - start, 0) | 1 << start


class _Assembly:
    """A fragment that is put together from others, whose positions come one after the other."""

    def __init__(self, parts: Sequence[Fragment]) -> None:
        """`parts`: all that will be added."""
        if sum(len(part.leaves) for part in parts) > MAX_POSITIONS:
            raise TooLarge
        self.leaves: list[Ranges | Assertion] = []
        self.distances: dict[int, int] = {}
        self.links: list[tuple[int, int]] = []
        self.repeats = 1

    def add(self, part: Fragment) -> tuple[int, int]:
        """The first and the last positions of `part`, as those of the whole."""
        offset = len(self.leaves)
        self.leaves += part.leaves
        for distance, positions in part.distances.items():
            self.distances[distance] = self.distances.get(distance, 0) | positions << offset
        self.links += [(before << offset, after << offset) for before, after in part.links]
        self.repeats = max(self.repeats, part.repeats)
        return part.first << offset, part.last << offset

    def link(self, before: int, after: int) -> None:
        """Each of `after` may follow each of `before`."""
        if not before or not after:
            return
        if before.bit_count() * after.bit_count() > MAX_PAIRS:
            self.links.append((before, after))
        else:
            _add_distances(self.distances, before, after)

    def fragment(self, nullable: bool, first: int, last: int) -> Fragment:
        return Fragment(
            tuple(self.leaves), nullable, first, last, self.distances, tuple(self.links), repeats=self.repeats
        )


def positions_in(positions: int) -> Iterator[int]:
    while positions:
        lowest = positions & -positions
        yield lowest.bit_length() - 1
        positions ^= lowest
