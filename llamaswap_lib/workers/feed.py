"""The feed of the parent: its events and its list of requests in progress are those of all workers.

Any thread. While somebody listens the workers push their events about requests in progress, which are handed on as they
come; how things are is asked of all of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llamaswap_lib.activity.feed import Feed, Source
from llamaswap_lib.activity.in_flight_events import KIND
from llamaswap_lib.wire.messages import message
from llamaswap_lib.workers.messages import Question
from llamaswap_lib.workers.workers import Workers


class WorkersFeed(Feed):
    """See above."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def rows(self) -> list[dict[str, Any]]:
        rows = [row for rows in self._workers.ask(Question.IN_FLIGHT) for row in rows]
        return sorted(rows, key=lambda row: str(row["timestamp"]))

    def cancel(self, number: int, ask: Callable[[Callable[[], bool]], bool]) -> bool:  # noqa: ARG002 - as there
        return self._workers.cancel(number)

    def in_flight(self, note_news: Callable[[], None]) -> Source:
        return _Events(self._workers, self.rows, note_news)


class _Events:
    """What workers tell of requests in progress. Where one ends, how things are is told anew."""

    has_ended = True  # nothing is kept open for them

    def __init__(
        self, workers: Workers, rows: Callable[[], list[dict[str, Any]]], note_news: Callable[[], None]
    ) -> None:
        self._workers = workers
        self._rows = rows
        self._note_news = note_news
        self._events: deque[bytes] = deque()  # b"" where a worker has ended
        workers.follow(self)

    def first(self) -> Sequence[Callable[[], bytes]]:
        snapshot = self._snapshot()
        return [lambda: snapshot]

    def news(self) -> Iterator[bytes]:
        for _ in range(len(self._events)):
            yield self._events.popleft() or self._snapshot()

    def pause(self) -> float:
        return math.inf

    def mark(self) -> int:
        return 0

    def missed(self, since: int, until: int) -> bytes:  # noqa: ARG002 - whatever it was, this says how things are
        return self._snapshot()

    def close(self) -> None:
        self._workers.follow(None)

    def _snapshot(self) -> bytes:
        return message(KIND, {"operation": "snapshot", "requests": self._rows()})

    # -- threads of workers --

    def take(self, events: bytes) -> None:
        """What one of them tells."""
        if events:
            self._events.append(events)
            self._note_news()

    def note_lost(self) -> None:
        """One has ended, with requests that were told of."""
        self._events.append(b"")
        self._note_news()
