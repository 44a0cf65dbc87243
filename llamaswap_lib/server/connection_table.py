"""Every connection of one server by what it does, and which of them is closed first when there are too many.

Any thread, each for the connections that it drives; thread `accept` alone closes others. The order, in each line
whoever has been so for longest:

0. those that have not sent the rest of their request for SLOW seconds: only they can be many and cost their client
   nothing
1. those that are idle, or do not take what they are sent, for as long
2. those that have not sent the rest of their request for HASTY seconds
3. those that follow a log or the events, for they can come back
4. those that have been idle for HASTY seconds
5. those that began a request only just now
6. those that have only just come, or been served

Guarantees: a connection whose request waits for a model, or is being answered to a client that reads, is never closed
for others; one that was closed serves nothing that comes later; finding the one to close costs the same however many
there are. Small requests on connections that stay open cost one step in and one out, without a lock: each is one call
into C.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from llamaswap_lib.net.slow_readers import SlowReaders

SLOW = 1.0  # seconds within which most clients have sent their request, or REFRESHING_BYTES more of it
HASTY = 0.1  # the same, of those that are not far away
LAST, YOUNG, NOBODY = 4, 5, 7  # ranks in the order above
REFRESHING_BYTES = 65_536


class Connected(Protocol):
    """A client's connection."""

    sock: socket.socket

    @property
    def is_in_head(self) -> bool:
        """Whether the rest of a request's head is waited for."""


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
    """Who could be closed: the lowest rank first, and of one rank whoever has been so for longest."""

    rank: int
    since: float
    fate: Fate | None = None
    connection: _C | None = None


class ConnectionTable(Generic[_C]):
    """All connections of one server."""

    def __init__(self, slow_readers: SlowReaders, farewell: bytes, clock: Callable[[], float]) -> None:
        """`farewell` is the answer for those that are closed while they send a request, or before their first one."""
        self._slow_readers = slow_readers
        self._farewell = farewell
        self._last_words = b""  # for those that have sent a part of a head, since they are closed at once
        self._clock = clock
        self._open: dict[socket.socket, tuple[_C, float]] = {}  # with the time when each has come
        self._idle: OrderedDict[_C, float] = OrderedDict()  # since when, the longest first
        self._reading: OrderedDict[_C, float] = OrderedDict()  # since when they send a request, the longest first
        self._closing: set[socket.socket] = set()  # those that were closed, until their threads have ended

    # -- any thread --

    def __len__(self) -> int:
        """How many there are, those on their way out among them."""
        return len(self._open)

    @property
    def staying_count(self) -> int:
        """How many there are that have not been closed."""
        return len(self._open) - len(self._closing)

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    def all(self) -> list[_C]:
        return [connection for connection, _ in list(self._open.values())]

    def add(self, connection: _C) -> None:
        """A new one, which is idle."""
        now = self._clock()
        self._open[connection.sock] = connection, now
        self._idle[connection] = now

    def was_closed(self, connection: _C) -> bool:
        """Whether it had to make room, or was idle at the end of the server."""
        return connection.sock in self._closing

    def remove(self, connection: _C) -> None:
        """Its thread has closed it."""
        self._idle.pop(connection, None)
        self._open.pop(connection.sock, None)
        self._closing.discard(connection.sock)

    # -- whoever drives the connection --

    def claim(self, connection: _C) -> bool:
        """A request begins; False if the connection was closed before."""
        return self._idle.pop(connection, None) is not None

    def note_idle(self, connection: _C) -> None:
        """Its request has been served."""
        self._idle[connection] = self._clock()

    def note_reading(self, connection: _C) -> None:
        """The rest of its request has to be waited for."""
        self._reading[connection] = self._clock()
        if self._last_words and connection.is_in_head:  # in this order: it may be written meanwhile
            self._close_in_head(connection, self._last_words)

    def refresh(self, connection: _C) -> bool:
        """It has sent a good piece of its request, and counts as if it had begun now; False if it was closed."""
        if self._reading.pop(connection, None) is None:
            return False
        self._reading[connection] = self._clock()
        return True

    def is_reading(self, connection: _C) -> bool:
        """Whether it was not closed since `note_reading`."""
        return connection in self._reading

    def note_read(self, connection: _C) -> bool:
        """Nothing more of its request is waited for; False if it was closed."""
        return self._reading.pop(connection, None) is not None

    # -- the thread that accepts, or that ends the server --

    def close_idle(self, farewell: bytes, *, spare_expected: bool = False) -> bool:
        """Close all that are idle, or have sent a part of a head and get `farewell`; whether some were spared.

        `spare_expected` spares those of which a request is to be expected at once: it is there and has not been read
        yet, or they have come within SLOW seconds, and most clients that connect send their first request right away,
        or they have begun a head within SLOW seconds. Without it, heads that are not whole are closed from now on.
        """
        now, spared = self._clock(), False
        self._last_words = b"" if spare_expected else farewell
        for connection, since in _entries(self._reading):
            if not connection.is_in_head:
                continue
            if spare_expected and since > now - SLOW:
                spared = True
            else:
                self._close_in_head(connection, farewell)
        for connection, since in _entries(self._idle):
            if spare_expected and (self._is_new(connection, since, now) or _has_sent(connection.sock)):
                spared = True
            elif self._idle.pop(connection, None) is not None:  # else it was claimed meanwhile
                self._close(connection, socket.SHUT_RD)
        return spared

    def _is_new(self, connection: _C, idle_since: float, now: float) -> bool:
        """Whether it has come just now and has been served nothing yet."""
        return idle_since > now - SLOW and self._open.get(connection.sock) == (connection, idle_since)

    def _close_in_head(self, connection: _C, farewell: bytes) -> None:
        if self._reading.pop(connection, None) is not None:  # else its head has come meanwhile
            self._say_farewell(connection, farewell)
            self._close(connection, socket.SHUT_RDWR)

    def make_room(self) -> Fate | None:
        """Close one connection; what it did, or None where no one can be closed. Its thread ends a moment later."""
        while True:
            choice = self._choose()
            if choice.fate is None or self._close_chosen(choice):
                return choice.fate

    def is_worth_waiting(self) -> bool:
        """Whether nobody should be closed yet: nearly all are being served, or they have only just come.

        In a moment a place may become free, or it turns out who does not send his request or read his answer.
        """
        rank = self._choose().rank
        return rank >= YOUNG or (rank == LAST and len(self._idle) * 10 <= len(self._open))

    def _choose(self) -> _Choice[_C]:
        """Who is closed next."""
        now = self._clock()
        choices: list[_Choice[_C]] = [_Choice(NOBODY, now)]
        if (first := _first(self._reading)) is not None:
            age = now - first[1]
            rank = 0 if age >= SLOW else 2 if age >= HASTY else YOUNG
            choices.append(_Choice(rank, first[1], Fate.READING, first[0]))
        if (first := _first(self._idle)) is not None:
            age = now - first[1]
            rank = 1 if age >= SLOW else LAST if age >= HASTY else YOUNG + 1
            choices.append(_Choice(rank, first[1], Fate.IDLE, first[0]))
        if (since := self._slow_readers.stalled_since()) is not None and now - since >= SLOW:
            choices.append(_Choice(1, since, Fate.STALLED))
        if self._slow_readers.has_followers:
            choices.append(_Choice(3, now, Fate.FOLLOWING))
        return min(choices, key=lambda choice: (choice.rank, choice.since))

    def _close_chosen(self, choice: _Choice[_C]) -> bool:
        """False if it is not what it was any more."""
        connection = choice.connection
        if connection is None:
            readers = self._slow_readers
            is_stalled = choice.fate is Fate.STALLED
            client = readers.cut_off_stalled(choice.since) if is_stalled else readers.cut_off_follower()
            if client is not None:
                self._note_closing(client)
            return client is not None
        is_reading = choice.fate is Fate.READING
        if (self._reading if is_reading else self._idle).pop(connection, None) is None:
            return False
        awaits_answer = is_reading or self._open.get(connection.sock) == (connection, choice.since)  # or will, at once
        if awaits_answer:
            self._say_farewell(connection, self._farewell)
        # What has come to an idle one, and was not read, stays readable: but nobody can claim it any more.
        self._close(connection, socket.SHUT_RDWR if awaits_answer else socket.SHUT_RD)
        return True

    def _say_farewell(self, connection: _C, farewell: bytes) -> None:
        """As far as that is possible without waiting; its own thread sends nothing while it reads."""
        try:
            connection.sock.send(farewell, socket.MSG_DONTWAIT)
        except OSError:
            pass

    def _close(self, connection: _C, how: int) -> None:
        self._note_closing(connection.sock)
        try:
            connection.sock.shutdown(how)
        except OSError:
            pass  # it has ended by itself

    def _note_closing(self, client: socket.socket) -> None:
        self._closing.add(client)
        if client not in self._open:  # its thread has ended meanwhile
            self._closing.discard(client)


def _has_sent(sock: socket.socket) -> bool:
    """Whether there are bytes that nobody has read; not, if all that came is the end of the connection."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def _entries(order: OrderedDict[_C, float]) -> list[tuple[_C, float]]:
    """All entries; others may change the order meanwhile."""
    while True:
        with suppress(RuntimeError):
            return list(order.items())


def _first(order: OrderedDict[_C, float]) -> tuple[_C, float] | None:
    """The first entry; others may change the order meanwhile."""
    while True:
        with suppress(RuntimeError):
            return next(iter(order.items()), None)
