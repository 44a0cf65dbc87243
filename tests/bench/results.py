"""What a run of the table came to, and what it means: medians, ranges, ratios, and bounds kept or missed.

A plain value that can be saved as JSON; nothing here measures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.rows import ROWS, Bound, Figure, Row


@dataclass(frozen=True)
class Summary:
    """A median of several runs and its range."""

    middle: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Summary:
        return Summary(median(values), min(values), max(values))


@dataclass(frozen=True)
class Took:
    """Who took part: `kind` as in `Subject`."""

    name: str
    kind: str
    version: str


@dataclass(frozen=True)
class Results:
    """`values[row][figure][subject]` has one number for each run; `failures[row][subject]` says why there is none.

    `machine`, `python` and `date` are text, `load` is the load average before the start, `missing` names rivals that
    are not installed.
    """

    machine: str
    python: str
    date: str
    load: float
    runs: int
    subjects: Sequence[Took]
    missing: Sequence[str]
    values: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
    failures: Mapping[str, Mapping[str, str]]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Results:
        found = json.loads(text)
        return Results(**{**found, "subjects": [Took(**each) for each in found["subjects"]]})

    @property
    def rows(self) -> list[Row]:
        """Those that were measured, in the order of the table."""
        return [row for row in ROWS if row.name in self.values or row.name in self.failures]

    @property
    def ours(self) -> list[Took]:
        return [subject for subject in self.subjects if subject.kind == "ours"]

    def summary(self, row: Row, figure: Figure, name: str) -> Summary | None:
        values = self._of(row, figure, name)
        return Summary.of(values) if values else None

    def ratio(self, row: Row, figure: Figure, name: str, to: str = "direct") -> Summary | None:
        """The figure over that of `to`, run by run."""
        pairs = [*zip(self._of(row, figure, name), self._of(row, figure, to), strict=False)]
        return Summary.of([one / other for one, other in pairs]) if pairs and all(other for _, other in pairs) else None

    def _of(self, row: Row, figure: Figure, name: str) -> Sequence[float]:
        return self.values.get(row.name, {}).get(figure.key, {}).get(name, ())

    def is_kept(self, row: Row, figure: Figure, name: str) -> bool:
        """Whether the median keeps the bound. What was not measured keeps none."""
        bound = figure.bound
        if bound is None:
            return True
        found = self.ratio(row, figure, name) if bound.is_share else self.summary(row, figure, name)
        return found is not None and keeps(found.middle, bound)

    def missed(self) -> Iterator[tuple[Row, Figure, Took]]:
        for row in self.rows:
            for figure in row.figures:
                yield from ((row, figure, ours) for ours in self.ours if not self.is_kept(row, figure, ours.name))


def keeps(value: float, bound: Bound) -> bool:
    return value <= bound.limit if bound.is_most else value >= bound.limit
