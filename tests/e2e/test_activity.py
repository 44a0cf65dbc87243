"""The store of a running program: opened at its start, closed at its end, changed by a reload, and never in the way."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

from llamaswap_lib.activity.database import open_file
from tests.activity.rows import row
from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until

ACTIVITY = "/api/metrics/activity"


def config(path: Path, **store: object) -> dict[str, Any]:
    return {**models(m=demo()), "store": {"path": str(path), **store}}


def total(program: Program) -> int:
    reply = program.get(ACTIVITY)
    assert reply.status == 200, reply.text
    return int(json.loads(reply.text)["total"])


def test_rows_of_an_earlier_run_are_told_bounded_and_forgotten(run_program: RunProgram, tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    earlier = open_file(path)
    earlier.insert([row(model=f"m{number}") for number in range(500)])
    earlier.close()
    with run_program(config(path)) as program:
        assert total(program) == 500
        assert program.chat("m").status == 200
        before = total(program)
        program.reload(config(path, maxRows=50))
        wait_until(lambda: total(program) == 50, "old rows have gone")
        assert before >= 500
        assert program.ask("DELETE", ACTIVITY).status == 200
        assert total(program) == 0
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    files = sorted(tmp_path.glob("activity.db*"))
    learned = tmp_path / "activity.db.needs.json"  # of the model's memory, if there was time for a look at it
    assert [file for file in files if file != learned] == [path, tmp_path / "activity.db.salt"]  # its log is in it
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_file_of_another_program_is_left_alone_and_everything_goes_on(
    run_program: RunProgram, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE theirs (id INTEGER)")
    theirs.close()
    content = path.read_bytes()
    with run_program(config(path)) as program:
        wait_until(lambda: "it is the database of another program" in program.stdout, "it is told")
        assert program.chat("m").status == 200
        assert program.get(ACTIVITY).status == 200
    assert path.read_bytes() == content
