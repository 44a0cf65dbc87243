"""What all listeners of `/api/events` are told, made once for all of them.

What events are about are the feed's sources. Any thread says that there is news (`note`, `note_news`), which costs it
next to nothing. Of the listeners that wait one is on watch: its thread is woken, asks the sources, and wakes the
others. Guarantees: the first news after a rest are told at once, and what comes behind them is gathered for
GATHER_SECONDS, for a crowd longer, whatever the rush; each listener is told all events in their order, or, when it
falls behind by more than MOST_BYTES, how things are instead; so it costs no memory. It waits for its own client, and
for nobody else's.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from llamaswap_lib.activity.in_flight import InFlightTable
from llamaswap_lib.activity.in_flight_events import InFlightEvents
from llamaswap_lib.activity.row import Row
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.wire.messages import message

GATHER_SECONDS = 0.1
LISTENERS_PER_SECOND = 1_000  # that are woken at most: a crowd of them is told less often
MOST_BYTES = 1 << 20  # kept for listeners that have not taken them yet; the logs are among them
MOST_NOTED = 1_000  # of what was noted since a listener came; beyond that, the oldest is lost


class Source(Protocol):
    """Something that events are about. One thread at a time uses it, but for what `first` gives, which any calls."""

    @property
    def has_ended(self) -> bool:
        """There will be no news."""

    def first(self) -> Sequence[Callable[[], bytes]]:
        """What makes the events that tell how things are now, one each; they are made when they can be sent."""

    def news(self) -> Iterator[bytes]:
        """The events of what has changed since the last call."""

    def pause(self) -> float:
        """Seconds until there may be news that nobody notes."""

    def mark(self) -> int:
        """How far it has been told."""

    def missed(self, since: int, until: int) -> bytes:
        """The events for a listener that has missed what was told between two marks."""

    def close(self) -> None: ...


OpenSources = Callable[[Callable[[], None]], Sequence[Source]]
"""Opens the sources, in the order in which they are told; they call what they get when there is news."""


class Listener:
    """One client that is told, by one thread at a time."""

    def __init__(self, feed: Feed, open_sources: OpenSources) -> None:
        self._feed = feed
        self._open_sources = open_sources
        self.wakeup = Wakeup()  # set by the feed
        self.position = 0  # the number of the first event that it has not taken
        self.marks: Sequence[int] = ()  # of the sources, there
        self.missed: tuple[Sequence[int], Sequence[int]] | None = None  # between which marks it was not told
        self._kept = b""  # to be taken first

    def first(self) -> Iterator[bytes]:
        """How things are: an event each, made when it is asked for."""
        for make in self._first:
            yield make()

    def wait(self, wait: Callable[[Sequence[int], float | None], object]) -> bool:
        """Block until there is something to take; False at the end.

        `wait` blocks until a descriptor is readable, or for some seconds; what it raises is passed on.
        """
        feed = self._feed
        if self.missed is not None:
            self._kept = feed.missed(*self.missed)
            self.missed = None
        while not (self._kept or feed.has_something_for(self)):
            seconds = feed.sleep(self)
            if seconds == 0.0:
                feed.ask()
            else:
                wait((self.wakeup.fileno(),), seconds)
        return not feed.is_over(self)

    def take(self) -> bytes:
        """The events of what has happened since; perhaps none. Never blocks; any thread."""
        kept, self._kept = self._kept, b""
        return kept + self._feed.take(self)

    def __enter__(self) -> Listener:
        self._first = self._feed.join(self, self._open_sources)
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.leave(self)
        self.wakeup.close()


class Feed:
    """The events, and who listens."""

    def __init__(self, table: InFlightTable | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.table = table or InFlightTable()
        self._clock = clock
        self._noted: deque[bytes] = deque(maxlen=MOST_NOTED)  # events that are not among the others yet
        self._asking = threading.Lock()  # held by the thread that asks the sources
        self._sources: Sequence[Source] = ()
        self._lock = threading.Lock()  # protects all below; held for a moment only
        self._listener_count = 0
        self._sleepers: set[Listener] = set()  # those that have taken all
        self._watcher: Listener | None = None  # the one of them that is woken for news
        self._to_wake: dict[Listener, None] = {}  # that have events; each is woken by the one before
        self._events: deque[bytes] = deque()
        self._kept_bytes = 0
        self._end = 0  # the number of the event behind the last one
        self._marks: Sequence[int] = ()  # of the sources, at the end
        self._has_news = False
        self._asked_at = -math.inf
        self._next_look = math.inf  # at sources whose news nobody notes
        self._has_ended = False

    # -- any thread --

    def rows(self) -> list[dict[str, Any]]:
        """The requests in progress, the oldest first."""
        now = self.table.clock()
        return [entry.describe(now) for entry in self.table.current()]

    def cancel(self, number: int, ask: Callable[[Callable[[], bool]], bool]) -> bool:
        """End that request; whether there is one. Blocks; `ask` has the loop call a function."""
        return ask(lambda: self.table.cancel(number))

    def in_flight(self, note_news: Callable[[], None]) -> Source:
        """The source of events about requests in progress."""
        return InFlightEvents(self.table, note_news)

    def note(self, kind: str, values: Iterable[Any]) -> None:
        """Each of `values` is an event of that kind."""
        if self._listener_count:
            self._note(b"".join([message(kind, value) for value in values]))

    def note_rows(self, rows: Iterable[Row]) -> None:
        """They are stored."""
        if self._listener_count:
            self._note(b"".join([row_event(row.id) for row in rows]))

    def _note(self, events: bytes) -> None:
        self._noted.append(events)
        self.note_news()

    def note_news(self) -> None:
        """A source has changed."""
        if self._has_news:
            return
        with self._lock:
            self._has_news = True
            if self._watcher is not None:
                self._watcher.wakeup.set()

    # -- under the lock --

    def _due(self) -> float:
        """When the sources are to be asked."""
        gather_seconds = max(GATHER_SECONDS, self._listener_count / LISTENERS_PER_SECOND)
        return self._asked_at + gather_seconds if self._has_news else self._next_look

    def _wake_next(self) -> None:
        """One after the other: many threads that are woken at once keep the loop from the interpreter."""
        for listener in self._to_wake:
            del self._to_wake[listener]
            listener.wakeup.set()
            break

    def _add(self, news: bytes) -> None:
        self._events.append(news)
        self._end += 1
        self._kept_bytes += len(news)
        while self._kept_bytes > MOST_BYTES:
            self._kept_bytes -= len(self._events.popleft())

    # -- listeners' threads --

    def listen(self, open_sources: OpenSources = lambda _: ()) -> Listener:
        """Be told what happens from now on; for a `with` block. Who comes first opens the sources."""
        return Listener(self, open_sources)

    def join(self, listener: Listener, open_sources: OpenSources) -> Sequence[Callable[[], bytes]]:
        """What makes the events that tell how things are now."""
        with self._asking:
            if not self._listener_count:
                self._sources = open_sources(self.note_news)
                self._marks = [source.mark() for source in self._sources]
                self._next_look = self._clock() + min((source.pause() for source in self._sources), default=math.inf)
                self._has_ended = False
            with self._lock:
                self._listener_count += 1
                listener.position, listener.marks = self._end, self._marks
            return [make for source in self._sources for make in source.first()]

    def leave(self, listener: Listener) -> None:
        with self._asking:
            with self._lock:
                self._listener_count -= 1
                self._sleepers.discard(listener)
                self._to_wake.pop(listener, None)
                if self._watcher is listener:
                    self._watcher = next(iter(self._sleepers), None)
                    if self._watcher is not None:  # it may leave before it knows of it
                        self._to_wake[self._watcher] = None
                self._wake_next()
                if self._listener_count:
                    return
                self._events.clear()
                self._kept_bytes, self._has_news, self._next_look = 0, False, math.inf
            self._noted.clear()
            sources, self._sources = self._sources, ()
            for source in sources:
                source.close()

    def has_something_for(self, listener: Listener) -> bool:
        """Events, or the end. If so, the next one is woken."""
        with self._lock:
            has_something = listener.position < self._end or self._has_ended
            if has_something:
                self._to_wake.pop(listener, None)
                self._wake_next()
            return has_something

    def is_over(self, listener: Listener) -> bool:
        """It has taken all that there will be."""
        with self._lock:
            return self._has_ended and listener.position == self._end

    def sleep(self, listener: Listener) -> float | None:
        """For how many seconds it is to wait to be woken, None for ever; 0.0: it is to ask the sources, now."""
        with self._lock:
            if listener.position < self._end:
                return 0.0
            seconds = max(0.0, self._due() - self._clock())
            if seconds == 0.0:
                self._sleepers.discard(listener)
                return 0.0
            listener.wakeup.clear()
            self._sleepers.add(listener)
            self._watcher = self._watcher or listener
            return seconds if self._watcher is listener and seconds < math.inf else None

    def ask(self) -> None:
        """Ask the sources for news, unless somebody else has just done so."""
        with self._asking:
            with self._lock:
                if self._due() > self._clock():
                    return
                self._has_news = False  # first: what changes from here on is news again
                self._asked_at = self._clock()
            news = [self._noted.popleft() for _ in range(len(self._noted))]
            news += [event for source in self._sources for event in source.news() if event]
            marks = [source.mark() for source in self._sources]
            pause = min((source.pause() for source in self._sources), default=math.inf)
            has_ended = bool(self._sources) and all(source.has_ended for source in self._sources)
            with self._lock:
                self._marks, self._next_look, self._has_ended = marks, self._asked_at + pause, has_ended
                for event in news:
                    self._add(event)
                if news or has_ended:
                    self._to_wake |= dict.fromkeys(self._sleepers)
                    self._sleepers.clear()
                    self._watcher = None

    def take(self, listener: Listener) -> bytes:
        with self._lock:
            first, since, until = self._end - len(self._events), listener.marks, self._marks
            has_missed = listener.position < first
            events = [] if has_missed else [*islice(self._events, listener.position - first, None)]
            listener.position, listener.marks = self._end, until
        if has_missed:
            listener.missed = (since, until)
        return b"".join(events)

    def missed(self, since: Sequence[int], until: Sequence[int]) -> bytes:
        """What to tell in place of the events between two marks of the sources."""
        with self._asking:
            return b"".join([source.missed(*marks) for source, *marks in zip(self._sources, since, until, strict=True)])


def row_event(number: int) -> bytes:
    """As `message` writes it, for there may be thousands of them in a second."""
    return b'event:message\ndata:{"type":"activity","data":"{\\"id\\":%d}"}\n\n' % number
