"""A front of several workers before two boxes, and what can be seen of its workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.fleet import Fleet
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.talk import Wire

COUNT = 3
SLOW = demo("--tokens-per-second", "50")
NUMBERS_EACH = 1_000_000_000  # requests of one worker
MOST_STREAMS = 60


@contextmanager
def front_of_workers(folder: Path, front: Mapping[str, Any] | None = None, **peer: Any) -> Iterator[Fleet]:
    """Two boxes that have the model `m`, and a front of COUNT workers."""
    with Fleet(folder, [models(m=SLOW), models(m=SLOW)], front or {}, ("-workers", str(COUNT)), **peer) as fleet:
        await_workers(fleet.front)
        yield fleet


def workers(front: Program) -> set[int]:
    """The pids of all that there are."""
    return {pid for pid, command in front.relatives().items() if "llamaswap_lib.workers" in command}


def await_workers(front: Program, count: int = COUNT) -> None:
    wait_until(lambda: f"{count} of {count} workers serve" in front.stdout, "all workers serve")


def in_flight(front: Program, **headers: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = front.get("/api/inflight", **headers).json()["requests"]
    return rows


def worker_of(row: Mapping[str, Any]) -> int:
    """The number of the worker that has this request."""
    return int(row["id"]) // NUMBERS_EACH


class Streams:
    """Endless streams, opened until several workers have some."""

    def __init__(self, front: Program, model: str = "m") -> None:
        self._stack = ExitStack()
        self.by_id: dict[str, Wire] = {}
        while len(self.by_worker()) < 2:
            assert len(self.by_id) < MOST_STREAMS, "one worker has all"
            wire = self._stack.enter_context(front.stream(model))
            wire.read_head_and_first_chunk()
            [number] = {row["id"] for row in in_flight(front)} - self.by_id.keys()
            self.by_id[number] = wire

    def by_worker(self) -> dict[int, list[Wire]]:
        found: dict[int, list[Wire]] = {}
        for number, wire in self.by_id.items():
            found.setdefault(worker_of({"id": number}), []).append(wire)
        return found

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def pid_of_worker(front: Program, number: int) -> int:
    """By what each says in the log when it is killed, one cannot tell: so by the number on its command line."""
    for pid, command in front.relatives().items():
        if "llamaswap_lib.workers" in command and f"], {number}, " in command:
            return pid
    raise AssertionError(f"no worker {number}: {front.relatives()}")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
