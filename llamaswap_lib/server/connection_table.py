"""Every connection of one server by what it does, and which of them is closed first when there are too many.

Thread `loop` alone. The order, in each line the one that has been so for longest:

0. those that have not sent the rest of their request for SLOW seconds: only they can be many and cost their client
   nothing
1. those that are idle, or do not take what they are sent, for as long
2. those that have not sent the rest of their request for HASTY seconds
3. those that follow a log or the events, for they can come back
4. those that have been idle for HASTY seconds
5. those that began a request only just now
6. those that have only just come, or been served

Guarantees: a connection whose request waits for a model, or is being answered to a client that reads, is never closed
for others; finding the one to close costs the same however many there are.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

SLOW = 1.0  # seconds within which most clients have sent their request, or REFRESHING_BYTES more of it
HASTY = 0.1  # the same, of those that are not far away
LAST, YOUNG, NOBODY = 4, 5, 7  # ranks in the order above
REFRESHING_BYTES = 65_536


class Connected(Protocol):
    """A client's connection."""

    @property
    def is_in_head(self) -> bool:
        """Whether it has sent a part of a request's head, and what it asks for is not known yet."""

    def has_sent(self) -> bool:
        """Whether there are bytes of it that nobody has read."""

    def cut_off(self, farewell: bytes = b"", *, reset: bool = False) -> None:
        """End it at once, after `farewell` as far as that can be sent; with `reset`, so that its client sees that."""


_C = TypeVar("_C", bound=Connected)


class Fate(Enum):
    """What became of a connection that there was no room for; the words are for the log."""

    READING = "closed within their request"
    IDLE = "closed that had no request in progress"
    STALLED = "cut off that did not read their answer"
    LINGERING = "closed that had been answered and did not leave"
    FOLLOWING = "cut off that followed a log or the events"
    REFUSED = "turned away, for all others are being served"
    WAITING = "left to wait, for all others are being served"
    LATE = "turned away with a 503"


@dataclass(frozen=True)
class _Choice(Generic[_C]):
    """Which one could be closed: the lowest rank first, and of one rank the one that has been so for longest."""

    rank: int
    since: float
    fate: Fate | None = None
    connection: _C | None = None


class ConnectionTable(Generic[_C]):
    """All connections of one server."""

    def __init__(self, farewell: bytes, clock: Callable[[], float]) -> None:
        """`farewell` is the answer for those that are closed while they send a request, or before their first one."""
        self._farewell = farewell
        self._last_words = b""  # for those that have sent a part of a head, since they are closed at once
        self._clock = clock
        self._open: dict[_C, float] = {}  # with the time when each has come
        self.idle: OrderedDict[_C, float] = OrderedDict()  # since when, the longest first; each tells by itself
        self._reading: OrderedDict[_C, float] = OrderedDict()  # since when they send a request, the longest first
        self._stalled: OrderedDict[_C, float] = OrderedDict()  # since when they take nothing, the longest first
        self._followers: OrderedDict[_C, None] = OrderedDict()  # the first that came first
        self._leaving: set[_C] = set()  # they were cut off, and a thread of theirs has not come back

    def __len__(self) -> int:
        return len(self._open)

    @property
    def staying_count(self) -> int:
        """How many there are that have not been cut off."""
        return len(self._open) - len(self._leaving)

    @property
    def idle_count(self) -> int:
        return len(self.idle)

    def all(self) -> list[_C]:
        return list(self._open)

    def add(self, connection: _C) -> None:
        """A new one, which is idle."""
        now = self._clock()
        self._open[connection] = now
        self.idle[connection] = now

    def remove(self, connection: _C) -> None:
        """It is served no more."""
        self._open.pop(connection, None)
        self._leaving.discard(connection)
        self._forget(connection)

    def note_leaving(self, connection: _C) -> None:
        """It was cut off."""
        if connection in self._open:
            self._leaving.add(connection)
        self._forget(connection)

    def _forget(self, connection: _C) -> None:
        self.idle.pop(connection, None)
        self._reading.pop(connection, None)
        self._stalled.pop(connection, None)
        self._followers.pop(connection, None)

    # -- what a connection tells of itself --

    def note_reading(self, connection: _C) -> None:
        """The rest of its request has to be waited for, from now on."""
        self._reading.pop(connection, None)
        self._reading[connection] = self._clock()

    def note_reading_on(self, connection: _C) -> None:
        """The same, unless it is known."""
        if connection not in self._reading:
            self._reading[connection] = self._clock()

    def note_read(self, connection: _C) -> None:
        """Nothing more of its request is waited for."""
        self._reading.pop(connection, None)

    def note_stall(self, connection: _C) -> None:
        """From now on it takes nothing."""
        self._stalled.pop(connection, None)
        self._stalled[connection] = self._clock()

    def note_room(self, connection: _C) -> None:
        """It takes what it is sent, or nothing is left for it to take."""
        self._stalled.pop(connection, None)

    def note_follower(self, connection: _C, *, follows: bool) -> None:
        """It follows something that never ends by itself, or not any more."""
        if not follows:
            self._followers.pop(connection, None)
        elif connection in self._open and connection not in self._leaving:
            self._followers[connection] = None

    # -- closing them --

    def close_overdue(self, idle_timeout: float) -> float:
        """Close those that have been idle for so many seconds; how many seconds to wait before the next look."""
        due = self._clock() - idle_timeout
        while (first := _first(self.idle)) is not None and first[1] <= due:
            first[0].cut_off()
        return idle_timeout if first is None else max(0.0, first[1] - due)

    def cut_stalled_followers(self) -> bool:
        """Cut off who follows a log or the events and has taken nothing for SLOW seconds; whether others follow."""
        due = self._clock() - SLOW
        for connection in [one for one in self._followers if self._stalled.get(one, math.inf) <= due]:
            connection.cut_off(reset=True)
        return bool(self._followers)

    @property
    def last_words(self) -> bytes:
        """What those that have sent a part of a head are told, since they are closed at once; b"" if they are not."""
        return self._last_words

    def close_idle(self, farewell: bytes, *, spare_expected: bool = False) -> bool:
        """Close all that are idle, or have sent a part of a head and get `farewell`; whether some were spared.

        `spare_expected` spares those of which a request is to be expected at once: it is there and has not been read
        yet, or they have come within SLOW seconds, and most clients that connect send their first request right away,
        or they have begun a head within SLOW seconds. Without it, heads that are not whole are closed from now on.
        """
        now, spared = self._clock(), False
        self._last_words = b"" if spare_expected else farewell
        for connection, since in list(self._reading.items()):
            if not connection.is_in_head:
                continue
            if spare_expected and since > now - SLOW:
                spared = True
            else:
                connection.cut_off(farewell)
        for connection, since in list(self.idle.items()):
            if spare_expected and (self._is_new(connection, since, now) or connection.has_sent()):
                spared = True
            else:
                connection.cut_off()
        return spared

    def _is_new(self, connection: _C, idle_since: float, now: float) -> bool:
        """Whether it has come just now and has been served nothing yet."""
        return idle_since > now - SLOW and self._open.get(connection) == idle_since

    def make_room(self) -> Fate | None:
        """Close one connection; what it did, or None where no one can be closed."""
        choice = self._choose()
        connection = choice.connection
        if connection is None:
            return None
        if choice.fate in (Fate.STALLED, Fate.FOLLOWING):
            connection.cut_off(reset=True)  # an orderly end could make what was sent look like the whole
        elif choice.fate is Fate.READING or self._open.get(connection) == choice.since:  # it awaits an answer, or will
            connection.cut_off(self._farewell)
        else:
            connection.cut_off()
        return choice.fate

    def is_worth_waiting(self) -> bool:
        """Whether nobody should be closed yet: nearly all are being served, or they have only just come.

        In a moment a place may become free, or it turns out who does not send his request or read his answer.
        """
        rank = self._choose().rank
        return rank >= YOUNG or (rank == LAST and len(self.idle) * 10 <= len(self._open))

    def _choose(self) -> _Choice[_C]:
        """Which one is closed next."""
        now = self._clock()
        choices: list[_Choice[_C]] = [_Choice(NOBODY, now)]
        if (first := _first(self._reading)) is not None:
            age = now - first[1]
            rank = 0 if age >= SLOW else 2 if age >= HASTY else YOUNG
            choices.append(_Choice(rank, first[1], Fate.READING, first[0]))
        if (first := _first(self.idle)) is not None:
            age = now - first[1]
            rank = 1 if age >= SLOW else LAST if age >= HASTY else YOUNG + 1
            choices.append(_Choice(rank, first[1], Fate.IDLE, first[0]))
        if (first := _first(self._stalled)) is not None and now - first[1] >= SLOW:
            choices.append(_Choice(1, first[1], Fate.STALLED, first[0]))
        if self._followers:
            choices.append(_Choice(3, now, Fate.FOLLOWING, next(iter(self._followers))))
        return min(choices, key=lambda choice: (choice.rank, choice.since))


def _first(order: OrderedDict[_C, float]) -> tuple[_C, float] | None:
    return next(iter(order.items()), None)
