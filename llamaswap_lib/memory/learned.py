"""What models were measured to need, kept over restarts in a small file.

One thread, `hardware`, but for `leave_file`. What cannot be read is begun anew, with a warning; what cannot be written
is kept in memory. Of each digest the peaks of the last runs are kept, and the highest of them counts for each device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llamaswap_lib.config.schema import Config
from llamaswap_lib.runtime.files.small_file import SmallFile

FILE = "needs.json"
VERSION = 1
RUNS = 5  # whose peaks count
MOST_DIGESTS = 2000
LATEST = 1 << 40  # seconds since 1970
IF_UNREAD = "what models need is measured anew"
IF_UNWRITTEN = f"{IF_UNREAD} after a restart"
NOISE = 0.01  # by how much a peak has to grow until it is written again


class Entry(NamedTuple):
    """Of one digest: the model's name, when it was measured last, and the peaks of each run, oldest first."""

    model: str
    at: float  # seconds since 1970
    peaks: tuple[Mapping[str, int], ...]

    def highest(self) -> dict[str, int]:
        return {name: max(one.get(name, 0) for one in self.peaks) for one in self.peaks for name in one}


class Learned:
    """All digests. `path` is None: only in memory."""

    def __init__(self, warn: Callable[[str], None], wall: Callable[[], float]) -> None:
        self._warn = warn
        self._wall = wall
        self._file: SmallFile | None = None
        self._entries: dict[str, Entry] = {}
        self._runs: dict[int, Mapping[str, int]] = {}  # run -> its own peaks, which stand in an entry
        self._noted: set[str] = set()  # digests that may be otherwise than the file has them
        self._written: dict[str, Mapping[str, int]] = {}  # what the file says of each
        self._is_left = False

    def leave_file(self) -> None:
        """Another process writes it from now on, and knows more. Any thread."""
        self._is_left = True

    def use(self, path: Path | None) -> None:
        """Keep it in this file from now on; what is in there counts, too."""
        if path == (None if self._file is None else self._file.path):
            return
        self._file = None if path is None else SmallFile(path, self._warn, IF_UNREAD, IF_UNWRITTEN)
        self._written = {}
        found = self._read()
        self._entries = {**found, **self._entries}
        self._noted = set(self._entries)
        self._written = {digest: entry.highest() for digest, entry in found.items()}

    def need(self, digest: str) -> Mapping[str, int] | None:
        """Bytes by device; None where it was never measured."""
        entry = self._entries.get(digest)
        return None if entry is None else entry.highest()

    def peaks(self, digest: str) -> Sequence[Mapping[str, int]]:
        """The same of each of the last runs, the oldest first."""
        entry = self._entries.get(digest)
        return () if entry is None else entry.peaks

    def note(self, digest: str, model: str, run_id: int, peaks: Mapping[str, int]) -> None:
        """The most that a run has taken of each device since it is ready."""
        entry, own = self._entries.pop(digest, None), self._runs.get(run_id)
        others = () if entry is None else [one for one in entry.peaks if one is not own]
        self._runs[run_id] = now = dict(peaks)
        self._noted.add(digest)
        self._entries[digest] = Entry(model, self._wall(), (*others, now)[-RUNS:])
        while len(self._entries) > MOST_DIGESTS:
            del self._entries[next(iter(self._entries))]

    def forget_runs(self, kept: Mapping[int, object]) -> None:
        """Only these are there still."""
        self._runs = {run: own for run, own in self._runs.items() if run in kept}

    def write(self) -> None:
        """Into the file, if anything has changed by more than noise."""
        noted = {digest: self._entries[digest].highest() for digest in self._noted if digest in self._entries}
        self._noted = set()
        has_changed = any(_differs(self._written.get(digest), need) for digest, need in noted.items())
        if self._file is not None and has_changed and not self._is_left:
            self._replace(self._file, {digest: entry.highest() for digest, entry in self._entries.items()})

    def _replace(self, file: SmallFile, now: dict[str, dict[str, int]]) -> None:
        theirs = {digest: entry for digest, entry in self._read().items() if digest not in self._entries}
        entries = dict(list({**theirs, **self._entries}.items())[-MOST_DIGESTS:])
        rows = {
            digest: {"model": str(entry.model), "at": round(entry.at), "peaks": [dict(peak) for peak in entry.peaks]}
            for digest, entry in entries.items()
        }
        file.write({"version": VERSION, "needs": rows})
        self._written = {**{digest: entry.highest() for digest, entry in theirs.items()}, **now}

    def _read(self) -> dict[str, Entry]:
        return (None if self._file is None else self._file.read(_entries_of)) or {}


def file_of(config: Config) -> Path | None:
    """Where needs are kept: beside the store; without one in the user's folder for such, if models go by memory."""
    store = config.store.path
    if store and store != ":memory:":
        return Path(f"{store}.{FILE}")
    if config.routing.router != "memory":
        return None
    folder = os.environ.get("XDG_STATE_HOME") or ""
    try:
        base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:  # there is no home
        return None
    return base / "llamaswap" / FILE


def _differs(before: Mapping[str, int] | None, now: Mapping[str, int]) -> bool:
    if before is None or before.keys() != now.keys():
        return True
    return any(abs(size - before[name]) > NOISE * before[name] for name, size in now.items())


def _entries_of(said: Any) -> dict[str, Entry]:
    """Of what the file says; raises ValueError for anything else."""
    if not isinstance(said, dict) or said.get("version") != VERSION or not isinstance(said.get("needs"), dict):
        raise ValueError("expected the figures of models")
    found = {}
    for digest, row in said["needs"].items():
        peaks = row.get("peaks") if isinstance(row, dict) else None
        if not isinstance(peaks, list) or not peaks or not all(map(_is_peak, peaks)):
            raise ValueError("expected bytes for each device")
        at = row.get("at")
        when = at if isinstance(at, (int, float)) and 0 <= at < LATEST else 0.0
        found[digest] = Entry(str(row.get("model", "")), when, tuple(peaks[-RUNS:]))
    return found


def _is_peak(peak: object) -> bool:
    return isinstance(peak, dict) and all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 1 << 60 for size in peak.values()
    )
