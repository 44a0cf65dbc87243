"""What is kept of an answer's body while it passes: its first and last bytes, and when its first pieces came.

The loop calls `take` for each piece, before it is sent on; `sample` is called after the end, on the activity writer's
thread. Guarantees: pieces are kept as they are, and nothing is copied but of pieces that are too long; an observer
never keeps more than it was granted, and all observers together no more than their budget; what an observer was granted
goes back when it is gone. It never reads what it keeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from llamaswap_lib.activity.record import Sample

HEAD_BYTES = 16_384
TAIL_BYTES = 32_768
OWN_BYTES = 16_384  # that every observer may keep
STEP_BYTES = 65_536  # that are asked for at once
MOST_BYTES = 1 << 20  # of a body that is kept whole, where that is wanted
BUDGET_BYTES = 32 << 20  # of all observers together, beside what each of them may keep
MOST_STAMPS = 32


class Budget:
    """Bytes that all observers share."""

    def __init__(self, most_bytes: int = BUDGET_BYTES) -> None:
        self._left_bytes = most_bytes
        self._returned: deque[int] = deque()  # what was given back and is not counted yet

    # -- loop thread --

    def take(self, count_bytes: int) -> bool:
        """Whether there are so many left, and now taken."""
        while self._returned:
            self._left_bytes += self._returned.popleft()
        if count_bytes > self._left_bytes:
            return False
        self._left_bytes -= count_bytes
        return True

    # -- any thread --

    @property
    def left_bytes(self) -> int:
        return self._left_bytes + sum(tuple(self._returned))

    def give_back(self, count_bytes: int) -> None:
        """Called by the collector too, at any moment and on any thread: so it takes no lock, which may be held."""
        self._returned.append(count_bytes)


class Observer:
    """One body as it passes."""

    __slots__ = (
        "_budget",
        "_clock",
        "_granted_bytes",
        "_head",
        "_most_bytes",
        "_pieces",
        "_stamps",
        "_until_bytes",
        "last_at",
        "size_bytes",
    )

    def __init__(self, budget: Budget, clock: Callable[[], float], *, is_whole_wanted: bool) -> None:
        """`is_whole_wanted`: all of it is to be kept, up to MOST_BYTES; else a beginning and an end are enough."""
        self._budget = budget
        self._clock = clock
        self._most_bytes = MOST_BYTES if is_whole_wanted else HEAD_BYTES + TAIL_BYTES
        self._granted_bytes = 0
        self._head: list[bytes] | None = None  # what stands before the gap, once there is one
        self._pieces: list[bytes] = []  # what stands behind it; all, where there is none
        self._stamps: list[tuple[int, float]] = []
        self._until_bytes = OWN_BYTES  # where this offset is passed there may be too much
        self.last_at = 0.0
        self.size_bytes = 0

    def __del__(self) -> None:
        if self._granted_bytes:
            self._budget.give_back(self._granted_bytes)

    # -- loop thread --

    def take(self, data: bytes) -> None:
        """The next piece. This is the hot path of every stream."""
        self.last_at = now = self._clock()
        size = self.size_bytes
        if len(self._stamps) < MOST_STAMPS:
            self._stamps.append((size, now))
        self.size_bytes = size = size + len(data)
        if len(data) > TAIL_BYTES and self._head is not None:  # the memory of a long one is for the next one
            self._pieces = [data[-TAIL_BYTES:]]
            return
        self._pieces.append(data)
        if size > self._until_bytes:
            self._make_room()

    def _make_room(self) -> None:
        if self._head is None:
            self._ask_for_more()
            if self.size_bytes <= self._until_bytes:
                return
            self._part()
        self._trim()

    def _trim(self) -> None:
        """Behind the gap, no more than is to be kept of the end."""
        room = OWN_BYTES + self._granted_bytes
        wanted, kept, index = min(TAIL_BYTES, room // 2), 0, len(self._pieces)
        while index and kept < wanted:
            index -= 1
            kept += len(self._pieces[index])
        del self._pieces[:index]
        self._until_bytes = self.size_bytes + room // 4

    def _ask_for_more(self) -> None:
        """Up to all that may be kept; for a beginning and an end, once."""
        wanted = STEP_BYTES
        if self.size_bytes <= self._most_bytes:
            wanted = max(wanted, self.size_bytes - self._until_bytes)
        elif self._granted_bytes:
            return
        if self._budget.take(wanted):
            self._granted_bytes += wanted
            self._until_bytes += wanted

    def _part(self) -> None:
        """From now on there is a gap: the beginning stands for itself."""
        if self._granted_bytes > STEP_BYTES:
            self._budget.give_back(self._granted_bytes - STEP_BYTES)
            self._granted_bytes = STEP_BYTES
        head_bytes = min(HEAD_BYTES, (OWN_BYTES + self._granted_bytes) // 4)
        pieces, kept, count = self._pieces, 0, 0
        while kept < head_bytes:
            kept += len(pieces[count])
            count += 1
        self._head, self._pieces = pieces[:count], pieces[count:]
        if kept > head_bytes:
            last = self._head[-1]
            keep = len(last) - (kept - head_bytes)
            self._head[-1] = last[:keep]
            self._pieces.insert(0, last[keep:])

    @property
    def kept_bytes(self) -> int:
        """How many it may hold now."""
        return min(self.size_bytes, OWN_BYTES + self._granted_bytes)

    def shorten(self) -> None:
        """All of it is not wanted any more: a beginning and an end are enough."""
        if self._head is None and self.size_bytes > HEAD_BYTES + TAIL_BYTES:
            self._part()
            self._trim()

    def forget(self) -> None:
        """Keep nothing of it but when it came, and how much."""
        self._head, self._pieces = [], []
        self._budget.give_back(self._granted_bytes)
        self._granted_bytes = 0

    # -- after the end --

    def sample(self, started: float) -> Sample:
        """What was kept, its times in seconds after `started`."""
        stamps = tuple((offset, at - started) for offset, at in self._stamps)
        last_at = self.last_at - started if stamps else None
        head, tail = b"".join(self._head or ()), b"".join(self._pieces)
        if len(head) + len(tail) == self.size_bytes:
            head, tail = head + tail, b""
        return Sample(head, tail, self.size_bytes, stamps, stamps[0][1] if stamps else None, last_at)
