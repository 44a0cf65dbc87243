"""What the simulation and its witness write down: lives, clients, waiters, unloads, and broken promises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llamaswap_lib.core.gate import Gate


class BrokenError(Exception):
    """A promise was broken."""


@dataclass(slots=True)
class Life:
    """One run: the truth about its process, and what the scheduler knows and ordered."""

    run_id: int
    model: str
    gate: Gate
    is_alive: bool = True
    is_ready: bool = False
    has_timed_out: bool = False
    has_exited: bool = False  # and somebody was told
    ready_at: float | None = None
    lost_at: float | None = None  # its leader ended by itself, and the scheduler knows
    stopped_at: float | None = None
    unload_by: float | None = None
    ttl_counts_from: float | None = None
    hangs_since: float | None = None
    checks: int = 0  # times that looks at it were ordered
    checked_since: float | None = None  # it is looked at
    told: str | None = None  # the proof that was told with its silence; None: no silence was told
    proof: str = ""  # the same, once it has arrived
    is_cut: bool = False  # requests inside were broken off
    is_retired: bool = False  # its model is not configured any more, or otherwise
    blocks: frozenset[str] = frozenset()  # then: the models that cannot start before it has gone
    started_at: float = 0.0
    is_queued: bool = False  # the scheduler knows of no address of it yet
    queued_at: float | None = None  # when it has said first that it is queued
    is_preloaded: bool = False
    address: str = ""  # where it listens, as the scheduler was told last; '' where it is not asked to say so
    is_moving: bool = False  # it was ready, and the scheduler was told of another address
    said: int = 0  # times that it has said so
    words: str = ""  # what it said of memory that it lacked
    kill_at: float = 0.0  # not before, once it is ending
    phase: str = ""  # `falling asleep`, `asleep`, `sleepless` (it was told to, and does not) or `waking`
    turns: int = 0  # times that it was told to sleep or to wake
    load_began: float = 0.0  # when it was told where it listens, as long as it was not ready
    load_took: float = 0.0
    gone_since: float | None = None  # it is out of reach
    looks: int = 0  # times that looks for it began or ended
    is_unreachable: bool = False  # the scheduler knows, or suspects it
    is_lost: bool = False  # the scheduler was told that it is lost
    has_died: bool = False  # the scheduler was told that its leader has exited

    @property
    def is_staying(self) -> bool:
        is_going = self.is_away or self.phase == "falling asleep"
        return not (self.is_retired or self.is_ending or is_going or self.unload_by is not None)

    @property
    def is_away(self) -> bool:
        """It was told to sleep, and has or has not."""
        return self.phase in ("asleep", "sleepless")

    @property
    def is_asleep(self) -> bool:
        """It serves nobody, and is in nobody's way."""
        return self.phase == "asleep" and not self.is_retired

    @property
    def is_ending(self) -> bool:
        """It was told to, or does by itself, and the scheduler knows."""
        return self.stopped_at is not None or self.lost_at is not None


@dataclass(slots=True)
class Waiter:
    model: str
    since: float
    disturbances: int
    max_wait: float  # the longest since it came; 0 if there was no bound for a while
    lost_run: int | None = None
    is_stranded: bool = False  # the run that it lost was stopped: it is tried nowhere else
    has_hung: bool = False  # the run that it lost was ended since it hung
    was_sent: bool = True  # to that run
    in_line_since: float = 0.0  # since when it waits for a run, where that is later


@dataclass(slots=True)
class Unload:
    lives: list[Life]
    until: float


@dataclass(slots=True)
class Record:
    """How a model has failed lately."""

    loads: int = 0
    crashes: int = 0
    until: float = 0.0

    def back_off(self, now: float) -> None:
        strikes = self.loads + max(self.crashes - 1, 0)
        self.until = now + (0, 1, 2, 4, 8, 16, 32, 60)[min(strikes, 7)]


class Records(dict[str, Record]):
    """By model."""

    def of(self, model: str) -> Record:
        return self.setdefault(model, Record())

    def until(self, model: str) -> float:
        """When it may be tried again."""
        return self[model].until if model in self else 0.0

    def pardon(self, models: Iterable[str]) -> None:
        for model in models:
            self.pop(model, None)

    def note_failed_load(self, model: str, now: float) -> None:
        record = self.of(model)
        record.loads += 1
        record.back_off(now)

    def note_failure(self, life: Life, now: float) -> None:
        """It ended by itself, or did not become ready in time."""
        if life.ready_at is None:
            self.note_failed_load(life.model, now)
            return
        record = self.of(life.model)
        if now - life.ready_at < 5:
            record.crashes += 1
        else:
            record.loads = record.crashes = 0
        record.back_off(now)


@dataclass(slots=True)
class Client:
    """One who asks; the truth about it, which the scheduler learns late."""

    ticket: int
    model: str
    is_worker: bool
    has_retried: bool = False
    is_answered: bool = False
    has_left: bool = False
    was_sent: bool = True  # to the run that it is in
