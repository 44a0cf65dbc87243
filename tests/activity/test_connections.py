"""Who reads what: the file, or what is in memory meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llamaswap_lib.activity.connections import Readers
from llamaswap_lib.activity.database import open_file, open_memory


def test_who_waits_for_what_is_closed_meanwhile_reads_what_is_named_then(tmp_path: Path) -> None:
    path, memory, faults = tmp_path / "activity.db", open_memory(), list[sqlite3.Error]()
    open_file(path).close()
    readers = Readers(faults.append)

    @contextmanager
    def held() -> Iterator[None]:
        """A lock of which the writer has had it: the file can be written again."""
        readers.read_file(path)
        memory.close()
        yield

    readers.read_memory(memory.connection, held())
    with readers.borrow() as connection:
        assert connection.execute("PRAGMA database_list").fetchone()[2] == str(path)
    readers.close()
    assert faults == []
