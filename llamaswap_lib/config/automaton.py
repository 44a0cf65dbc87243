"""Whether a regular expression matches anywhere in a text, in a time that grows with the length of the text alone.

Owns the search and its cache. Any thread, several at once: the cache is shared without a lock. What two threads work
out at the same time is the same; a lost update costs time only.
Guarantees: (1) each character of the text is looked at once, whatever the expression is: the automaton is in all the
positions at once that a backtracking search would try one after the other; (2) a step costs one look-up where it was
taken before, and otherwise about 0.1 ms at most; (3) the cache of steps holds CACHE_BYTES or so, and is emptied when it
is full; the table of followers is bounded by the size of the expression.
"""

from __future__ import annotations

from bisect import bisect_right

from .charsets import Ranges, contains
from .fragments import Assertion, Fragment, TooLarge, concatenation, leaf

CACHE_BYTES = 1 << 20
# What a step may cost, about 0.1 ms: a rule or a look-up takes as long as RULE_BITS positions do on top.
MAX_STEP_BITS, RULE_BITS = 1_000_000, 1000
STATE_BYTES, MOVE_BYTES = 300, 100  # about what Python takes for them

# What stands on either side of a place in the text. What the assertions of an expression do not tell apart is OTHER.
EDGE, NEW_LINE, WORD, OTHER = range(4)


class Pattern:
    """A regular expression that is ready to be searched for. Equal to another of the same text."""

    def __init__(self, text: str, fragment: Fragment) -> None:
        """`fragment`: the automaton of `text`. Raises TooLarge."""
        self.text = text
        end: Ranges = ()  # no character leads on from there
        whole = concatenation([fragment, leaf(end)])
        size = len(whole.leaves)
        self._end = 1 << (size - 1)
        self._first = whole.first
        self._forward = [(gap, behind) for gap, behind in whole.distances.items() if gap >= 0]
        self._backward = [(-gap, behind) for gap, behind in whole.distances.items() if gap < 0]
        self._links = _merged(whole.links)
        rules = len(self._forward) + len(self._backward) + len(self._links)
        self._has_table = rules > size // 4
        if min(rules, size // 4) * (size + RULE_BITS) > MAX_STEP_BITS:
            raise TooLarge
        self._sets: dict[Ranges, int] = {}  # the characters that positions stand for -> those positions
        self._assertions: dict[Assertion, int] = {}
        for position, what in enumerate(whole.leaves):
            if isinstance(what, Assertion):
                self._assertions[what] = self._assertions.get(what, 0) | 1 << position
            else:
                self._sets[what] = self._sets.get(what, 0) | 1 << position
        self._asserting = sum(self._assertions.values())
        self._tells_words = bool(self._assertions.keys() & {Assertion.BOUNDARY, Assertion.NO_BOUNDARY})
        self._tells_lines = bool(self._assertions.keys() & {Assertion.BEGIN_LINE, Assertion.END_LINE})
        # Where the sets begin and end: the characters between two of these places are in the same sets.
        self._edges = sorted({edge for ranges in self._sets for low, high in ranges for edge in (low, high + 1)})
        self._state_bytes = STATE_BYTES + size // 4
        self._found = _Found(self, 0, OTHER)
        self._cached_bytes = 0
        self._table: dict[tuple[int, str], int] = {}  # which four positions, those of them as a digit -> followers
        self._states: dict[tuple[int, int], _State] = {}
        self._taking: dict[int, int] = {}  # place among the edges -> the positions that take the characters there
        self._reach: dict[tuple[int, int], int] = {}  # an assertion's position, those that hold -> what they lead to
        self._start = self._state(self._first, EDGE)

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in `text`."""
        state = self._start
        for char in text:
            state = state[char]
        return state is self._found or bool(self._passed(state.candidates, state.before, EDGE) & self._end)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    # -- one step, worked out --

    def move(self, state: _State, char: str) -> _State:
        """Where `char` leads from `state`; remembered there."""
        kind = self._kind(char)
        candidates = self._passed(state.candidates, state.before, kind)
        if candidates & self._end:
            target: _State = self._found
        else:
            target = self._state(self._followers(candidates & self._takers(char)) | self._first, kind)
        self._cached_bytes += MOVE_BYTES
        state[char] = target
        return target

    def _state(self, candidates: int, before: int) -> _State:
        """The state of these candidates, made if it is new. Emptying a full cache here keeps it bounded."""
        for assertion, positions in self._assertions.items():
            if not _may_hold(assertion, before):
                candidates &= ~positions
        if candidates & self._end:
            return self._found
        state = self._states.get((candidates, before))
        if state is None:
            if self._cached_bytes > CACHE_BYTES:
                self._forget()
            state = self._states[candidates, before] = _State(self, candidates, before)
            self._cached_bytes += self._state_bytes
        return state

    def _forget(self) -> None:
        """Empties the cache. A state that a search is in has lost what it remembered, no more."""
        states = [self._start, *self._states.values()]
        self._states = {}
        self._taking = {}
        self._reach = {}
        self._cached_bytes = 0
        for state in states:
            state.clear()

    def _followers(self, positions: int) -> int:
        """The positions that may follow any of these: by the rules, or by four at a time where that is less."""
        if not self._has_table:
            return self._followers_by_rules(positions)
        found = 0
        for key in enumerate(reversed(f"{positions:x}")):
            if key[1] != "0":
                followers = self._table.get(key)
                if followers is None:
                    followers = self._table[key] = self._followers_by_rules(int(key[1], 16) << 4 * key[0])
                found |= followers
        return found

    def _followers_by_rules(self, positions: int) -> int:
        found = 0
        for gap, behind in self._forward:
            found |= (positions & behind) << gap
        for gap, behind in self._backward:
            found |= (positions & behind) >> gap
        for behind, after in self._links:
            if positions & behind:
                found |= after
        return found

    def _passed(self, candidates: int, before: int, after: int) -> int:
        """With the candidates that are reached through assertions which hold between `before` and `after`."""
        if not candidates & self._asserting:
            return candidates
        holding = self._holding(before, after)
        waiting = candidates & holding
        while waiting:
            lowest = waiting & -waiting
            reached = self._reached(lowest, holding)
            candidates |= reached
            waiting &= ~(reached | lowest)
        return candidates

    def _holding(self, before: int, after: int) -> int:
        """The positions of the assertions that hold there."""
        found = 0
        for assertion, positions in self._assertions.items():
            if _holds(assertion, before, after):
                found |= positions
        return found

    def _reached(self, position: int, holding: int) -> int:
        """What follows this position of an assertion, and whatever further ones of `holding` lead to; remembered."""
        found = self._reach.get((position, holding))
        if found is None:
            found = 0
            waiting = position
            while waiting:
                fresh = self._followers(waiting) & ~found
                found |= fresh
                waiting = fresh & holding
            self._reach[position, holding] = found
            self._cached_bytes += self._state_bytes
        return found

    def _takers(self, char: str) -> int:
        """The positions that stand for this character."""
        code = ord(char)
        place = bisect_right(self._edges, code)
        takers = self._taking.get(place)
        if takers is None:
            takers = 0
            for ranges, positions in self._sets.items():
                if contains(ranges, code):
                    takers |= positions
            self._taking[place] = takers
            self._cached_bytes += self._state_bytes
        return takers

    def _kind(self, char: str) -> int:
        if self._tells_lines and char == "\n":
            return NEW_LINE
        return WORD if self._tells_words and (char == "_" or (char.isascii() and char.isalnum())) else OTHER


class _State(dict[str, "_State"]):
    """What may come next after some text, and where each character that was met there led."""

    __slots__ = ("before", "candidates", "pattern")

    def __init__(self, pattern: Pattern, candidates: int, before: int) -> None:
        super().__init__()
        self.pattern = pattern
        self.candidates = candidates  # the positions that the next character may be
        self.before = before  # the kind of the character just read

    def __missing__(self, char: str) -> _State:
        return self.pattern.move(self, char)


class _Found(_State):
    """There was a match. Whatever comes now changes nothing, and is not remembered."""

    __slots__ = ()

    def __missing__(self, char: str) -> _State:
        return self


def _may_hold(assertion: Assertion, before: int) -> bool:
    """Whether it holds before some character or the end."""
    if assertion is Assertion.BEGIN_TEXT:
        return before == EDGE
    return assertion is not Assertion.BEGIN_LINE or before in (EDGE, NEW_LINE)


def _holds(assertion: Assertion, before: int, after: int) -> bool:
    if assertion in (Assertion.BOUNDARY, Assertion.NO_BOUNDARY):
        return ((before == WORD) != (after == WORD)) == (assertion is Assertion.BOUNDARY)
    if assertion is Assertion.END_TEXT:
        return after == EDGE
    if assertion is Assertion.END_LINE:
        return after in (EDGE, NEW_LINE)
    return _may_hold(assertion, before)


def _merged(links: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """The same links, those to the same positions as one."""
    found: dict[int, int] = {}
    for before, after in links:
        found[after] = found.get(after, 0) | before
    return [(before, after) for after, before in found.items()]
