"""The activity of the program: what was asked of it, and how that went. One object, which outlives reloads.

Owns the writer's thread, the store and the captures. Any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.errors import GatewayTimeout, MachineFault

from .bare_row import bare_row
from .captures import Captures
from .export import described, in_pieces, pieces_of
from .facets import facets_of
from .queries import page_of
from .query import Filter, Query
from .record import Record
from .row import COLUMNS, Row, row_of_values, rows_of_table
from .series import Span, series_of
from .stats import stats_of
from .store import Store, StoreSettings
from .writer import Listener, Writer

FLUSH_TIMEOUT = 2.0  # seconds that a question waits for what was appended before it
CLEAR_TIMEOUT = 60.0  # seconds
PAUSE_TIMEOUT = 5.0  # seconds


class JournalSettings(NamedTuple):
    """What the configuration says. No `capture_bytes` means that nothing is captured."""

    store: StoreSettings = StoreSettings()
    capture_bytes: int = 0


def _nothing(_: str) -> None: ...


class Journal:
    """Takes a record of each request, and answers questions about them."""

    def __init__(
        self,
        settings: JournalSettings = JournalSettings(),  # noqa: B008 - it is never changed
        row_of: Callable[[Record], Row] = bare_row,
        *,
        on_error: Callable[[str], None] = _nothing,
        on_warning: Callable[[str], None] = _nothing,
        on_info: Callable[[str], None] = _nothing,
    ) -> None:
        self.wall = time.time  # seconds since 1970
        self._settings = settings
        self._captures = Captures(settings.capture_bytes)
        self._store = Store(
            settings.store,
            on_warning=on_warning,
            on_info=on_info,
            on_renumbered=self._captures.renumber,
            on_other_file=self._captures.forget_before,
        )
        self._writer = Writer(self._store, self._captures, row_of, on_error)
        self.gather: Callable[[], object] = lambda: None  # has other processes hand over their rows
        self.append = self._writer.append
        self.has_room = self._writer.has_room
        self._is_decided = threading.Event()  # what becomes of the rows, while it pauses

    @property
    def captures(self) -> bool:
        """Whether bodies and headers of requests are wanted."""
        return self._settings.capture_bytes > 0

    def listen(self, listener: Listener) -> None:
        """Have it told of rows that have been stored; before the start."""
        self._writer.listen(listener)

    def start(self) -> None:
        self._writer.start()

    def close(self, timeout: float) -> bool:
        """Write all that was appended; whether that was done in so many seconds."""
        return self._writer.close(timeout)

    def change(self, settings: JournalSettings) -> None:
        """Go by other settings soon."""
        if settings == self._settings:
            return
        self._settings = settings

        def change() -> None:
            self._captures.change(settings.capture_bytes)
            self._store.change(settings.store)

        self._writer.post(change)

    def clear(self) -> int:
        """Forget all rows and captures; how many rows there were.

        Raises ServiceUnavailable where the file cannot be emptied, and GatewayTimeout where that takes too long.
        """
        counts: list[int] = []
        self.gather()

        def clear() -> None:
            self._captures.clear()
            counts.append(self._store.clear())

        if not self._writer.do(clear, CLEAR_TIMEOUT):
            raise GatewayTimeout("the store of activity is not empty yet: the disk takes its time")
        return counts[0]

    # -- an upgrade: another process goes on with the rows --

    def pause(self) -> dict[str, Any]:
        """Write all, leave the file, and write nothing more until `go_on` or `hand_on`; what the other process needs.

        Raises MachineFault where the disk takes too long; then it goes on by itself.
        """
        told: dict[str, Any] = {"last_id": 0, "columns": COLUMNS, "rows": [], "captures": []}
        is_paused, self._is_decided = threading.Event(), threading.Event()
        is_decided = self._is_decided

        def pause() -> None:
            last_id, rows = self._store.leave()
            told.update(last_id=last_id, rows=rows, captures=self._captures.packed())
            is_paused.set()
            is_decided.wait()
            if self._writer.heir is None:
                self._store.come_back()

        self._writer.post(pause)
        if not self._writer.is_alive or is_paused.wait(PAUSE_TIMEOUT):
            return told
        is_decided.set()
        raise MachineFault("the store of activity does not take its last rows in time")

    def go_on(self) -> None:
        """As if it had not paused."""
        self._is_decided.set()

    def hand_on(self, heir: Callable[[Mapping[str, Any], str | None], None]) -> None:
        """Give each row to the other process from now on, with its capture."""

        def give(records: Sequence[Record | None], rows: Sequence[Row]) -> None:
            for record, row in zip(records, rows, strict=True):
                heir(row._asdict(), None if record is None else self._captures.packed_of(record))

        self._writer.heir = self._writer.heir_of_others = give
        self._is_decided.set()

    def inherit(self, told: Mapping[str, Any]) -> None:
        """Before the start: go on with what another process has told at its pause; raises KeyError and ValueError."""
        rows = rows_of_table(told["columns"], told["rows"])
        last_id, captures = int(told["last_id"]), [(int(row_id), str(packed)) for row_id, packed in told["captures"]]
        self._store.inherit(last_id, rows)
        for row_id, packed in captures:
            self._captures.unpack(row_id, packed)

    def take(self, values: Mapping[str, Any], packed: str | None) -> None:
        """A row of another process, and its capture."""
        self._writer.post(lambda: self._writer.take(row_of_values(values), packed))

    # -- workers: one process stores the rows that others make --

    def hand_to(self, parent: Callable[[Sequence[Record], Sequence[Row]], None]) -> None:
        """Store nothing: give rows, and what they were made of, to another process; they are to be read at once."""
        self._writer.heir = parent

    def take_all(self, rows: Sequence[Row], records: Sequence[Record | None]) -> None:
        """Rows of another process; a record where a capture may be wanted."""
        self._writer.post(lambda: self._writer.take_all(rows, records))

    # -- questions; each sees what was appended before it, and raises ServiceUnavailable --

    def flush(self) -> None:
        """Have all stored, or given away, that was appended before; blocks."""
        self.gather()
        self._writer.flush(FLUSH_TIMEOUT)

    def page(self, query: Query) -> dict[str, Any]:
        """A page of rows."""
        self.flush()
        with self._store.reading() as connection:
            page = page_of(connection, query)
        return {
            "data": [
                described(row, has_capture=self._captures.has(row.id)) for rows in in_pieces(page.rows) for row in rows
            ],
            "page": query.page,
            "limit": query.limit,
            "total": page.total,
            "total_pages": -(-page.total // query.limit),
        }

    def export(self, query: Query) -> Iterator[bytes]:
        """All rows of the query, in pieces."""
        self.flush()
        return pieces_of(self._store, query, self._captures.has)

    def stats(self, model: str) -> dict[str, Any]:
        """Of one model, or of all for ''."""
        self.flush()
        with self._store.reading() as connection:
            return stats_of(connection, model)

    def facets(self, filter_: Filter) -> dict[str, Any]:
        """Values to filter by, of the rows that the filter means."""
        self.flush()
        with self._store.reading() as connection:
            return facets_of(connection, filter_)

    def series(self, span: Span) -> dict[str, Any]:
        """Figures over time."""
        self.flush()
        with self._store.reading() as connection:
            return series_of(connection, span)

    def capture(self, row_id: int) -> Iterator[bytes] | None:
        """What was captured of a request, as JSON in pieces; None for nothing."""
        self.flush()
        return self._captures.get(row_id)
