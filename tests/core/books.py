"""What the simulation and its witness write down: lives, clients, waiters, unloads, and broken promises."""

from __future__ import annotations

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
    stopped_at: float | None = None
    unload_by: float | None = None
    ttl_counts_from: float | None = None

    @property
    def is_staying(self) -> bool:
        return self.stopped_at is None and self.unload_by is None


@dataclass(slots=True)
class Waiter:
    model: str
    since: float
    disturbances: int


@dataclass(slots=True)
class Unload:
    lives: list[Life]
    until: float


@dataclass(slots=True)
class Client:
    """One who asks; the truth about it, which the scheduler learns late."""

    ticket: int
    model: str
    is_worker: bool
    is_answered: bool = False
    has_left: bool = False
