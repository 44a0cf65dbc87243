"""Logs: ring buffers of the newest output, and the readers that follow it.

Any thread writes and reads; there is no thread here. It keeps bytes and decodes nothing, so partial lines, progress
bars and invalid UTF-8 need no special care. A writer never waits for a reader: readers share the ring, each remembers
how far it has read, and one that falls behind by more than its capacity loses the oldest bytes and is told how many.
One `write` stays in one piece. Memory is bounded by the largest capacity, not by the number of readers. A write costs
O(its length), amortised, and a reader that already has something to take adds nothing to that.

A line is put into a queue, without a lock, and the next reader moves it into the ring: every request logs a line, and
with a lock here busy threads queued up behind each other.
"""

from __future__ import annotations

import threading
from collections import deque

from llamaswap_lib.runtime.wakeup import Wakeup

RING_BYTES = 100 * 1024
READER_BYTES = 256 * 1024
LINE_BYTES = 1024  # longer data is moved into the ring at once
MANY = 64  # pieces in the queue, from which on the writer moves them into the ring


class LogMonitor:
    """The newest `capacity_bytes` of one source, and its readers."""

    def __init__(self, capacity_bytes: int = RING_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._arrivals: deque[bytes] = deque()  # written, and not yet in the ring
        self._lock = threading.Lock()  # protects all below, and what the readers hold
        self._ring = bytearray()
        self._kept_bytes = capacity_bytes  # the most that the ring holds: what the largest reader may still need
        self._end = 0  # how many bytes the ring has ever got: the position after its last byte
        self._readers: set[Subscription] = set()
        self._sleepers: set[Subscription] = set()  # those that have taken all, and are to be woken by a write
        self._closed = False

    # -- any thread --

    def write(self, data: bytes) -> None:
        """Keep `data` and wake the readers that wait for it; never blocks on a reader."""
        if not data:
            return
        self._arrivals.append(data)
        if len(data) > LINE_BYTES or len(self._arrivals) > MANY:
            with self._lock:
                self._sort_in()
        if self._sleepers:  # looked at after the append: a reader goes to sleep first, and looks for arrivals then
            self._wake_sleepers()

    def history(self) -> bytes:
        """The newest bytes, oldest first."""
        with self._lock:
            self._sort_in()
            return bytes(self._ring[-self._capacity_bytes :])

    def put_before(self, history: bytes) -> None:
        """Have it kept as what was written before all that is there, as far as there is room; no reader is told."""
        with self._lock:
            self._sort_in()
            room_bytes = max(0, self._capacity_bytes - len(self._ring))
            kept = history[max(0, len(history) - room_bytes) :]
            self._ring[:0] = kept
            self._end += len(kept)
            for reader in self._readers:
                reader._position += len(kept)

    @property
    def reader_count(self) -> int:
        return len(self._readers)

    def subscribe(
        self,
        *,
        history: bool = True,
        capacity_bytes: int = READER_BYTES,
        goes_on_at_line: bool = False,
        wakeup: Wakeup | None = None,
    ) -> Subscription:
        """Read along from now on, after the history: nothing is lost or doubled between the two.

        `goes_on_at_line`: where something is lost, so is the rest of the line that it was a part of. `wakeup` is set in
        place of one of its own.
        """
        with self._lock:
            self._sort_in()
            known_bytes = min(len(self._ring), self._capacity_bytes) if history else 0
            position, wakeup = self._end - known_bytes, wakeup or Wakeup()
            reader = Subscription(self, self._lock, capacity_bytes, position, goes_on_at_line, wakeup)
            if self._closed:
                reader._end(self._end)
                return reader
            self._readers.add(reader)
            self._kept_bytes = max(self._kept_bytes, capacity_bytes)
            self._sleepers.add(reader)
            if known_bytes or self._arrivals:  # its writer may have looked before we were there
                self._wake(reader)
        return reader

    def close(self, *, keep: Subscription | None = None) -> None:
        """End every subscription but `keep`, and those to come; writing and history go on."""
        with self._lock:
            self._sort_in()
            self._closed = True
            for reader in [reader for reader in self._readers if reader is not keep]:
                self._forget(reader)
                reader._end(self._end)

    def _wake_sleepers(self) -> None:
        with self._lock:  # the thread that forgets a reader closes its wakeup afterwards
            for reader in tuple(self._sleepers):
                self._wake(reader)

    # -- any thread, under the lock --

    def _wake(self, reader: Subscription) -> None:
        self._sleepers.discard(reader)
        reader.wakeup.set()

    def _sort_in(self) -> None:
        """Put what has arrived into the ring.

        A bytearray gives up its front by moving a pointer, and is copied once for each eighth of its size written.
        """
        pieces = []
        while self._arrivals:  # only who has the lock takes from it
            pieces.append(self._arrivals.popleft())
        if not pieces:
            return
        data = b"".join(pieces)
        self._end += len(data)
        self._ring += data[-self._kept_bytes :]  # never let the ring grow to the size of the data
        del self._ring[: max(0, len(self._ring) - self._kept_bytes)]

    def _between(self, start: int, end: int) -> bytes:
        """The bytes from one position to another, both of which are in the ring."""
        first = self._end - len(self._ring)
        with memoryview(self._ring) as ring:
            return bytes(ring[start - first : end - first])

    def _forget(self, reader: Subscription) -> None:
        self._readers.discard(reader)
        self._sleepers.discard(reader)
        if not self._readers:
            self._kept_bytes = self._capacity_bytes


class Subscription:
    """One reader of a monitor; leave it with `with`, which unsubscribes.

    `wakeup` is readable while there is something to take, or nothing more will come; now and then for nothing.
    """

    def __init__(
        self,
        monitor: LogMonitor,
        lock: threading.Lock,
        capacity_bytes: int,
        position: int,
        goes_on_at_line: bool,
        wakeup: Wakeup,
    ) -> None:
        self.wakeup = wakeup
        self._monitor = monitor
        self._lock = lock  # the monitor's
        self._capacity_bytes = capacity_bytes
        self._goes_on_at_line = goes_on_at_line
        self._position = position  # of the first byte that it has not taken
        self._end_position: int | None = None  # behind the last byte that it gets, once that is known
        self._at_line_start = True

    # -- the reader's thread --

    def take(self, most_bytes: int | None = None) -> bytes:
        """All that is there, or its first `most_bytes`; b"" if there is nothing; never blocks.

        A loss is told, on a line of its own, where it happened.
        """
        with self._lock:
            end = self._look_for_more()
            oldest = max(end - self._capacity_bytes, self._monitor._end - len(self._monitor._ring))
            start = min(max(self._position, oldest), end)
            dropped_bytes = start - self._position
            if most_bytes is not None and end - start > most_bytes:
                end = start + most_bytes
                self._monitor._wake(self)
            data = self._monitor._between(start, end) if start < end else b""
            self._position = end
        if dropped_bytes:
            if self._goes_on_at_line:
                rest_bytes = data.find(b"\n") + 1
                dropped_bytes, data = dropped_bytes + rest_bytes, data[rest_bytes:]
            line_end = "" if self._at_line_start else "\n"
            data = f"{line_end}— {dropped_bytes} bytes dropped —\n".encode() + data
        if data:
            self._at_line_start = data.endswith(b"\n")
        return data

    @property
    def untaken_bytes(self) -> int:
        """How many bytes are there that it has not taken: of one that has just come, the history."""
        with self._lock:
            self._monitor._sort_in()
            return max(0, self._monitor._end - self._position)

    @property
    def closed(self) -> bool:
        """Nothing is there and nothing more will come: the monitor was closed."""
        with self._lock:
            return self._end_position is not None and self._position >= self._end_position

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribe."""
        with self._lock:
            self._monitor._forget(self)
        self.wakeup.close()

    # -- any thread --

    @property
    def position(self) -> int:
        """How many bytes there were up to what it has taken."""
        return self._position

    def taken(self, position: int, most_bytes: int) -> bytes:
        """The newest bytes before that position, as far as they are still there."""
        with self._lock:
            monitor = self._monitor
            first = max(position - most_bytes, monitor._end - len(monitor._ring))
            return monitor._between(first, position) if first < position else b""

    # -- any thread, under the monitor's lock --

    def _look_for_more(self) -> int:
        """Go to sleep, and see what has come until then: the position behind the last byte that there is."""
        if self._end_position is not None:
            return self._end_position
        self.wakeup.clear()
        self._monitor._sleepers.add(self)  # after the clearing, before the look: a later write wakes us again
        self._monitor._sort_in()
        return self._monitor._end

    def _end(self, position: int) -> None:
        self._end_position = position
        self.wakeup.set()
