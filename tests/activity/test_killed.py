"""SIGKILL in the middle of 2,000 rows a second: the file opens, is sound, and lacks one second at most."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llamaswap_lib.activity.database import open_file, select_rows
from tests.activity.killed import TURN
from tests.activity.rows import DEADLINE
from tests.activity.test_database import assert_periods_are_right, counted, recounted

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("LLAMASWAP_STORE_KILLS", "2"))
SEED = int(os.environ.get("LLAMASWAP_STORE_KILLS_SEED", "1"))
PER_SECOND = 2_000
MOST_LOST = 1.0  # seconds
MOST_TURNS = int(MOST_LOST / TURN)  # the same as the program had it: on a busy machine it has had less of a second


@pytest.mark.slow
def test_a_kill_costs_one_second_of_rows_at_most(tmp_path: Path) -> None:
    chance, most_lost, row_count = random.Random(SEED), 0, 0
    for number in range(KILLS):
        path = tmp_path / f"{number}.db"
        appended, killed_at = run_and_kill(path, chance.uniform(0.0, 1.5))
        early = [count for count, at in appended[:-MOST_TURNS] if at <= killed_at - MOST_LOST]
        due = max(early, default=0)
        database = open_file(path)
        try:
            assert database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = select_rows(database.connection, "ORDER BY id")
            assert [row.session for row in rows] == [f"s{place}" for place in range(len(rows))], f"seed {SEED}"
            assert len(rows) >= due, f"seed {SEED}, kill {number}: {len(rows)} of {due} rows that were a second old"
            if number % 20 == 0:
                assert counted(database) == recounted(database)
                assert_periods_are_right(database)
            last = max(count for count, _ in appended)
            most_lost, row_count = max(most_lost, last - len(rows)), row_count + len(rows)
        finally:
            database.close()
    lost = f"{most_lost} of the last rows lost at most ({most_lost / PER_SECOND:.2f} s)"
    print(f"\n{KILLS} kills, {row_count} rows found, {lost}, every file sound")


def run_and_kill(path: Path, after: float) -> tuple[list[tuple[int, float]], float]:
    """Let it write, and kill it `after` seconds and the time that may be lost from its first word."""
    argv = (sys.executable, "-m", "tests.activity.killed", str(path), str(PER_SECOND))
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        appended: list[tuple[int, float]] = []
        has_begun = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                count, at = line.split()
                appended.append((int(count), float(at)))
                has_begun.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert has_begun.wait(DEADLINE)
            threading.Event().wait(MOST_LOST + after)
        finally:
            killed_at = time.monotonic()
            process.kill()
            reader.join(DEADLINE)
    return appended, killed_at
