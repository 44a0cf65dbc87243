"""How many connections each worker has, in memory that all of them share, so that none takes more than its share.

The socket wakes all workers that wait for a connection, and the first one that runs takes it. One that has more than
another leaves newcomers to the others for a moment, and takes then what is still there: one that hangs keeps nobody
waiting. Each worker writes its own place alone; the parent clears that of one which has ended.
"""

from __future__ import annotations

import mmap

from llamaswap_lib.workers.ledger import shared_memory

PAUSE = 0.003  # seconds for which newcomers are left to others
SLACK = 8  # one may have an eighth more than another, and one more
PLACES = 64
_SIZE_BYTES = PLACES * 4


class ConnectionCounts:
    """The counts of all workers. A place is 0 where there is no worker, else one more than it has."""

    def __init__(self, descriptor: int | None = None) -> None:
        """New memory, or that of the descriptor, which is this one's from now on. Raises OSError."""
        self.descriptor = shared_memory(_SIZE_BYTES) if descriptor is None else descriptor
        self._counts = memoryview(mmap.mmap(self.descriptor, _SIZE_BYTES)).cast("I")

    # -- the parent --

    def clear(self, place: int) -> None:
        """There is no worker any more."""
        self._counts[place] = 0

    # -- a worker's loop --

    def put(self, place: int, count: int) -> None:
        """The worker at that place has so many."""
        self._counts[place] = count + 1

    def pause(self, place: int) -> float:
        """Seconds for which it leaves newcomers to others; 0.0 where it has no more than its share."""
        fewest = min([count for count in self._counts if count])
        return PAUSE if self._counts[place] > fewest + 1 + fewest // SLACK else 0.0


class Share:
    """That of one worker. Its loop."""

    def __init__(self, counts: ConnectionCounts, place: int) -> None:
        self._counts = counts
        self._place = place

    def put(self, count: int) -> None:
        """It has so many connections."""
        self._counts.put(self._place, count)

    def pause(self) -> float:
        """As there; it has told how many it has."""
        return self._counts.pause(self._place)
