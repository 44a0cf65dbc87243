"""A front whose workers are killed one after another under clients: only what was in progress in one of them breaks.

Five kills and 16 clients unless `LLAMASWAP_WORKER_KILLS` and `LLAMASWAP_WORKER_CLIENTS` say otherwise.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import DEADLINE, Program, wait_until
from tests.e2e.workers import COUNT, front_of_workers, kill, workers

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("LLAMASWAP_WORKER_KILLS", "5"))
CLIENTS = int(os.environ.get("LLAMASWAP_WORKER_CLIENTS", "16"))
BETWEEN = 50  # requests, from one kill to the next
ROWS = 1_000_000  # of activity that are kept: how many there are by the end the machine's speed says


class Clients:
    """They ask all the time, each request on a connection of its own."""

    def __init__(self, front: Program) -> None:
        self._front = front
        self.statuses: list[int] = []  # 0 where the connection broke
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            try:
                status = self._front.chat("m", max_tokens=2).status
            except OSError:
                status = 0
            self.statuses.append(status)

    def await_more(self, count: int) -> None:
        wanted = len(self.statuses) + count
        wait_until(lambda: len(self.statuses) >= wanted, "clients are answered")

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(DEADLINE)


def activity(front: Program, query: str) -> Any:
    return front.get(f"/api/metrics/activity?{query}").json()


def test_only_what_is_in_progress_in_a_killed_worker_breaks(tmp_path: Path) -> None:
    choice = random.Random(1)
    with front_of_workers(tmp_path, {"metricsMaxInMemory": ROWS}) as fleet:
        front = fleet.front
        clients = Clients(front)
        try:
            for _ in range(KILLS):
                clients.await_more(BETWEEN)
                wait_until(lambda: len(workers(front)) == COUNT, "all workers are there")
                kill(choice.choice(sorted(workers(front))))
            clients.await_more(BETWEEN)
        finally:
            clients.end()
        found = Counter(clients.statuses)
        assert set(found) <= {0, 200}, found
        assert found[0] <= KILLS * CLIENTS
        answered = len(clients.statuses) - found[0]
        wait_until(lambda: activity(front, "limit=1")["total"] >= answered, "each that was answered has a row")
        rows = [
            row["ended"]
            for page in range(1, 1 + -(-len(clients.statuses) // 100))
            for row in activity(front, f"limit=100&page={page}")["data"]
        ]
        # A connection that breaks before its request was read has no row.
        ended = Counter(rows)
        assert ended.keys() <= {"complete", "failed"}
        assert answered <= len(rows) <= len(clients.statuses)
        assert ended["failed"] <= KILLS * CLIENTS
