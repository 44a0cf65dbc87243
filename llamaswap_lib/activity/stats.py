"""Sums and speeds of all rows, or of one model's.

Any thread, with a connection that `Store.reading` lends. Guarantees: what is told is exact, not estimated; of a million
rows only those are looked at whose speed is near to one that is asked for, for how many have which speed is counted in
buckets when they are stored.
"""

from __future__ import annotations

import math
import sqlite3
from bisect import bisect_left, bisect_right
from itertools import accumulate, pairwise
from typing import Any

from .periods import ALL_MODELS
from .row import storable
from .schema import FIELDS, SPEED_KINDS, bucket_of, lowest_of

FEWEST_BINS, MOST_BINS = 5, 20
PERCENTILES = (50, 95, 99)


def stats_of(connection: sqlite3.Connection, model: str = "") -> dict[str, Any]:
    """Of one model, or of all for ''; a model that no row has is no error."""
    number: int | None = ALL_MODELS
    if model:
        sql = "SELECT id FROM texts WHERE field = ? AND text = ?"
        found = connection.execute(sql, (FIELDS["model"], storable(model))).fetchone()
        number = found[0] if found else None
    sql = "SELECT requests, input_tokens, output_tokens, cache_tokens FROM totals WHERE model = ?"
    totals = connection.execute(sql, (number,)).fetchone() or (0, 0, 0, 0)
    names = ("total_requests", "total_input_tokens", "total_output_tokens", "total_cache_tokens")
    return {
        **dict(zip(names, totals, strict=True)),
        "prompt_histogram": histogram_of(connection, "prompt_per_second", number),
        "gen_histogram": histogram_of(connection, "tokens_per_second", number),
    }


def histogram_of(connection: sqlite3.Connection, column: str, model: int | None) -> dict[str, Any] | None:
    """Of the speeds above 0: bins of equal width by Sturges' rule, and percentiles; None where there are none."""
    speeds = _Speeds(connection, column, model)
    if not speeds.count:
        return None
    lowest, highest = speeds.at(0), speeds.at(speeds.count - 1)
    percentiles = {f"p{percent}": speeds.percentile(percent) for percent in PERCENTILES}
    if lowest == highest:
        return {"bins": [speeds.count], "min": lowest, "max": highest, "binSize": 0, **percentiles}
    bins = max(FEWEST_BINS, min(MOST_BINS, math.ceil(math.log2(speeds.count)) + 1))
    width = (highest - lowest) / bins
    below = [0, *(speeds.below(lowest + width * number) for number in range(1, bins)), speeds.count]
    counts = [after - before for before, after in pairwise(below)]
    return {"bins": counts, "min": lowest, "max": highest, "binSize": width, **percentiles}


class _Speeds:
    """The speeds above 0 of a column, in order, as if they were a list."""

    def __init__(self, connection: sqlite3.Connection, column: str, model: int | None) -> None:
        self._connection = connection
        self._column = column
        self._model = model
        sql = "SELECT bucket, count FROM speeds WHERE kind = ? AND model = ? ORDER BY bucket"
        counted = connection.execute(sql, (SPEED_KINDS[column], model)).fetchall()
        self._buckets = [bucket for bucket, _ in counted]
        self._ends = [*accumulate(count for _, count in counted)]  # how many there are up to the end of each bucket
        self.count = self._ends[-1] if self._ends else 0

    def at(self, place: int) -> float:
        """The speed at a place, which counts from 0."""
        index = bisect_right(self._ends, place)
        bucket, before = self._buckets[index], self._ends[index - 1] if index else 0
        where, values = self._between(lowest_of(bucket), lowest_of(bucket + 1))
        sql = f"SELECT {self._column} FROM requests {where} ORDER BY {self._column} LIMIT 1 OFFSET ?"
        return float(self._connection.execute(sql, (*values, place - before)).fetchone()[0])

    def percentile(self, percent: int) -> float:
        """By linear interpolation between the two nearest."""
        place = percent / 100 * (self.count - 1)
        lower = int(place)
        speed = self.at(lower)
        return speed if lower == place else speed + (place - lower) * (self.at(lower + 1) - speed)

    def below(self, speed: float) -> int:
        """How many are lower."""
        bucket = bucket_of(speed)
        index = bisect_left(self._buckets, bucket)
        before = self._ends[index - 1] if index else 0
        if index == len(self._buckets) or self._buckets[index] != bucket or speed == lowest_of(bucket):
            return before
        where, values = self._between(lowest_of(bucket), speed)
        (count,) = self._connection.execute(f"SELECT count(*) FROM requests {where}", values).fetchone()
        return before + int(count)

    def _between(self, lowest: float, end: float) -> tuple[str, tuple[object, ...]]:
        where = f"WHERE {self._column} >= ? AND {self._column} < ?"
        if self._model == ALL_MODELS:
            return where, (lowest, end)
        return f"{where} AND +model = ?", (lowest, end, self._model)  # the plus: not by the index of models
