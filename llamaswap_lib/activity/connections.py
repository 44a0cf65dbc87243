"""Connections to a file of rows; for those who ask, each has one for itself, so that no question holds up the writer.

Any thread borrows one; the writer's thread says what there is to read. A file is read through connections of their own,
which are kept for the next one; what is in memory through the writer's connection, under its lock. Guarantees: what one
borrower reads is of one moment; a connection to what is not in use any more is closed. Raises ServiceUnavailable where
it cannot be read.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote

from llamaswap_lib.errors import ServiceUnavailable

BUSY_TIMEOUT = 2.0  # seconds that another program may hold the file
MOST_KEPT = 4  # idle connections; each has up to 2 MB of pages in memory
_Shared = tuple[sqlite3.Connection, AbstractContextManager[object]]


def connect(path: Path, mode: str, busy_timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """A connection to a file that is there, with mode `ro` or `rw`. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )


class Readers:
    """Who reads what."""

    def __init__(self, on_fault: Callable[[sqlite3.Error], None]) -> None:
        """`on_fault` is told of an error by the thread that met it."""
        self._on_fault = on_fault
        self._guard = threading.Lock()  # protects the three below
        self._file: Path | None = None
        self._memory: _Shared | None = None
        self._idle: list[sqlite3.Connection] = []

    # -- the writer's thread --

    def read_file(self, path: Path) -> None:
        """From now on this file is read."""
        self._turn_to(path, None)

    def read_memory(self, connection: sqlite3.Connection, lock: AbstractContextManager[object]) -> None:
        """From now on this is read, under the lock, until another one is named; it may be closed after that."""
        self._turn_to(None, (connection, lock))

    def close(self) -> None:
        self._turn_to(None, None)

    def _turn_to(self, file: Path | None, memory: _Shared | None) -> None:
        with self._guard:
            self._file, self._memory = file, memory
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    # -- any thread --

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection for one block; raises ServiceUnavailable there, too, for an error of the database."""
        with self._guard:
            file, memory, idle = self._file, self._memory, self._idle
            connection = idle.pop() if idle else None
        if file is None and memory is None:
            raise ServiceUnavailable("the store of activity is not open")
        try:
            if memory is not None:
                shared, lock = memory
                with lock:
                    if is_open := self._memory is memory:
                        yield shared
                if not is_open:  # another one has been named while this one waited for the lock
                    with self.borrow() as other:
                        yield other
                return
            assert file is not None
            if connection is None:
                connection = connect(file, "ro", BUSY_TIMEOUT)
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            self._on_fault(error)
            raise ServiceUnavailable(f"the store of activity cannot be read: {error}") from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        self._give_back(connection, idle)

    def _give_back(self, connection: sqlite3.Connection, idle: list[sqlite3.Connection]) -> None:
        """`idle` are those of the file that it reads: there may be another one of the same name now."""
        with self._guard:
            if idle is self._idle and len(idle) < MOST_KEPT:
                idle.append(connection)
                return
        connection.close()
