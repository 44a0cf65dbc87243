"""Where the rows are: in the file that the configuration names, or in memory while that cannot be written.

The writer's thread, but for `reading`, which any thread may use. In memory the newest rows wait as they are, until
somebody reads: of a flood of requests most are never read. Guarantees: a row is stored, whatever the file does;
what could not be written to the file is kept in memory, up to a bound, and written when the file can be written again,
which is tried by itself; the log is told once of each change. A corrupt file is set aside under another
name, never deleted. Old rows are removed in small steps, by `tend`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.errors import ServiceUnavailable

from .connections import Readers
from .database import Database, UnusableStore, identity_of, is_corrupt, open_file, open_memory, select_rows
from .row import Row, numbered

KEPT_MEANWHILE = 10_000  # rows at least, while the file cannot be written
STEP_ROWS = 200  # removed or moved in one transaction
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a file that could not be written is tried again
AGE_PAUSE = 60.0  # seconds between two looks for rows that are too old

Troubles = (sqlite3.Error, OSError, UnusableStore)


class StoreSettings(NamedTuple):
    """What the configuration says. `max_rows` and `max_age` (seconds) are of the file; 0 is no bound."""

    path: Path | None = None
    max_rows: int = 0
    max_age: float = 0.0
    max_rows_in_memory: int = 1000
    shown_path: str = ""  # as it may be told


def _nothing(_: object) -> None: ...


class Store:
    """The rows of all requests that are kept."""

    def __init__(
        self,
        settings: StoreSettings,
        *,
        on_warning: Callable[[str], None] = _nothing,
        on_info: Callable[[str], None] = _nothing,
        on_renumbered: Callable[[Mapping[int, int]], None] = _nothing,
        on_other_file: Callable[[int], None] = _nothing,
        open_at: Callable[[Path], Database] = open_file,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`on_renumbered` is told of rows that got another id (old -> new) when they were written to the file.

        `on_other_file`: from now on rows with a lower id than this are those of another file.
        """
        self._settings = settings
        self._on_warning = on_warning
        self._on_info = on_info
        self._on_renumbered = on_renumbered
        self._on_other_file = on_other_file
        self._open_at = open_at
        self._clock = clock
        self._wall = wall
        self._readers = Readers(self._note_fault)
        self._file: Database | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is open: device and number
        self._is_other_next = False  # the file that is opened next is not the one before
        self._memory: Database | None = None
        self._fresh: deque[Row] = deque()  # of memory, with their ids, and not in its database yet
        self._settling = threading.Lock()  # protects the rows on their way from there into the database
        self._last_id = 0  # that was given
        self._is_told = False  # that the file is of no use now
        self._has_told_of_others = False
        self._pause = FIRST_PAUSE
        self._next_try = 0.0
        self._next_look_at_age = 0.0
        self._fault: sqlite3.Error | None = None  # that a reader has met
        self._has_left = False  # another process writes

    # -- any thread --

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from, all of it as of one moment; raises ServiceUnavailable."""
        self._settle()
        with self._readers.borrow() as connection:
            yield connection

    def _note_fault(self, error: sqlite3.Error) -> None:
        if is_corrupt(error):
            self._fault = error

    # -- the writer's thread --

    def open(self) -> None:
        """Make ready to write and to be read."""
        if not self._try_file():
            self._turn_to_memory()

    def write(self, rows: Sequence[Row]) -> list[Row]:
        """Store them; as they are stored, each with its id."""
        self._try_file()
        if self._file is not None:
            try:
                stored = self._file.insert(rows)
            except Troubles as error:
                self._give_up(error)
            else:
                self._last_id = stored[-1].id
                self._tell_of_others(self._file)
                return stored
        self._turn_to_memory()
        stored = [numbered(row, number) for number, row in enumerate(rows, self._last_id + 1)]
        self._last_id = stored[-1].id
        with self._settling:
            self._fresh.extend(stored)
            for _ in range(len(self._fresh) - self._most_in_memory):
                self._fresh.popleft()
        return stored

    def leave(self) -> tuple[int, list[Row]]:
        """Leave the file to another process; the id of the last row, and all rows that are not in the file.

        Readers still find what is there. `come_back` undoes it.
        """
        self._next_try = 0.0
        self._try_file()
        self._settle()
        self._has_left = True
        if self._file is not None:
            self._file.close()
            self._file = None
            return self._last_id, []
        memory = self._memory
        return self._last_id, [] if memory is None else select_rows(memory.connection, "ORDER BY id")

    def come_back(self) -> None:
        """The other process has written nothing."""
        self._has_left = False
        self.open()

    def inherit(self, last_id: int, rows: Sequence[Row]) -> None:
        """Before `open`: these are the rows of another process that are not in the file; ids go on from its last."""
        if rows:
            self._last_id = rows[0].id - 1
            self._turn_to_memory()
            self._fresh.extend(rows)
        self._last_id = max(last_id, self._last_id)

    def clear(self) -> int:
        """Remove all rows; how many there were. Raises ServiceUnavailable if there is a file that cannot be reached."""
        self._try_file()
        self._settle()
        count = 0
        if self._memory is not None:
            count += self._memory.clear()
        if self._file is not None:
            try:
                count += self._file.clear()
            except Troubles as error:
                self._give_up(error)
        if self._file is None and self._settings.path is not None:
            raise ServiceUnavailable("the store of activity cannot be emptied: its file cannot be used now")
        return count

    def change(self, settings: StoreSettings) -> None:
        """Go by other settings from now on. Rows of a file that is not named any more stay there."""
        if settings.path != self._settings.path:
            self._leave_file()
            self._is_told, self._next_try, self._has_told_of_others, self._is_other_next = False, 0.0, False, True
        self._settings = settings
        self.open()
        self._settle()
        if self._memory is not None:
            self._bound_memory(self._memory)

    def tend(self) -> float | None:
        """Do a bit of what is to be done besides; seconds until there is more of it, None for never."""
        self._try_file()
        if self._file is None:
            is_tried = self._settings.path is not None and not self._has_left
            return max(0.0, self._next_try - self._clock()) if is_tried else None
        try:
            rest = self._remove_some(self._file)
            if self._file.is_clean or self._file.clean():
                return rest
            return FIRST_PAUSE if rest is None else min(rest, FIRST_PAUSE)
        except Troubles as error:
            self._give_up(error)
            return FIRST_PAUSE

    def close(self) -> None:
        """What is only in memory is lost, but for one more try to write it to the file."""
        self._next_try = 0.0
        self._try_file()
        self._readers.close()
        for database in (self._file, self._memory):
            if database is not None:
                database.close()
        self._file = self._memory = None

    # -- rows that go --

    def _remove_some(self, file: Database) -> float | None:
        settings, now = self._settings, self._clock()
        surplus = file.count - settings.max_rows if settings.max_rows else 0
        if surplus > 0:
            file.remove_oldest(min(surplus, STEP_ROWS))
            return 0.0
        if not settings.max_age:
            return None
        if now >= self._next_look_at_age:
            oldest = self._wall() - settings.max_age
            if file.remove_before(oldest, STEP_ROWS) == STEP_ROWS:
                return 0.0
            self._next_look_at_age = now + AGE_PAUSE
        return self._next_look_at_age - now

    @property
    def _most_in_memory(self) -> int:
        most = self._settings.max_rows_in_memory
        return most if self._settings.path is None else max(most, KEPT_MEANWHILE)

    def _bound_memory(self, memory: Database) -> None:
        if (surplus := memory.count - self._most_in_memory) > 0:
            memory.remove_oldest(surplus)

    def _settle(self) -> None:
        """Write what waits in memory to its database. Any thread."""
        with self._settling:
            rows = [*self._fresh]
            self._fresh.clear()
            memory = self._memory
            if rows and memory is not None:
                self._insert_each(memory, rows)
                self._bound_memory(memory)

    def _insert_each(self, memory: Database, rows: Sequence[Row]) -> None:
        """Insert them. One that cannot be stored, which is a mistake of ours, costs no other one."""
        try:
            memory.insert(rows)
        except Exception as error:  # noqa: BLE001 - told below, of the one row that it is about
            if len(rows) == 1:
                self._on_warning(f"activity: a row cannot be stored: {error!r}")
                return
            for row in rows:
                self._insert_each(memory, [row])

    # -- file and memory --

    def _try_file(self) -> bool:
        """Whether the file is open now; it is opened if that may be tried again."""
        path, fault = self._settings.path, self._fault_of_file()
        if fault is not None:
            self._give_up(fault)
        if self._file is not None:
            return True
        if path is None or self._has_left or self._clock() < self._next_try:
            return False
        try:
            self._open(path)
        except Troubles as error:
            if not (is_corrupt(error) and self._set_aside(path, error) and self._can_open(path)):
                self._degrade(error)
                return False
        return True

    def _fault_of_file(self) -> Exception | None:
        """Why the file that is open is of no use any more."""
        path, fault, self._fault = self._settings.path, self._fault, None
        if self._file is None or path is None:
            return None
        found = identity_of(path)
        if fault is None and None not in (found, self._identity) and found != self._identity:
            self._turn_to_memory()  # nobody reads it any more
            self._file.empty_log()  # which has the name of the next one's
            self._is_other_next = True
            return UnusableStore("it was removed, or another file has taken its place")
        return fault

    def _open(self, path: Path) -> None:
        """Open the file, and write to it what is in memory; raises Troubles."""
        file = self._open_at(path)
        try:
            if self._is_other_next:
                self._is_other_next = False
                self._on_other_file(self._first_in_memory())
            moved = self._move(file)
            file.go_on_from(self._last_id)
        except BaseException:
            file.close()
            raise
        self._file, self._identity, self._pause = file, identity_of(path), FIRST_PAUSE
        self._last_id = file.last_id
        self._readers.read_file(path)
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._is_told:
            self._is_told = False
            rows = f"; {moved} rows that were in memory are written" if moved else ""
            self._on_info(f"store.path: activity is kept in {self._settings.shown_path} again{rows}")

    def _can_open(self, path: Path) -> bool:
        try:
            self._open(path)
        except Troubles:
            return False
        return True

    def _first_in_memory(self) -> int:
        """The id of the first row that is only there; where there is none, one that no row has."""
        self._settle()
        rows = [] if self._memory is None else select_rows(self._memory.connection, "ORDER BY id LIMIT 1")
        return rows[0].id if rows else self._last_id + 1

    def _move(self, file: Database) -> int:
        """Write what is in memory to the file; how many rows. What is written is in memory no more.

        A row that gets another id gets none that one of ours has: captures are known by them.
        """
        self._settle()
        count, memory = 0, self._memory
        while memory is not None and (rows := select_rows(memory.connection, "ORDER BY id LIMIT ?", (STEP_ROWS,))):
            stored = file.insert(rows, above=self._last_id)
            self._last_id = max(self._last_id, stored[-1].id)
            memory.remove_oldest(len(rows))
            count += len(rows)
            renumbered = {old.id: new.id for old, new in zip(rows, stored, strict=True) if old.id != new.id}
            if renumbered:
                self._on_renumbered(renumbered)
        return count

    def _turn_to_memory(self) -> Database:
        memory = self._memory
        if memory is None:
            memory = self._memory = open_memory()
            memory.go_on_from(self._last_id)
            self._readers.read_memory(memory.connection, memory.lock)
        return memory

    def _give_up(self, error: BaseException) -> None:
        """The file cannot be used any more: go on in memory."""
        path = self._settings.path
        self._leave_file()
        assert path is not None
        if not (is_corrupt(error) and self._set_aside(path, error) and self._can_open(path)):
            self._degrade(error)

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._turn_to_memory()

    def _degrade(self, error: BaseException) -> None:
        self._next_try = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if not self._is_told:
            self._is_told = True
            shown = self._settings.shown_path
            self._on_warning(f"store.path: {shown} cannot be used: {error}; until it can, activity is kept in memory")

    def _set_aside(self, path: Path, error: BaseException) -> bool:
        """Rename the file and what belongs to it; whether that could be done."""
        date = datetime.fromtimestamp(self._wall()).strftime("%Y%m%d-%H%M%S")  # noqa: DTZ006 - that of the user
        name = f"{path.name}.corrupt-{date}"
        while path.with_name(name).exists():
            name += "-again"
        try:
            path.rename(path.with_name(name))
            for suffix in ("-wal", "-shm"):
                beside = path.with_name(path.name + suffix)
                if beside.exists():
                    beside.rename(path.with_name(name + suffix))
        except OSError:
            return False
        self._is_other_next = True
        shown = self._settings.shown_path
        self._on_warning(f"store.path: {shown} is damaged ({error}): it is now called {name}, and a new one is begun")
        return True

    def _tell_of_others(self, file: Database) -> None:
        if file.others_wrote and not self._has_told_of_others:
            self._has_told_of_others = True
            shown = self._settings.shown_path
            self._on_warning(f"store.path: another program writes to {shown} too; give each a file of its own")
