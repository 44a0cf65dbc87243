"""A disk that is full, as the system tells it: by a limit to the size of files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamaswap_lib.activity.database import open_file, select_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_disk_that_fills_up_while_rows_are_written_costs_none(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    argv = (sys.executable, "-m", "tests.activity.full", str(path))
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    warning, news, count = done.stdout.splitlines()
    assert warning.startswith("store.path: FILE cannot be used: ")
    assert news.startswith("store.path: activity is kept in FILE again; ")
    assert count == "6001"
    database = open_file(path)
    try:
        assert database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = select_rows(database.connection, "ORDER BY id")
        assert [row.session for row in rows] == [f"s{number}" for number in range(6001)]
        assert [row.id for row in rows] == [*range(1, 6002)]
    finally:
        database.close()
