"""The values that there are to filter by: of each facet those that rows have, and how many have them.

Any thread, with a connection that `Store.reading` lends; SQLite counts. What is filtered by one facet does not count
for that facet, so that its other values can be seen: it has those of the rows that all other filters mean. Guarantees:
without a filter the counts are known and need no counting; with one the newest MOST_ROWS rows that it means are
counted, so that the time is bounded, and it is said where that was not all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .queries import conditions_of
from .query import Filter
from .schema import FIELDS, STATUS_FIELD

MOST_VALUES = 100  # of one facet; the most frequent ones
ALL = Filter()
MOST_ROWS = 100_000  # that are counted for one facet
# Facet, which is a column -> what of a filter is its own
FACETS = {
    "model": "models", "status": "statuses", "path": "paths", "key": "keys", "session": "sessions", "ended": "endings",
}  # fmt: skip

_Counted = Sequence[tuple[Any, int]]  # values, the most frequent first


def facets_of(
    connection: sqlite3.Connection,
    filter_: Filter = ALL,
    most_rows: int = MOST_ROWS,
) -> dict[str, Any]:
    """Of each facet the values, the most frequent first, and whether rows were left out."""
    counted: dict[str, _Counted] = {}
    is_capped = False
    for other, names in _by_filter(filter_).items():
        if other == ALL:
            counted |= _known(connection, names)
            continue
        found, is_cut = _count(connection, other, names, most_rows)
        counted |= found
        is_capped |= is_cut
    return {
        **{name: [{"value": value, "count": count} for value, count in counted[name]] for name in FACETS},
        "capped": is_capped,
    }


def _by_filter(filter_: Filter) -> Mapping[Filter, list[str]]:
    """The filters that rows have to pass for a facet, each with the facets that it is for."""
    names: dict[Filter, list[str]] = {}
    for name, own in FACETS.items():
        names.setdefault(filter_.without(own), []).append(name)
    return names


def _known(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, _Counted]:
    sql = "SELECT text, count FROM texts WHERE field = ? AND count > 0 ORDER BY count DESC, text LIMIT ?"
    found: dict[str, _Counted] = {}
    for name in names:
        counted = connection.execute(sql, (FIELDS.get(name, STATUS_FIELD), MOST_VALUES)).fetchall()
        found[name] = [(int(text), count) for text, count in counted] if name == "status" else counted
    return found


def _count(
    connection: sqlite3.Connection, filter_: Filter, names: Sequence[str], most_rows: int
) -> tuple[dict[str, _Counted], bool]:
    """By facet; and whether there were too many rows to count."""
    where = conditions_of(connection, filter_)
    if not where.can_match:
        return dict.fromkeys(names, ()), False
    meant = f"SELECT {', '.join(names)} FROM requests {where.sql} ORDER BY requests.id DESC LIMIT {most_rows + 1}"
    parts = ["SELECT '', count(*), '' FROM meant", *map(_part, names)]
    found: dict[str, list[tuple[Any, int]]] = {name: [] for name in ("", *names)}
    for name, count, value in connection.execute(f"WITH meant AS ({meant}) {' UNION ALL '.join(parts)}", where.values):
        found[name].append((value, count))
    ((_, row_count),) = found.pop("")
    return {name: sorted(of, key=lambda pair: (-pair[1], pair[0])) for name, of in found.items()}, row_count > most_rows


def _part(name: str) -> str:
    """The SELECT of one facet."""
    is_value = "true" if name == "status" else f"{name} > 0"  # 0 stands for ''
    counted = (
        f"SELECT {name} AS value, count(*) AS rows FROM meant WHERE {is_value}"
        f" GROUP BY {name} ORDER BY rows DESC LIMIT {MOST_VALUES}"
    )
    if name == "status":
        return f"SELECT 'status', rows, value FROM ({counted})"
    return f"SELECT '{name}', rows, text FROM ({counted}) JOIN texts ON texts.id = value"
