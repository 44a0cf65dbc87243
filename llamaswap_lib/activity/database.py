"""One open database of rows, in a file or in memory, with the connection of the one thread that writes.

The writer's thread; others may read with `connection` while they hold `lock`. Guarantees: rows and all that is counted
of them change together or not at all; ids only rise, over restarts too, also after rows were removed; what cannot be
stored as it is (a number out of range, half a character) is stored as near to it as can be. Raises sqlite3.Error where
the database cannot be used, and is then as it was before.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from . import periods
from .connections import BUSY_TIMEOUT, connect
from .periods import ALL_MODELS
from .row import COLUMNS, Row, numbered, storable
from .schema import APPLICATION_ID, FIELDS, SPEED_KINDS, STATUS_FIELD, STEPS, bucket_of

MOST_TEXTS_KNOWN = 20_000  # numbers of texts that are remembered
BLOCK_ROWS = 999 // len(COLUMNS)  # in one statement: older versions of SQLite take 999 values
CACHE_KIB = 500  # of pages of the file in memory, for the thread that writes; the system has them too
LOG_BYTES = 16 << 20  # to which the write-ahead log is cut
_MOST = 2**53  # of a number, either way: every JSON parser still reads it as it is

_Columns = Sequence[Sequence[Any]]  # of some rows, in the order of COLUMNS
_PLACE = {name: place for place, name in enumerate(COLUMNS)}
_TEXTS = tuple((_PLACE[name], field) for name, field in FIELDS.items())
_NUMBERS = tuple(place for name, place in _PLACE.items() if name not in FIELDS)
_MODEL, _STATUS, _TIMESTAMP = _PLACE["model"], _PLACE["status"], _PLACE["timestamp"]
_MODEL_FIELD = FIELDS["model"]
_TOKENS = tuple(_PLACE[name] for name in ("input_tokens", "output_tokens", "cache_tokens"))
_SPEEDS = tuple((_PLACE[name], kind) for name, kind in SPEED_KINDS.items())

_LAST_ID = "SELECT seq FROM sqlite_sequence WHERE name = 'requests'"
_VALUES = f"({', '.join('?' * len(COLUMNS))})"
# With ROLLBACK, which our transactions do anyway, SQLite need not be able to take back one statement. For that it
# kept a copy of each page that many rows changed, in a temporary file.
_INSERT = f"INSERT OR ROLLBACK INTO requests ({', '.join(COLUMNS)}) VALUES {_VALUES}"
_INSERTS = {rows: _INSERT + f", {_VALUES}" * (rows - 1) for rows in (BLOCK_ROWS, BLOCK_ROWS // 3, BLOCK_ROWS // 9, 1)}
_OLDEST = f"SELECT {', '.join(COLUMNS)} FROM requests ORDER BY id LIMIT ?"
_BEFORE = f"SELECT {', '.join(COLUMNS)} FROM requests WHERE timestamp < ? ORDER BY timestamp, id LIMIT ?"
_COUNT_TEXT = "UPDATE texts SET count = count + ? WHERE id = ?"
_COUNT_TOTAL = """
INSERT INTO totals (model, requests, input_tokens, output_tokens, cache_tokens) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (model) DO UPDATE SET requests = requests + excluded.requests,
input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
cache_tokens = cache_tokens + excluded.cache_tokens
"""
_COUNT_SPEED = """
INSERT INTO speeds (kind, model, bucket, count) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, model, bucket) DO UPDATE SET count = count + excluded.count
"""


class UnusableStore(Exception):
    """The file is sound, but none of ours: the text says what it is."""


def is_corrupt(error: BaseException) -> bool:
    """Whether it says that the file is broken, or no database; not that it cannot be read or written just now."""
    text = str(error)
    return isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text)


def _storable_number(number: float) -> float:
    """One that SQLite and every reader of JSON take as it is."""
    return -1 if math.isnan(number) else max(-_MOST, min(number, _MOST))


def _totals_of(models: Sequence[int], tokens: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """By model and for all: how many rows, and the sums of their tokens."""
    totals: dict[int, list[int]] = {ALL_MODELS: [0] * (1 + len(tokens))}
    for model, *counts in zip(models, *tokens, strict=True):
        total = totals.get(model)
        if total is None:
            total = totals[model] = [0] * (1 + len(tokens))
        total[0] += 1
        for number, count in enumerate(counts, 1):
            if count > 0:
                total[number] += count
    totals[ALL_MODELS] = [*map(sum, zip(*totals.values(), strict=True))]
    return totals


class Database:
    """Rows, and what is counted of them."""

    def __init__(self, connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
        """The connection is closed with this; raises sqlite3.Error, and closes nothing then."""
        self.connection = connection
        self.lock = threading.RLock()
        self._known: dict[int, dict[str | None, int]] = {field: {} for field in (*FIELDS.values(), STATUS_FIELD)}
        self._version_of_data = self._ask("PRAGMA data_version")
        self.others_wrote = False  # another program has written to the file
        self.is_clean = True  # nothing is on the disk of rows that were to be forgotten
        self._upgrade(steps)

    # -- reading --

    def _ask(self, sql: str, *values: object) -> Any:
        found = self.connection.execute(sql, values).fetchone()
        return None if found is None else found[0]

    @property
    def last_id(self) -> int:
        """Of the newest row that there ever was; 0 if there was none."""
        return self._ask(_LAST_ID) or 0

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._ask("SELECT requests FROM totals WHERE model = ?", ALL_MODELS) or 0

    # -- writing --

    def insert(self, rows: Sequence[Row], above: int = 0) -> list[Row]:
        """Store them; they get ids that follow the last one, but for those whose id is higher already.

        If the first of them needs another id, all get one `above` that.
        """
        with self._transaction():
            self._look_for_others()
            last, stored = self.last_id, []
            if rows and rows[0].id <= last:
                last = max(last, above)
            for row in rows:
                last = row.id if row.id > last else last + 1
                stored.append(row if row.id == last else numbered(row, last))
            columns = self._columns_of(stored)
            self._insert(columns)
            self._count(columns, 1)
        return stored

    def _insert(self, columns: _Columns) -> None:
        """Many with one statement: with each of them this thread gives up the interpreter, and gets it back later."""
        values = [*chain.from_iterable(zip(*columns, strict=True))]
        begin = 0
        for rows, sql in _INSERTS.items():
            step = rows * len(columns)
            for end in range(begin + step, len(values) + 1, step):
                self.connection.execute(sql, values[begin:end])
                begin = end

    def remove_oldest(self, most: int) -> int:
        """Remove those with the lowest ids, `most` at most; how many there were."""
        with self._transaction():
            removed = self.connection.execute(_OLDEST, (most,)).fetchall()
            if removed:
                self.connection.execute("DELETE FROM requests WHERE id <= ?", (removed[-1][0],))
                self._count([*zip(*removed, strict=True)], -1)
        return len(removed)

    def remove_before(self, timestamp: float, most: int) -> int:
        """Remove those whose timestamp is before that, `most` at most; how many there were."""
        with self._transaction():
            removed = self.connection.execute(_BEFORE, (timestamp, most)).fetchall()
            if removed:
                columns = [*zip(*removed, strict=True)]
                self.connection.executemany("DELETE FROM requests WHERE id = ?", [(number,) for number in columns[0]])
                self._count(columns, -1)
        return len(removed)

    def clear(self) -> int:
        """Remove all rows, from the disk too; how many there were. Ids go on.

        While another program reads, they stay on the disk: `is_clean` says so, and `clean` tries again.
        """
        with self._transaction():
            count = self.count
            for table in ("requests", "texts", "totals", "speeds", "periods"):
                self.connection.execute(f"DELETE FROM {table}")
            self._forget_numbers()
        with self.lock:
            self.connection.execute("VACUUM")  # what was removed may still be read in the file, until here
        self.is_clean = self.empty_log()
        return count

    def clean(self) -> bool:
        """Remove what is still on the disk of rows that are removed; whether that is done. Waits for nobody."""
        timeout = self._ask("PRAGMA busy_timeout")
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            self.is_clean = self.empty_log()
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {timeout}")
        return self.is_clean

    def go_on_from(self, last_id: int) -> None:
        """Have the next row get a higher id."""
        if last_id > self.last_id:
            with self._transaction():
                self.connection.execute("DELETE FROM sqlite_sequence WHERE name = 'requests'")
                self.connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('requests', ?)", (last_id,))

    def empty_log(self) -> bool:
        """Have all in the file itself and nothing in the log beside it; False where that cannot be done now."""
        with self.lock, suppress(sqlite3.Error):
            (is_busy, *_) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not is_busy
        return False

    def close(self) -> None:
        with self.lock:
            self.connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._forget_numbers()  # some of them may be there no more
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _forget_numbers(self) -> None:
        for known in self._known.values():
            known.clear()

    def _look_for_others(self) -> None:
        version = self._ask("PRAGMA data_version")
        if version != self._version_of_data:
            self._version_of_data = version
            self.others_wrote = True
            self._forget_numbers()

    # -- what is stored --

    def _columns_of(self, rows: Sequence[Row]) -> _Columns:
        """The rows by columns, in the order of COLUMNS: what is done for a whole column costs little for each row."""
        columns: list[Sequence[Any]] = [*zip(*rows, strict=True)]
        for place in _NUMBERS:
            column = {*columns[place]}  # mostly there are a few, which many rows share
            if not (min(column) >= -_MOST and max(column) <= _MOST and math.isfinite(sum(column))):
                columns[place] = [*map(_storable_number, columns[place])]
        for place, field in _TEXTS:
            known = self._known[field]
            columns[place] = [known[text] if text in known else self._number_of(field, text) for text in columns[place]]
        return columns

    def _number_of(self, field: int, text: str | None) -> int | None:
        """The number of a text, which gets one if it has none; 0 for ''."""
        if text is None or (text == "" and field != _MODEL_FIELD):
            return None if text is None else 0
        known = self._known[field]
        if len(known) >= MOST_TEXTS_KNOWN:
            known.clear()
        stored = storable(text)
        found: int | None = self._ask("SELECT id FROM texts WHERE field = ? AND text = ?", field, stored)
        if found is None:
            cursor = self.connection.execute("INSERT INTO texts (field, text, count) VALUES (?, ?, 0)", (field, stored))
            found = cursor.lastrowid
            assert found is not None
        known[text] = found
        return found

    # -- what is counted --

    def _count(self, columns: _Columns, sign: int) -> None:
        """Add the rows to what is counted, or with -1 take them away."""
        texts: Counter[int | None] = Counter()
        for place, _ in _TEXTS:
            texts.update(columns[place])
        del texts[0], texts[None]
        for status, count in Counter(columns[_STATUS]).items():
            texts[self._number_of(STATUS_FIELD, str(status))] += count
        totals = _totals_of(columns[_MODEL], [columns[place] for place in _TOKENS])
        speeds: Counter[tuple[int, int, int]] = Counter()
        for place, kind in _SPEEDS:
            pairs = Counter(
                (model, bucket_of(speed))
                for model, speed in zip(columns[_MODEL], columns[place], strict=True)
                if speed > 0
            )
            for (model, bucket), count in pairs.items():
                speeds[kind, model, bucket] += count
                speeds[kind, ALL_MODELS, bucket] += count
        many = self.connection.executemany
        many(_COUNT_TEXT, [(sign * count, number) for number, count in texts.items()])
        many(_COUNT_TOTAL, [(model, *(sign * part for part in total)) for model, total in totals.items()])
        many(_COUNT_SPEED, [(*at, sign * count) for at, count in speeds.items()])
        if sign > 0:
            periods.add(self.connection, columns[0][0], columns[0][-1])
        else:
            periods.take_away(self.connection, columns[_MODEL], columns[_TIMESTAMP])
            many("DELETE FROM totals WHERE model = ? AND requests <= 0", [(model,) for model in totals])
            many("DELETE FROM speeds WHERE kind = ? AND model = ? AND bucket = ? AND count <= 0", list(speeds))
            self._forget_unused(texts)

    def _forget_unused(self, numbers: Iterable[int | None]) -> None:
        """Remove the texts that no row has any more."""
        for number in numbers:
            unused = self.connection.execute(
                "SELECT field FROM texts WHERE id = ? AND count <= 0", (number,)
            ).fetchone()
            if unused is not None:
                self.connection.execute("DELETE FROM texts WHERE id = ?", (number,))
                self._known[unused[0]].clear()

    # -- versions --

    def _upgrade(self, steps: Sequence[str]) -> None:
        """Bring it to the newest version, in one transaction."""
        if self._ask("PRAGMA user_version") < len(steps):
            with self._transaction():  # which another server may have been faster to begin
                for step in steps[self._ask("PRAGMA user_version") :]:
                    for statement in filter(str.strip, step.split(";\n")):
                        self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {len(steps)}")


# -- reading --


def _column(name: str) -> str:
    """What stands for it in a SELECT."""
    if name not in FIELDS:
        return f"requests.{name}"
    text = f"(SELECT text FROM texts WHERE texts.id = requests.{name})"
    return text if name == "priority" else f"ifnull({text}, '')"


_SELECT = f"SELECT {', '.join(map(_column, COLUMNS))} FROM requests"


def select_rows(connection: sqlite3.Connection, rest: str, values: Sequence[object] = ()) -> list[Row]:
    """The rows that `rest` of a SELECT finds; of captures they know nothing. Raises sqlite3.Error."""
    return [Row._make(values) for values in connection.execute(f"{_SELECT} {rest}", values)]


# -- opening --


def open_memory() -> Database:
    """An empty one, in memory."""
    return Database(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


def open_file(path: Path, busy_timeout: float = BUSY_TIMEOUT, steps: Sequence[str] = STEPS) -> Database:
    """The one in this file, which is made if it is not there, for its owner alone.

    Raises sqlite3.Error, OSError and UnusableStore.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            with suppress(PermissionError):  # it is another user's, who has chosen so
                path.chmod(0o600)
    connection = connect(path, "rw", busy_timeout)
    try:
        _refuse_foreign(connection, len(steps))
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA synchronous = NORMAL")  # a commit survives our end, and that of the system mostly
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}").fetchall()
        return Database(connection, steps)
    except BaseException:
        connection.close()
        raise


def _refuse_foreign(connection: sqlite3.Connection, newest: int) -> None:
    """Raise UnusableStore for a database of another program, or of a version above `newest`; nothing is changed."""
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if count and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise UnusableStore("it is the database of another program")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        raise UnusableStore(f"it was written by a newer llamaswap (version {version} of the store)")


def identity_of(path: Path) -> tuple[int, int] | None:
    """What tells the file of this name from any other; 0, 0 where there is none, None where that cannot be told now."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    except OSError:
        return None
    return found.st_dev, found.st_ino
