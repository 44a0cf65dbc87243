"""The events about requests in progress: which have begun, got their answer's head, moved bytes, and ended.

A source of the feed. The loop does no more than to say that something has changed. Guarantees: a request that is alone
is told when it begins and when it ends, however short it is; the bytes of one are told each BYTES_SECONDS at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from llamaswap_lib.activity.in_flight import InFlight, InFlightTable
from llamaswap_lib.wire.messages import message

BYTES_SECONDS = 0.25  # at least, between two events of one request of which only the bytes have changed
KIND = "inflight"
_NOTHING = (False, 0, 0.0)


class InFlightEvents:
    """How far the table of requests was told."""

    has_ended = True  # nothing is kept open for them

    def __init__(self, table: InFlightTable, note_news: Callable[[], None]) -> None:
        self._table = table
        self._told: dict[int, tuple[bool, int, float]] = {}  # request -> its head was there, its bytes, when told
        table.is_followed = True
        table.on_change = note_news
        for _ in self.news():
            """They are told by `first`."""

    def first(self) -> Sequence[Callable[[], bytes]]:
        snapshot = self._snapshot()
        return [lambda: snapshot]

    def news(self) -> Iterator[bytes]:
        self._table.is_awaited = True  # first: what changes from here on is told anew
        now, current, ended, told = self._table.clock(), self._table.current(), self._table.ended, self._told
        gone = set()
        while ended:  # one that is in neither of the two was in the latter, too long ago
            entry = ended.popleft()
            gone.add(entry.number)
            if entry.number not in told:
                yield self._upsert(entry, now)
                told[entry.number] = _NOTHING
        current = [entry for entry in current if entry.number not in gone]
        for number in sorted(told.keys() - {entry.number for entry in current}):
            del told[number]
            yield message(KIND, {"operation": "remove", "id": str(number)})
        for entry in self._see(current):
            yield self._upsert(entry, now)

    def _see(self, current: Sequence[InFlight]) -> Iterator[InFlight]:
        """Those that are to be told."""
        now, told = self._table.clock(), self._told
        for entry in current:
            state = (entry.answer is not None, entry.response_bytes, now)
            before = told.get(entry.number)
            if before is None or before[0] != state[0] or (before[1] != state[1] and now - before[2] >= BYTES_SECONDS):
                told[entry.number] = state
                yield entry

    def pause(self) -> float:
        return BYTES_SECONDS if self._told else math.inf

    def mark(self) -> int:
        return 0

    def missed(self, since: int, until: int) -> bytes:  # noqa: ARG002 - whatever it was, the table says how things are
        return self._snapshot()

    def close(self) -> None:
        table = self._table
        table.is_followed = table.is_awaited = False
        table.on_change = _nothing
        table.ended.clear()

    def _upsert(self, entry: InFlight, now: float) -> bytes:
        return message(KIND, {"operation": "upsert", "request": entry.describe(now)})

    def _snapshot(self) -> bytes:
        now = self._table.clock()
        rows = [entry.describe(now) for entry in self._table.current() if entry.number in self._told]
        return message(KIND, {"operation": "snapshot", "requests": rows})


def _nothing() -> None:
    """Nobody listens."""
