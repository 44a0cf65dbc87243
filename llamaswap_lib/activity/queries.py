"""Answers to questions about rows: which rows a filter means, and a page of them.

Any thread, with a connection that `Store.reading` lends. Guarantees: SQLite does what takes time, and the interpreter
is free meanwhile; how many rows there are is looked up where it is known, not counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from .database import select_rows
from .periods import ALL_MODELS
from .query import Filter, Query, any_of
from .row import Row, storable
from .schema import FIELDS, STATUS_FIELD

MOST_RANKS = 50  # texts of a column, up to which each is compared with all
_PLAIN = {"models": "model", "paths": "path", "sessions": "session", "keys": "key", "endings": "ended"}
_PARTIAL = ("session",)  # whose index leaves out rows without one


class Conditions(NamedTuple):
    """What stands behind WHERE, with its values; `can_match` is False where no row can be meant."""

    sql: str = ""
    values: tuple[object, ...] = ()
    can_match: bool = True


def conditions_of(connection: sqlite3.Connection, filter_: Filter) -> Conditions:
    """The conditions of a filter in SQL. Names that no row has are seen here."""
    parts: list[str] = []
    values: list[object] = []
    for kind, column in _PLAIN.items():
        if wanted := getattr(filter_, kind):
            numbers = numbers_of(connection, column, wanted)
            if not numbers:
                return Conditions(can_match=False)
            parts.append(any_of(column, numbers) + (f" AND {column} > 0" if column in _PARTIAL else ""))
            values += numbers
    if filter_.text:
        columns = [column for column in ("model", "path", "error") if _has_text(connection, column, filter_.text)]
        if not columns:
            return Conditions(can_match=False)
        parts.append("(" + " OR ".join(f"{column} IN (SELECT id {_WITH_TEXT})" for column in columns) + ")")
        if columns == ["error"]:
            parts.append("error > 0")  # the condition of its index
        values += [value for column in columns for value in (FIELDS[column], storable(filter_.text))]
    for sql, value in (
        ("duration_ms >= ?", filter_.min_duration_ms),
        ("timestamp >= ?", filter_.start),
        ("timestamp <= ?", filter_.end),
        ("requests.id >= ?", filter_.min_id),
        ("requests.id <= ?", filter_.max_id),
    ):
        if value is not None:
            parts.append(sql)
            values.append(value)
    _add_statuses(filter_, parts, values)
    return Conditions(f"WHERE {' AND '.join(parts)}" if parts else "", tuple(values))


def _add_statuses(filter_: Filter, parts: list[str], values: list[object]) -> None:
    included = [one for one in filter_.statuses if not one.is_excluded]
    if included:
        parts.append("(" + " OR ".join(["status BETWEEN ? AND ?"] * len(included)) + ")")
    excluded = [one for one in filter_.statuses if one.is_excluded]
    parts += ["status NOT BETWEEN ? AND ?"] * len(excluded)
    for one in (*included, *excluded):
        values += [one.lowest, one.highest]


def numbers_of(connection: sqlite3.Connection, column: str, texts: Sequence[str]) -> list[int]:
    """The numbers of those texts that some row has in the column."""
    known = [*map(storable, texts)]
    sql = f"SELECT id FROM texts WHERE field = ? AND {any_of('text', known)}"
    return [number for (number,) in connection.execute(sql, (FIELDS[column], *known))]


# Not LIKE, for which a text ends at its first NUL: the one that is looked for, and those that are stored.
_WITH_TEXT = "FROM texts WHERE field = ? AND instr(lower(text), lower(?))"


def _has_text(connection: sqlite3.Connection, column: str, part: str) -> bool:
    """Whether `part` is in a text of the column, in whatever case."""
    found = connection.execute(f"SELECT EXISTS (SELECT 1 {_WITH_TEXT})", (FIELDS[column], storable(part)))
    return bool(found.fetchone()[0])


# -- pages --


class Page(NamedTuple):
    """Some of the rows that are meant, and how many there are of them."""

    rows: Sequence[Row]
    total: int


def page_of(connection: sqlite3.Connection, query: Query) -> Page:
    """The page that is asked for."""
    where = conditions_of(connection, query.filter)
    if not where.can_match:
        return Page((), 0)
    offset = (query.page - 1) * query.limit
    total = known_total(connection, query.filter)
    if total is not None and offset >= total:
        return Page((), total)
    ids = _ids_of(connection, query, where, offset)
    if total is None:
        if ids and len(ids) < query.limit:
            total = offset + len(ids)
        elif ids or offset:
            (total,) = connection.execute(f"SELECT count(*) FROM requests {where.sql}", where.values).fetchone()
        else:
            total = 0
    found = {row.id: row for row in select_rows(connection, f"WHERE {any_of('id', ids)}", ids)} if ids else {}
    return Page([found[number] for number in ids], total)


def _ids_of(connection: sqlite3.Connection, query: Query, where: Conditions, offset: int) -> list[int]:
    way = "DESC" if query.is_descending else "ASC"
    column, source = query.sort, "requests"
    if column == "model" and not where.sql:  # one model after the other, as they lie in the index
        source = f"texts CROSS JOIN requests ON requests.model = texts.id AND texts.field = {FIELDS['model']}"
        column = "texts.text"
    elif column in FIELDS:
        column, source = _sorted_by_text(connection, column)
    order = f"requests.id {way}" if column == "id" else f"{column} {way}, requests.id {way}"
    sql = f"SELECT requests.id FROM {source} {where.sql} ORDER BY {order} LIMIT ? OFFSET ?"
    return [number for (number,) in connection.execute(sql, (*where.values, query.limit, offset))]


def _sorted_by_text(connection: sqlite3.Connection, column: str) -> tuple[str, str]:
    """What to sort by, and in which tables it is, so that the texts count and not their numbers."""
    sql = "SELECT id FROM texts WHERE field = ? ORDER BY text LIMIT ?"
    numbers = [number for (number,) in connection.execute(sql, (FIELDS[column], MOST_RANKS + 1))]
    if len(numbers) > MOST_RANKS:
        return "texts.text", f"requests LEFT JOIN texts ON texts.id = requests.{column}"
    ranks = " ".join(f"WHEN {number} THEN {rank}" for rank, number in enumerate(numbers))  # faster than to look up
    return f"CASE {column} {ranks} ELSE -1 END" if ranks else column, "requests"


def known_total(connection: sqlite3.Connection, filter_: Filter) -> int | None:
    """How many rows are meant, where that is known without counting them."""
    used = {name for name, value in filter_._asdict().items() if value not in ((), "", None)}
    if not used:
        return _total(connection)
    if used <= {"min_id", "max_id"}:
        return _total_between(connection, filter_.min_id or 1, filter_.max_id)
    if used == {"statuses"}:
        where = conditions_of(connection, filter_)
        counted = f"SELECT CAST(text AS INTEGER) AS status, count FROM texts WHERE field = {STATUS_FIELD}"
        sql = f"SELECT ifnull(sum(count), 0) FROM ({counted}) {where.sql}"
        return int(connection.execute(sql, where.values).fetchone()[0])
    if len(used) == 1 and (kind := used.pop()) in _PLAIN:
        column, texts = _PLAIN[kind], getattr(filter_, kind)
        numbers = numbers_of(connection, column, texts)
        sql = f"SELECT ifnull(sum(count), 0) FROM texts WHERE {any_of('id', numbers)}"
        return int(connection.execute(sql, numbers).fetchone()[0])
    return None


def _total(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT requests FROM totals WHERE model = ?", (ALL_MODELS,)).fetchone()
    return int(found[0]) if found else 0


def _total_between(connection: sqlite3.Connection, lowest: int, highest: int | None) -> int | None:
    """Ids without a gap need no counting."""
    first, last = connection.execute("SELECT (SELECT min(id) FROM requests), (SELECT max(id) FROM requests)").fetchone()
    if first is None:
        return 0
    if last - first + 1 != _total(connection):
        return None
    end = last if highest is None else min(last, highest)
    return max(0, int(end - max(first, lowest) + 1))
