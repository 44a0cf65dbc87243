"""Requests whose run closed the connection before a byte of its answer: has its process ended?

Pure; the scheduler's. The end of a process is noticed a moment after that of its connections. Until then, such a
request waits here, and not with the requests that would be admitted to the run that it has just lost. After
`EXIT_NOTICE_TIMEOUT` it is clear that the process lives and only closed the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

EXIT_NOTICE_TIMEOUT = 2.0  # a process that held a GPU takes its time from closing its connections to its exit


@dataclass(frozen=True, slots=True)
class Orphan:
    ticket: int
    model: str
    run_id: int
    until: float


class Orphans:
    """By ticket, oldest first."""

    def __init__(self) -> None:
        self._by_ticket: dict[int, Orphan] = {}

    def __len__(self) -> int:
        return len(self._by_ticket)

    def add(self, ticket: int, model: str, run_id: int, now: float) -> None:
        self._by_ticket[ticket] = Orphan(ticket, model, run_id, now + EXIT_NOTICE_TIMEOUT)

    def remove(self, ticket: int) -> bool:
        """False if it is not here."""
        return self._by_ticket.pop(ticket, None) is not None

    def take_settled(self, may_serve: Callable[[int], bool], now: float) -> list[Orphan]:
        """Those whose run is known to be ending or gone, and those who have waited for that long enough."""
        everybody = self._by_ticket.values()
        return self._take([orphan for orphan in everybody if orphan.until <= now or not may_serve(orphan.run_id)])

    def take_of(self, models: Collection[str]) -> list[Orphan]:
        return self._take([orphan for orphan in self._by_ticket.values() if orphan.model in models])

    def take_all(self) -> list[Orphan]:
        return self._take(list(self._by_ticket.values()))

    def next_deadline(self) -> float | None:
        return min((orphan.until for orphan in self._by_ticket.values()), default=None)

    def _take(self, orphans: list[Orphan]) -> list[Orphan]:
        for orphan in orphans:
            del self._by_ticket[orphan.ticket]
        return orphans
