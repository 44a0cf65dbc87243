"""The thread that makes rows of records and writes them.

Any thread appends the function that makes a record, which costs it nothing but that. Thread `activity-writer` does the
rest, in this order: it calls that once, reads what the answer says, has the row stored, keeps the capture, and tells
those who listen. After a busy time it has the memory given back that this has needed. Guarantees: rows are stored in
the order of their records; a record becomes visible at once after a rest, otherwise at most BATCH_PAUSE later; all that
was appended is written at an orderly end; no failure of one record, listener or store ends the thread. It holds the
interpreter for GROUP_ROWS records at most without a pause.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from llamaswap_lib.runtime.heap import give_back
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import report

from .bare_row import bare_row
from .captures import Captures
from .database import BLOCK_ROWS
from .record import MakeRecord, Record
from .row import Row
from .store import Store

NAME = "activity-writer"
BATCH_PAUSE = 0.1  # seconds from the begin of one batch to that of the next
BATCH_ROWS = 16 * BLOCK_ROWS  # in one transaction, at most
HURRY_ROWS = BATCH_ROWS // 2  # if so many wait, a batch begins at once; those that come meanwhile mostly go with it
GROUP_ROWS = BATCH_ROWS // 4  # read without a pause, in about 1 ms: with fewer, changing threads costs too much
GROUP_PAUSE = 0.0005  # seconds; on a busy machine it may become twenty times as long
BATCH_BYTES = 1 << 20  # of bodies in one transaction; if more wait, the next one begins at once
MOST_IN_HAND = 500  # records that wait, beyond which there is no pause: they take a kilobyte each
BUSY_ROWS = 50  # in a batch, from which on (or from BATCH_BYTES on) nothing is done that can wait
QUIET_PAUSE = 0.5  # seconds after such a batch until that is done, if no other such one follows
COMPRESSED_BYTES = 1 << 20  # of captures, at most, after each batch
MOST_WAITING_BYTES = 4 << 20  # of bodies that wait, beyond which who appends had better drop them
MOST_WAITING = 10_000  # records, beyond which the next ones are lost: a disk may hang for minutes
FAILURE_PAUSE = 1.0  # seconds after a failure of our own


class Listener(Protocol):
    """Is told of rows that have just been stored, on the writer's thread; it must not take long."""

    def __call__(self, rows: Sequence[Row], /) -> None: ...


class _Job:
    """Something for the writer's thread to do when all that was appended before is written."""

    def __init__(self, do: Callable[[], None] = lambda: None) -> None:
        self.do = do
        self.is_done = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.do()
        except Exception as error:  # noqa: BLE001 - who asked for it is told
            self.error = error
        finally:
            self.is_done.set()


_Item = tuple[MakeRecord, int] | _Job  # what waits: with the bytes that it holds on to


class Writer:
    """Takes records, and has them stored."""

    def __init__(
        self,
        store: Store,
        captures: Captures,
        row_of: Callable[[Record], Row],
        on_error: Callable[[str], None],
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        after_rush: Callable[[], None] = give_back,
    ) -> None:
        """`after_rush` is called when a busy time is over and all is done, by the writer's thread."""
        self._store = store
        self._captures = captures
        self._row_of = row_of
        self._on_error = on_error
        self._pause = pause
        self._clock = clock
        self._after_rush = after_rush
        # In another process: it gets rows, and what they were made of, at once; the lists are changed after that.
        self.heir: Callable[[Sequence[Record], Sequence[Row]], None] | None = None
        # It gets those of workers; a record where a capture may be wanted.
        self.heir_of_others: Callable[[Sequence[Record | None], Sequence[Row]], None] | None = None
        self._waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._appended_bytes = 0  # of bodies, since the start; the thread that appends
        self._done_bytes = 0  # of those, the ones that are in a row or forgotten; the writer's thread
        self._in_hand_bytes = 0  # the ones that are neither, and do not wait
        self._hurry = threading.Event()  # somebody waits
        self._lost = 0
        self._quiet_at = -math.inf  # when the busy time is over, if no large batch follows
        self._was_busy = False  # there was a large batch, and `after_rush` was not called since
        self._ends = False
        self._listeners: tuple[Listener, ...] = ()
        self._thread: Thread | None = None

    # -- any thread --

    def append(self, make: MakeRecord, kept_bytes: int = 0) -> None:
        """Have a row made of the record that `make` gives, on the writer's thread. Never blocks; one thread at a time.

        `kept_bytes`: of bodies that `make` holds on to.
        """
        waiting = self._waiting.qsize()
        if waiting < MOST_WAITING:
            self._appended_bytes += kept_bytes
            self._waiting.put((make, kept_bytes))
        else:
            self._lost += 1
        if waiting == HURRY_ROWS or (
            self._appended_bytes - self._done_bytes > BATCH_BYTES and not self._hurry.is_set()
        ):
            self._hurry.set()

    def has_room(self, kept_bytes: int) -> bool:
        """Whether so many bytes of bodies may wait, too: those of one request always may. The thread that appends."""
        waiting_bytes = self._appended_bytes - self._done_bytes
        return not waiting_bytes or waiting_bytes + kept_bytes <= MOST_WAITING_BYTES

    def listen(self, listener: Listener) -> None:
        """Before the start."""
        self._listeners = (*self._listeners, listener)

    def start(self) -> None:
        self._thread = Thread(self._run, NAME)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def flush(self, timeout: float) -> bool:
        """Have all written that was appended before; whether that is done after so many seconds at most."""
        return self._ask(_Job(), timeout)

    def do(self, job: Callable[[], None], timeout: float) -> bool:
        """Have the writer's thread call it, after what was appended before; whether it has. Raises what it raises."""
        return self._ask(_Job(job), timeout)

    def post(self, job: Callable[[], None]) -> None:
        """The same, but nobody waits for it: the log has what it raises."""
        self._waiting.put(_Job(lambda: self._attempt(job)))

    def close(self, timeout: float) -> bool:
        """Have all written and end; whether that took so many seconds at most. Nothing may be appended after it."""

        def end() -> None:
            self._ends = True

        thread = self._thread
        if thread is None:
            return True
        self._waiting.put(_Job(end))
        self._hurry.set()
        thread.join(timeout)
        return not thread.is_alive()

    def _ask(self, job: _Job, timeout: float) -> bool:
        if not self.is_alive:
            return False
        self._waiting.put(job)
        self._hurry.set()
        is_done = job.is_done.wait(timeout)
        if job.error is not None:
            raise job.error
        return is_done

    # -- thread activity-writer --

    def _run(self) -> None:
        self._attempt(self._store.open)
        rest: float | None = 0.0  # seconds until there is something else to do
        while not self._ends:
            item = self._next(rest)
            begun = self._clock()
            self._work_off(item)
            rest = self._tend()
            if item is not None and not self._ends:
                self._hurry.wait(max(0.0, begun + BATCH_PAUSE - self._clock()))
                self._hurry.clear()
        self._attempt(self._store.close)

    def _next(self, timeout: float | None) -> _Item | None:
        try:
            return self._waiting.get(timeout=timeout)
        except queue.Empty:
            return None

    def _work_off(self, item: _Item | None) -> None:
        """This one, and all that wait behind it."""
        records: list[Record] = []
        rows: list[Row] = []
        waiting, read, row_count, done_bytes = self._waiting, self._row_of, 0, self._done_bytes
        while item is not None:
            if isinstance(item, _Job):
                self._write(records, rows)
                item.run()
            else:
                make, kept_bytes = item
                self._in_hand_bytes += kept_bytes
                record = None
                try:  # in this loop, since each call costs every request
                    record = make()
                    rows.append(read(record))
                    records.append(record)
                except Exception:  # noqa: BLE001 - a mistake of ours costs this request something, and no other one
                    self._note_mistake(record, records, rows)
                row_count += 1
                if len(rows) == BATCH_ROWS or self._in_hand_bytes > BATCH_BYTES:
                    self._write(records, rows)
                if not row_count % GROUP_ROWS and waiting.qsize() < MOST_IN_HAND:
                    self._pause(GROUP_PAUSE)
            item = waiting.get_nowait() if waiting.qsize() else None
        self._write(records, rows)
        if row_count >= BUSY_ROWS or self._done_bytes - done_bytes >= BATCH_BYTES:
            self._quiet_at, self._was_busy = self._clock() + QUIET_PAUSE, True
        self._tell_of_lost()

    def _note_mistake(self, record: Record | None, records: list[Record], rows: list[Row]) -> None:
        """A record could not be made, and of its request nothing is known; or the answer of one cannot be read."""
        if record is None:
            report(f"{NAME}: noting a request", self._on_error)
            return
        report(f"{NAME}: reading the answer", self._on_error, (record.model, record.path, record.status))
        rows.append(bare_row(record))
        records.append(record)

    def _write(self, records: list[Record], rows: list[Row]) -> None:
        """Store them, and empty the lists."""
        if rows:
            self._attempt(lambda: self._store_and_tell(records, rows))
            records.clear()
            rows.clear()
        self._done_bytes += self._in_hand_bytes
        self._in_hand_bytes = 0

    def _store_and_tell(self, records: Sequence[Record], rows: Sequence[Row]) -> None:
        if self.heir is not None:
            self.heir(records, rows)
            return
        stored = self._stored(records, rows)
        for record, row in zip(records, stored, strict=True):
            self._captures.add(row.id, record)
        self._tell(stored)

    def take(self, row: Row, packed: str | None) -> None:
        """Store a row of another process, and its capture."""
        stored = self._store.write([row])
        if packed is not None:
            self._captures.unpack(stored[0].id, packed)
        self._tell(stored)

    def take_all(self, rows: Sequence[Row], records: Sequence[Record | None]) -> None:
        """Store rows of another process, or give them on; a record where a capture may be wanted."""
        if self.heir_of_others is not None:
            self.heir_of_others(records, rows)
            return
        stored = self._store.write(rows)
        for row, record in zip(stored, records, strict=True):
            if record is not None:
                self._captures.add(row.id, record)
        self._tell(stored)

    def _tell(self, stored: Sequence[Row]) -> None:
        for listener in self._listeners:
            self._attempt(lambda listener=listener: listener(stored))  # type: ignore[misc]

    def _stored(self, records: Sequence[Record], rows: Sequence[Row]) -> list[Row]:
        """The rows with their ids. One that cannot be stored, which is a mistake of ours, costs no other one."""
        try:
            return self._store.write(rows)
        except Exception:  # noqa: BLE001 - as above
            report(f"{NAME}: storing rows", self._on_error)
        stored = []
        for record, row in zip(records, rows, strict=True):
            try:
                stored += self._store.write([row])
            except Exception:  # noqa: BLE001, PERF203 - as above; what the record says by itself can be stored
                stored += self._store.write([bare_row(record)])
        return stored

    def _tend(self) -> float | None:
        """What is to be done besides; seconds until there is more of it, None for never."""
        has_more, until_quiet = False, self._quiet_at - self._clock()
        try:
            if until_quiet <= 0:
                has_more = self._captures.compress(COMPRESSED_BYTES)
            rest = self._store.tend()
        except Exception:  # noqa: BLE001 - the thread goes on
            report(NAME, self._on_error)
            return FAILURE_PAUSE
        if rest == 0 or has_more:
            self._pause(GROUP_PAUSE)
            return 0.0
        if until_quiet > 0:
            return until_quiet if rest is None else min(rest, until_quiet)
        if self._was_busy:
            self._was_busy = False
            self._attempt(self._after_rush)
        return rest

    def _tell_of_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._on_error(f"activity: {lost} requests have no row, for the store did not take them in time")

    def _attempt(self, do: Callable[[], object]) -> None:
        """Go on after any exception, which the log has."""
        try:
            do()
        except Exception:  # noqa: BLE001 - nothing of a store is worth the server's end
            report(NAME, self._on_error)
