"""Figures of rows, added up when they are stored: for each PERIOD_SECONDS of time and each model, and for all models.

With a connection to a database, in the transaction that changes the rows. So a question about a month reads some
thousand sums, not a million rows. Guarantees: the sums are those of the rows; where a row was removed the sum of its
period is not whole any more (the most of something cannot be taken back), and says so; it goes with the last of its
rows, so there are never more than two for each row.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

ALL_MODELS = -1  # in the tables of sums, beside the numbers of models
PERIOD_SECONDS = 300
_CUT = f"CAST(timestamp / {PERIOD_SECONDS} AS INTEGER)"
PERIOD = f"({_CUT} - (timestamp < {PERIOD_SECONDS} * {_CUT}))"  # of a row: the whole number below it, exactly

# Name of a sum -> how it is made of rows: the columns of the table behind `model`, `period` and `is_whole`.
# total() and not sum(), which raises an error where an upstream reports numbers without measure.
SUMS = {
    "requests": "count(*)",
    "errors": "sum(status >= 400)",
    "input_tokens": "total(max(input_tokens, 0))",
    "output_tokens": "total(max(output_tokens, 0))",
    "cache_tokens": "total(max(cache_tokens, 0))",
    "prompt_speeds": "sum(prompt_per_second > 0)",
    "prompt_speed": "total(max(prompt_per_second, 0))",
    "speeds": "sum(tokens_per_second > 0)",
    "speed": "total(max(tokens_per_second, 0))",
    "duration_ms": "total(duration_ms)",
    "first_tokens": "sum(first_token_ms >= 0)",
    "first_token_ms": "total(max(first_token_ms, 0))",
    "queue_ms": "total(queue_ms)",
    "max_queue_ms": "max(queue_ms)",
    "loads": "sum(load_ms > 0)",
    "load_ms": "total(max(load_ms, 0))",
}
_MOSTS = ("max_queue_ms",)  # the others are added up

OF_ROWS = ", ".join(SUMS.values())  # what a SELECT takes of rows
OF_PERIODS = ", ".join(f"max({name})" if name in _MOSTS else f"total({name})" for name in SUMS)  # of whole periods

_SUM_UP = f"SELECT model, {PERIOD} AS period, {OF_ROWS} FROM requests WHERE id BETWEEN ? AND ? GROUP BY model, period"
_ADD = (
    f"INSERT INTO periods VALUES (?, ?, 1{', ?' * len(SUMS)}) ON CONFLICT (model, period) DO UPDATE SET "
    + ", ".join(
        f"{name} = max({name}, excluded.{name})" if name in _MOSTS else f"{name} = {name} + excluded.{name}"
        for name in SUMS
    )
)
_TAKE_AWAY = "UPDATE periods SET requests = requests - ?, is_whole = 0 WHERE model = ? AND period = ?"
_FORGET = "DELETE FROM periods WHERE model = ? AND period = ? AND requests <= 0"


def period_of(timestamp: float) -> int:
    """The number of the period that a moment (seconds since 1970) is in; the same as PERIOD says in SQL."""
    return int(timestamp // PERIOD_SECONDS)


def add(connection: sqlite3.Connection, first_id: int, last_id: int) -> None:
    """Add the rows with these ids, which have just been stored."""
    of_each = connection.execute(_SUM_UP, (first_id, last_id)).fetchall()
    of_all: dict[int, list[Sequence[float | None]]] = {}
    for _, period, *sums in of_each:
        of_all.setdefault(period, []).append(sums)
    connection.executemany(_ADD, of_each)
    connection.executemany(_ADD, [(ALL_MODELS, at, *added_up(parts).values()) for at, parts in of_all.items()])


def take_away(connection: sqlite3.Connection, models: Sequence[int], timestamps: Sequence[float]) -> None:
    """Rows of these models and moments are removed."""
    removed: Counter[tuple[int, int]] = Counter()
    for model, timestamp in zip(models, timestamps, strict=True):
        period = period_of(timestamp)
        removed[model, period] += 1
        removed[ALL_MODELS, period] += 1
    connection.executemany(_TAKE_AWAY, [(count, *at) for at, count in removed.items()])
    connection.executemany(_FORGET, list(removed))


def added_up(parts: Sequence[Sequence[float | None]]) -> dict[str, float]:
    """The sums of several SELECTs of OF_ROWS and OF_PERIODS, by name."""
    sums = {name: value or 0 for name, value in zip(SUMS, parts[0], strict=True)}
    for part in parts[1:]:
        for name, value in zip(SUMS, part, strict=True):
            sums[name] = max(sums[name], value or 0) if name in _MOSTS else sums[name] + (value or 0)
    return sums
