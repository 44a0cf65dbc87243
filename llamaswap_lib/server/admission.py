"""Whether a newcomer is let in, and what is done for it where there is no room.

Thread `loop` runs everything here; what waits is a coroutine of the one that accepts. Guarantees: there are no more
connections than the configuration allows and there are descriptors for, but for those that were cut off and whose
handler threads are about to be back; where it helps to wait, because nearly all are being served, that is done for
ROOM_TIMEOUT now and then at the most, whatever clients do; the log tells who had to go, in a line now and then. Which
connection is closed is the `ConnectionTable`'s to know.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from llamaswap_lib.server.connection_table import ConnectionTable, Fate

ROOM_TIMEOUT = 2.0  # for a place to become free, or for clients that do not read their answers to be known as such
ROOM_TIMEOUT_PAUSE = 10.0  # seconds until that is waited for again
ROOM_LOOK = 0.02  # seconds between two looks meanwhile
SHORTAGE_PAUSE = 0.1  # seconds, when the system has no descriptor or memory for another connection
CLOSING_PAUSE = 0.005  # the same where one was closed, which gives its descriptor back now or when its thread is back
REPORT_PAUSE = 10.0  # seconds between two lines in the log about connections that had to go


class Capacity(Protocol):
    """For how many connections there are descriptors."""

    @property
    def connections(self) -> int: ...

    def grow(self) -> bool:
        """Get more descriptors, if that is possible and of use; whether there are more now."""


class Unbounded:
    """Descriptors are no bound: what the configuration allows is."""

    def __init__(self, connections: int) -> None:
        self.connections = connections

    def grow(self) -> bool:
        return False


class Admission:
    """Decides which connections one server lets in."""

    def __init__(
        self,
        table: ConnectionTable[Any],
        capacity: Capacity,
        report: CrowdReport,
        end_lingering: Callable[[], bool],
        pause: Callable[[float], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        """`end_lingering` has one closed that is served no more and keeps its descriptor; whether there is one.

        `pause` waits for so many seconds; whether the server still goes on then.
        """
        self._table = table
        self._capacity = capacity
        self._report = report
        self._end_lingering = end_lingering
        self._pause = pause
        self._clock = clock
        self._wait_until = -math.inf

    @property
    def connections(self) -> int:
        """How many there may be, as far as is known."""
        return self._capacity.connections

    async def has_room(self) -> bool:
        """Whether there is room for one more connection, after one was closed for it if need be.

        Not if the server ends meanwhile.
        """
        while self._table.staying_count >= self._capacity.connections and not self._capacity.grow():
            if self._is_to_wait():
                if not await self._pause(ROOM_LOOK):
                    return False
                continue
            fate = self._table.make_room()
            self._report.add(f"more than {self._capacity.connections} connections", fate or Fate.REFUSED)
            return fate is not None
        return True

    async def endure(self, shortage: str) -> None:
        """After a connection could not be accepted: close another one for it where that helps, and wait a moment."""
        if self._capacity.grow():
            return
        if self._end_lingering():
            self._report.add(shortage, Fate.LINGERING)
            await self._pause(CLOSING_PAUSE)
            return
        if self._is_to_wait():
            await self._pause(ROOM_LOOK)
            return
        fate = self._table.make_room()
        self._report.add(shortage, fate or Fate.WAITING)
        await self._pause(SHORTAGE_PAUSE if fate is None else CLOSING_PAUSE)

    def _is_to_wait(self) -> bool:
        """Whether it is better to wait than to close somebody; only now and then, for others want to be accepted."""
        if not self._table.is_worth_waiting():
            return False
        now = self._clock()
        if now >= self._wait_until + ROOM_TIMEOUT_PAUSE:
            self._wait_until = now + ROOM_TIMEOUT
        return now < self._wait_until


class CrowdReport:
    """Tells the log who had to go, at most every REPORT_PAUSE: a line for each would be another flood."""

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._warn = warn
        self._clock = clock
        self._counts: Counter[tuple[str, Fate]] = Counter()
        self._next = -math.inf  # when the next line may be written

    def add(self, shortage: str, fate: Fate) -> None:
        """`shortage` says what there is not enough of; the first one is told at once."""
        self._counts[shortage, fate] += 1
        self.tell_if_due()

    def seconds_left(self) -> float | None:
        """Until `tell_if_due` has something to do, None for ever."""
        return max(0.0, self._next - self._clock()) if self._counts else None

    def tell_if_due(self) -> None:
        now = self._clock()
        if now >= self._next:
            self.tell()

    def tell(self) -> None:
        """What was not told yet, at once."""
        for shortage in sorted({shortage for shortage, _ in self._counts}):
            told = [f"{count} {fate.value}" for (why, fate), count in self._counts.items() if why == shortage]
            self._warn(f"{shortage}: {', '.join(told)}")
        if self._counts:
            self._next = self._clock() + REPORT_PAUSE
        self._counts.clear()
