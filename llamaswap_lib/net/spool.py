"""What clients have still to read of answers, taken from upstreams that somebody waits for: in memory, then in a file.

Thread `loop` alone, but what stands under `# -- any thread --`. A `Spool` has the bytes of one answer, first in, first
out. `Spools` has what all of them share: which runs are waited for, who has to know that, and how much is held.
Guarantees: a file has no name and mode 0600, and never more bytes than one answer may have; where it cannot be made or
written nothing is lost, and there is no room from then on. It blocks for the disk alone, for a piece at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import IO

from llamaswap_lib.net.loop import Loop

MEMORY_BYTES = 1 << 20  # of one answer; what is above goes to its file
ALL_MEMORY_BYTES = 16 << 20  # of all answers together
PIECE_BYTES = 65_536  # that are read back at once
SHARE = 4  # one answer may have a fourth of what all may have
_SLACK_BYTES = 1 << 20  # by which a piece that was read may go beyond the bound


class Spools:
    """What all spools share."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.awaited: frozenset[int] = frozenset()  # ids of the runs whose requests somebody waits for to end
        self.size_bytes = 0
        self.memory_bytes = 0
        self._listeners: dict[int, set[Callable[[], object]]] = {}  # by run id

    # -- any thread --

    def note_awaited(self, run_ids: frozenset[int]) -> None:
        """From now on somebody waits for the requests inside these runs to end, and for no others. Does not block."""
        self._loop.call(self._take_awaited, run_ids)

    # -- loop thread --

    def listen(self, run_id: int, listener: Callable[[], object]) -> None:
        """Have it called whenever somebody begins to wait for the run, or does not wait any more."""
        self._listeners.setdefault(run_id, set()).add(listener)

    def forget(self, run_id: int, listener: Callable[[], object]) -> None:
        listeners = self._listeners.get(run_id)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[run_id]

    def _take_awaited(self, run_ids: frozenset[int]) -> None:
        changed = self.awaited ^ run_ids
        self.awaited = run_ids
        for run_id in changed:
            for listener in self._listeners.get(run_id, ()):
                self._loop.call(listener)  # on its own: a mistake in one of them is not for the others


class Spool:
    """What the client of one answer has still to read."""

    def __init__(
        self,
        spools: Spools,
        run_id: int,
        warn: Callable[[str], object],
        all_bytes: int,
        stream_bytes: int | None = None,
    ) -> None:
        """`all_bytes`: the bound for all answers. `stream_bytes`: the one for this answer where it is a stream.

        `warn` is told once, in words for the log, that there is no more room.
        """
        self._spools = spools
        self._run_id = run_id
        self._warn: Callable[[str], object] | None = warn
        self._all_bytes = all_bytes
        self._most_bytes = all_bytes // SHARE if stream_bytes is None else min(stream_bytes, all_bytes // SHARE)
        self._kind = "answer" if stream_bytes is None else "event stream"
        self.size_bytes = 0
        self._memory_bytes = 0
        self._front: deque[bytes] = deque()  # what comes before the bytes in the file
        self._behind: deque[bytes] = deque()  # what could not be written to it, and comes behind them
        self._file: IO[bytes] | None = None  # a ring: the byte behind its last one is its first
        self._written_bytes = self._read_bytes = 0  # of the file, since it was made
        self._fault = ""  # why the file cannot be used

    # -- whether to read on --

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the run."""
        return self._run_id in self._spools.awaited

    def has_room(self) -> bool:
        """Whether another piece may be put in; where not, the log is told, once."""
        most_bytes, all_bytes = self._most_bytes, self._all_bytes
        if self._fault:
            why = self._fault
        elif self.size_bytes >= most_bytes:
            why = f"{_in_mb(most_bytes)} of its {self._kind} are stored, which is the limit (limits.spoolMB)"
        elif self._spools.size_bytes >= all_bytes:
            why = f"{_in_mb(all_bytes)} of all answers are stored, which is the limit (limits.spoolMB)"
        else:
            return True
        if self._warn is not None:
            self._warn(f"its client reads slowly while others wait for the model: {why}")
            self._warn = None
        return False

    def listen(self, listener: Callable[[], object]) -> None:
        """Have it called when that somebody waits begins, or ends."""
        self._spools.listen(self._run_id, listener)

    def forget(self, listener: Callable[[], object]) -> None:
        self._spools.forget(self._run_id, listener)

    # -- the bytes --

    def append(self, data: bytes) -> None:
        """Put it behind all others."""
        size_bytes = len(data)
        if not size_bytes:  # that is what `take` says at the end
            return
        self.size_bytes += size_bytes
        self._spools.size_bytes += size_bytes
        if self._is_for_file(size_bytes) and self._write(data):
            return
        is_behind = self._behind or self._written_bytes > self._read_bytes
        (self._behind if is_behind else self._front).append(data)
        self._memory_bytes += size_bytes
        self._spools.memory_bytes += size_bytes

    def put_back(self, data: bytes) -> None:
        """Put it before all others."""
        self._front.appendleft(data)
        self.size_bytes += len(data)
        self._spools.size_bytes += len(data)
        self._memory_bytes += len(data)
        self._spools.memory_bytes += len(data)

    def take(self) -> bytes:
        """The bytes that come next, b"" if there are none; raises OSError where they cannot be read back."""
        if not self._front and self._written_bytes > self._read_bytes:
            data = self._read()
        else:
            pieces = self._front or self._behind
            data = pieces.popleft() if pieces else b""
            self._memory_bytes -= len(data)
            self._spools.memory_bytes -= len(data)
        self.size_bytes -= len(data)
        self._spools.size_bytes -= len(data)
        return data

    def close(self) -> None:
        """Drop what is left. More than once does no harm."""
        self._spools.size_bytes -= self.size_bytes
        self._spools.memory_bytes -= self._memory_bytes
        self.size_bytes = self._memory_bytes = 0
        self._front.clear()
        self._behind.clear()
        self._written_bytes = self._read_bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- the file --

    def _is_for_file(self, size_bytes: int) -> bool:
        if self._fault:
            return False
        return (
            self._written_bytes > self._read_bytes
            or self._memory_bytes + size_bytes > MEMORY_BYTES
            or self._spools.memory_bytes + size_bytes > ALL_MEMORY_BYTES
        )

    @property
    def _ring_bytes(self) -> int:
        return self._most_bytes + _SLACK_BYTES

    def _write(self, data: bytes) -> bool:
        """Whether it is in the file now."""
        import tempfile  # noqa: PLC0415 - with all that it imports, a tenth of the time to start

        if self._written_bytes - self._read_bytes + len(data) > self._ring_bytes:
            self._fault = "the rest of the answer does not fit into its file"
            return False
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="llamaswap-", buffering=0)  # noqa: SIM115 closed by close()
            at_bytes, rest = self._written_bytes, memoryview(data)
            while rest:
                start = at_bytes % self._ring_bytes
                taken_bytes = os.pwrite(self._file.fileno(), rest[: self._ring_bytes - start], start)
                at_bytes, rest = at_bytes + taken_bytes, rest[taken_bytes:]
        except OSError as error:
            folder = f" in {tempfile.tempdir}" if tempfile.tempdir else ""
            self._fault = f"the answer cannot be stored{folder}: {error.strerror or error}"
            return False
        self._written_bytes = at_bytes
        return True

    def _read(self) -> bytes:
        assert self._file is not None, "nothing was written"
        start = self._read_bytes % self._ring_bytes
        most_bytes = min(PIECE_BYTES, self._written_bytes - self._read_bytes, self._ring_bytes - start)
        data = os.pread(self._file.fileno(), most_bytes, start)
        if not data:
            raise OSError(None, "the file with the rest of the answer has become shorter")
        self._read_bytes += len(data)
        return data


def _in_mb(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):g} MB"
