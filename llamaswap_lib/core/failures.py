"""What went wrong with each model lately, and when it may be tried again.

Pure; the scheduler's. A failed load is answered to all requests that wait for it. Then, for 1, 2, 4 ... 60 seconds,
requests for the model are refused at once. A crash within `SETTLING` seconds of being ready counts too, from the second
in a row on. After the first one the model is started again at once, for the requests that were inside. A load that
succeeds resets the count of failed loads; a run that does not end in such a crash resets the count of crashes; `pardon`
resets both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

LONGEST_BACKOFF = 60.0
SETTLING = 5.0


@dataclass(slots=True)
class Record:
    """The failures of one model, and when it may be tried again."""

    loads: int = 0  # failed ones in a row
    crashes: int = 0  # soon after it was ready, in a row
    since: float | None = None  # the first of those that count now
    is_failing: bool = False  # no load has succeeded since the last one
    until: float = 0.0  # not to be tried again before
    detail: str = ""
    is_memory: bool = False  # what failed last was short of memory

    @property
    def strikes(self) -> int:
        return self.loads + max(self.crashes - 1, 0)

    @property
    def backoff(self) -> float:
        strikes = self.strikes
        return min(2.0 ** (min(strikes, 7) - 1), LONGEST_BACKOFF) if strikes else 0.0

    def describe(self) -> str:
        if not self.loads:
            return f"keeps dying: {self.detail}"
        return f"{'could not be loaded' if self.loads == 1 else 'keeps failing to load'}: {self.detail}"


class ModelFailure(NamedTuple):
    """How a model fails: why it failed last, since when, how often in a row, and until when it is not tried.

    Monotonic seconds. It is there from a failed load, or the second early death in a row, until a load succeeds or the
    model is pardoned.
    """

    message: str
    since: float
    tries: int
    until: float


class ModelFailures:
    """Counts of failures by model. Monotonic seconds."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self.failing: Mapping[str, ModelFailure] = {}  # by model; never changed, but replaced

    def note_failed_load(self, model: str, detail: str, now: float, *, is_memory: bool = False) -> float:
        """Returns for how many seconds not to try it again. `is_memory`: it was short of memory."""
        record = self._records.setdefault(model, Record())
        record.loads += 1
        record.is_memory = is_memory
        return self._back_off(record, detail, now)

    def note_ready(self, model: str) -> None:
        if record := self._records.get(model):
            record.loads, record.is_failing = 0, False
            if not record.strikes:
                record.since = None
            self._show()

    def note_crash(self, model: str, detail: str, ready_time: float, now: float) -> float:
        """It died by itself `ready_time` seconds after it was ready. Returns how long not to try it, in seconds."""
        if ready_time >= SETTLING:
            self.pardon([model])
            return 0.0
        record = self._records.setdefault(model, Record())
        record.crashes += 1
        record.is_memory = False
        return self._back_off(record, f"{detail} {ready_time:.1f} s after it was ready", now)

    def restore(self, records: Mapping[str, Record]) -> None:
        """Go on from what another one has counted."""
        self._records = {model: replace(record) for model, record in records.items()}
        self._show()

    def pardon(self, models: Iterable[str]) -> None:
        """Forget their failures: they may be tried at once."""
        if [model for model in models if self._records.pop(model, None)]:
            self._show()

    def refusal(self, model: str, now: float) -> tuple[str, float] | None:
        """Why it is not to be tried, and for how many seconds more; None if it may be tried."""
        record = self._records.get(model)
        if record is None or record.until <= now:
            return None
        left = record.until - now
        return f"model {model} {record.describe()}; next try in {ceil(left)} s", left

    def is_short_of_memory(self, model: str) -> bool:
        """Whether its last load failed for want of memory."""
        record = self._records.get(model)
        return record is not None and record.is_memory

    def records(self) -> dict[str, Record]:
        return {model: replace(record) for model, record in self._records.items()}

    def _back_off(self, record: Record, detail: str, now: float) -> float:
        record.detail = detail
        record.until = now + record.backoff
        if record.strikes:
            record.since = now if record.since is None else record.since
            record.is_failing = True
            self._show()
        return record.backoff

    def _show(self) -> None:
        self.failing = {
            model: ModelFailure(record.describe(), record.since, record.strikes, record.until)
            for model, record in self._records.items()
            if record.is_failing and record.since is not None
        }
