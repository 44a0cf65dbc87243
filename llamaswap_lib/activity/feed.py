"""What all listeners of `/api/events` are told alike, rendered once: requests in progress, rows, swaps.

Any thread notes what has happened (`note`); the loop does no more than to say that something has changed. Whichever
listener comes first looks at the table of requests, for all of them. Guarantees: a request that is alone is told when
it begins and when it ends, however short it is; the bytes of one are told each BYTES_PAUSE at most, and the table is
looked at each LOOK_PAUSE at most, whatever the rush; a listener that falls behind is told the table as it is, and so
costs no memory. It never waits for a listener.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any

from llamaswap_lib.activity.in_flight import InFlight, InFlightTable
from llamaswap_lib.activity.row import Row
from llamaswap_lib.wire.messages import message

LOOK_PAUSE = 0.1  # seconds, at least, between two looks
BYTES_PAUSE = 0.25  # seconds, at least, between two events of one request of which only the bytes have changed
MOST_BYTES = 1 << 18  # kept for listeners that have not taken them yet
MOST_NOTED = 1_000  # of what was noted since a listener came; beyond that, the oldest is lost
KIND = "inflight"
_NOTHING = (False, 0, 0.0)
_ROW_EVENT = message("activity", {"id": 0}).replace(b"0", b"%d")


class Listener:
    """One client that is told; its thread alone uses it."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._position = -1  # nothing was told yet

    def take(self) -> bytes:
        """What has happened since; at first, and where that is not known any more, how things are. Never blocks."""
        self._position, events = self._feed.take(self._position)
        return events

    def timeout(self) -> float | None:
        """For how many seconds there is nothing to do but what one is woken for; None for ever."""
        return self._feed.timeout()

    def __enter__(self) -> Listener:
        self._feed.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.leave()


class Feed:
    """The events, and how far the table of requests was told."""

    def __init__(self, table: InFlightTable | None = None, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` wakes the listeners up; quick, any thread."""
        self.table = self._table = table or InFlightTable()
        self._tell = tell
        self._noted: deque[bytes] = deque(maxlen=MOST_NOTED)  # events that no listener has seen yet
        self._lock = threading.Lock()  # protects all below
        self._listener_count = 0
        self._events: deque[bytes] = deque()
        self._kept_bytes = 0
        self._end = 0  # the number of the event behind the last one
        self._told: dict[int, tuple[bool, int, float]] = {}  # request -> its head was there, its bytes, when told
        self._looked_at = -math.inf
        self._has_news = False
        self._table.on_change = self._note_change

    # -- any thread --

    def rows(self) -> list[dict[str, Any]]:
        """The requests in progress, the oldest first."""
        now = self._table.clock()
        return [entry.describe(now) for entry in self._table.current()]

    def note(self, kind: str, values: Iterable[Any]) -> None:
        """Each of `values` is an event of that kind. Never blocks."""
        if self._listener_count:
            self._noted.append(b"".join([message(kind, value) for value in values]))
            self._tell()

    def note_rows(self, rows: Iterable[Row]) -> None:
        """They are stored. There may be thousands in a second, so the text of their events is made once."""
        if self._listener_count:
            self._noted.append(b"".join([_ROW_EVENT % row.id for row in rows]))
            self._tell()

    def _note_change(self) -> None:
        self._has_news = True
        self._tell()

    # -- listeners' threads --

    def listen(self) -> Listener:
        """Be told what happens from now on; for a `with` block."""
        return Listener(self)

    def join(self) -> None:
        with self._lock:
            self._listener_count += 1
            self._table.is_followed = True
            if self._listener_count == 1:
                self._look(self._table.clock())

    def leave(self) -> None:
        with self._lock:
            self._listener_count -= 1
            if not self._listener_count:
                self._table.is_followed = self._table.is_awaited = self._has_news = False
                self._table.ended.clear()
                self._noted.clear()
                self._events.clear()
                self._told.clear()
                self._kept_bytes = 0

    def take(self, position: int) -> tuple[int, bytes]:
        """Where to go on, and what has happened since `position`; how things are, where that is not known any more."""
        with self._lock:
            now = self._table.clock()
            while self._noted:
                self._add(self._noted.popleft())
            if self._pause(now) <= 0.0:
                self._look(now)
            first = self._end - len(self._events)
            if position < first:
                return self._end, self._snapshot()
            return self._end, b"".join(islice(self._events, position - first, None))

    def timeout(self) -> float | None:
        """For how many seconds there is nothing to do but what one is woken for; None for ever."""
        pause = self._pause(self._table.clock())
        return None if pause == math.inf else max(0.0, pause)

    def _pause(self, now: float) -> float:
        """Seconds until the next look."""
        if self._has_news:
            return self._looked_at + LOOK_PAUSE - now
        return self._looked_at + BYTES_PAUSE - now if self._told else math.inf

    # -- under the lock --

    def _look(self, now: float) -> None:
        self._looked_at = now
        self._has_news = False
        self._table.is_awaited = True  # first: what changes from here on is told anew
        self._add(b"".join(self._changes(now)))

    def _changes(self, now: float) -> Iterator[bytes]:
        current, ended, told = self._table.current(), self._table.ended, self._told
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
        for entry in current:
            state = (entry.answer is not None, entry.response_bytes, now)
            before = told.get(entry.number)
            if before is None or before[0] != state[0] or (before[1] != state[1] and now - before[2] >= BYTES_PAUSE):
                told[entry.number] = state
                yield self._upsert(entry, now)

    def _upsert(self, entry: InFlight, now: float) -> bytes:
        return message(KIND, {"operation": "upsert", "request": entry.describe(now)})

    def _snapshot(self) -> bytes:
        now = self._table.clock()
        rows = [entry.describe(now) for entry in self._table.current() if entry.number in self._told]
        return message(KIND, {"operation": "snapshot", "requests": rows})

    def _add(self, data: bytes) -> None:
        if not data:
            return
        self._events.append(data)
        self._end += 1
        self._kept_bytes += len(data)
        while self._kept_bytes > MOST_BYTES:
            self._kept_bytes -= len(self._events.popleft())
