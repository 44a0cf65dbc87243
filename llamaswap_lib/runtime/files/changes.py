"""Decides when a change of files is complete: what was seen last, what is there now, and whether to wait.

`turn` is for one thread; it blocks for the file system only, and gets the time as an argument. `look` and `follow` are
for any thread. Guarantees: a change is told once, after it was made; it waits for half-written files, within bounds; a
file that is touched, or written again with the same content, has not changed.

How long it waits after the last event: QUIET normally; STALLED while a file is being written or may be, or is empty or
missing and was not before. From the first event on, it waits for LONGEST at most, and for LONGEST_WRITE while a file is
being written, or is empty or missing: so a file that is written all the time is told of too. Two changes are told
SPACING apart at least.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.runtime.files.watched_paths import WatchedPaths

QUIET, STALLED = 0.1, 0.5  # seconds
LONGEST, LONGEST_WRITE = 0.8, 5.0
SPACING = 0.7
POLL_INTERVAL = 1.0  # where there may be changes without an event
POLLED_QUIET = 0.3  # instead of QUIET there, where nobody is told that a file is closed
DIGESTED_BYTES = 16 << 20  # the content of a larger file is told apart by its identity: inode, size and time
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_READ_BYTES = 1 << 20
# Times of files are coarse, up to 2 s on FAT: a file that was read so soon after its last change may change once more
# and look the same.
_COARSE_NS = 2_000_000_000

_Identity = tuple[int, int, int, int, int]


class Listing(NamedTuple):
    """Absolute paths, or why there are none."""

    paths: list[str]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class FilesSeen:
    """What the files of a listing hold, by path."""

    files: dict[str, Content]
    failure: str = ""


class Settling:
    """Since when there are changes, and until when to wait for their end."""

    def __init__(self) -> None:
        self._first: float | None = None  # of the events that are waited out
        self._last = 0.0
        self._told = -math.inf

    def note_event(self, now: float) -> None:
        """There was an event."""
        self._first = now if self._first is None else self._first
        self._last = now

    def settle(self, now: float, *, is_told: bool) -> None:
        """All events until now are dealt with."""
        self._first = None
        if is_told:
            self._told = now

    def deadline(self, quiet: float, longest: float) -> float:
        """When to look at the files; never if nothing has happened."""
        if self._first is None:
            return math.inf
        return max(min(self._last + quiet, self._first + longest), self._told + SPACING)


class FileChanges:
    """The files that `files` names at the time, and what was last seen of them."""

    def __init__(self, files: Callable[[], Iterable[Path]], watched: WatchedPaths) -> None:
        """`files` may raise anything. That it raises, or raises something else, is a change like any other."""
        self._files = files
        self._watched = watched
        self._contents = FileContents()
        self._settling = Settling()
        self._is_unfinished = False  # after the last event
        self._paths: list[str] = []  # of the last listing that did not fail
        self._polled: FilesSeen | None = None
        self._next_poll = -math.inf
        self._has_failed = False  # to read events, which may be lost
        self._lock = threading.Lock()  # protects the three below; nothing is read or called under it
        self._seen: FilesSeen | None = None
        self._is_stale = True  # the set of files may be another one
        self._generation = 0  # of what was seen

    # -- any thread --

    def look(self) -> None:
        """Take note of the present content; see `FileWatch`."""
        seen = self._take(self._list())
        self._note_seen(seen)

    def follow(self, used: Iterable[Path]) -> None:
        """Take note of these files, and no others; see `FileWatch`."""
        with self._lock:
            known = self._seen.files if self._seen else {}
        paths = [str(path.absolute()) for path in used]
        new = FileContents().of(path for path in paths if path not in known)
        self._note_seen(FilesSeen({path: known.get(path) or new[path] for path in paths}))

    def _note_seen(self, seen: FilesSeen) -> None:
        with self._lock:
            self._seen = seen
            self._is_stale = True
            self._generation += 1

    # -- one thread --

    def turn(self, now: float) -> bool:
        """Read the events; whether the files have changed, which is told once."""
        if self._is_to_be_renewed():
            self._note_event(now)
            self._renew(self._list())
        if self._watched.needs_polling and now >= min(self._next_poll, self._deadline()):
            self._poll_files(now)
        return now >= self._deadline() and self._settle(now)

    def _is_to_be_renewed(self) -> bool:
        with self._lock:
            is_stale, self._is_stale = self._is_stale, False
        had_failed, self._has_failed = self._has_failed, True
        is_concerned = self._watched.read()
        self._has_failed = False
        return is_stale or had_failed or is_concerned

    def wait_until(self) -> float:
        """When `turn` is to be called if there is no event; `math.inf` for never."""
        return min(self._deadline(), self._next_poll if self._watched.needs_polling else math.inf)

    def _deadline(self) -> float:
        if self._is_unfinished or self._watched.is_being_written:
            return self._settling.deadline(STALLED, LONGEST_WRITE)
        if self._watched.may_be_written:
            return self._settling.deadline(STALLED, LONGEST)
        return self._settling.deadline(POLLED_QUIET if self._watched.needs_polling else QUIET, LONGEST)

    def _note_event(self, now: float) -> None:
        self._settling.note_event(now)
        self._is_unfinished = False

    def _poll_files(self, now: float) -> None:
        present = self._take(self._list())
        if present != self._polled:
            self._polled = present
            self._note_event(now)
        self._next_poll = now + POLL_INTERVAL

    def _settle(self, now: float) -> bool:
        with self._lock:
            generation, seen = self._generation, self._seen
        listing = self._list()
        self._renew(listing)
        present = self._take(listing)
        if seen is not None and present != seen and not self._is_unfinished and _is_unfinished(seen, present):
            self._is_unfinished = True
            if now < self._deadline():
                return False
        with self._lock:
            if generation != self._generation:
                return False  # `look` or `follow` was quicker, and wants another turn
            self._seen = present
        is_changed = seen is not None and present != seen
        self._is_unfinished = False
        self._watched.assume_written()
        self._settling.settle(now, is_told=is_changed)
        return is_changed

    def _renew(self, listing: Listing) -> None:
        if not listing.failure:
            self._paths = listing.paths
        self._watched.renew(self._paths)

    # -- any thread --

    def _list(self) -> Listing:
        try:
            return Listing([str(path.absolute()) for path in self._files()])
        except Exception as error:  # noqa: BLE001 - `files` may raise what it likes
            return Listing([], f"{type(error).__name__}: {error}")

    def _take(self, listing: Listing) -> FilesSeen:
        return FilesSeen(self._contents.of(listing.paths), listing.failure)


def _is_unfinished(seen: FilesSeen, present: FilesSeen) -> bool:
    """Whether something is missing that may yet come."""
    if present.failure or seen.files.keys() - present.files.keys():
        return True
    return any(content.is_missing and seen.files.get(path) != content for path, content in present.files.items())


# -- what files hold --


class Content(NamedTuple):
    """Equal for files with the same content, and for paths with the same error."""

    kind: str
    """`file`, `absent`, or why it cannot be read."""
    size: int = 0
    digest: bytes = b""

    @property
    def is_missing(self) -> bool:
        """There is no file, or an empty one, as while it is being written."""
        return self.kind == "absent" or (self.kind == "file" and not self.size)


class _Known(NamedTuple):
    identity: _Identity
    is_certain: bool
    content: Content


class FileContents:
    """Whether files have another content than before, read as seldom as can be: what was read is remembered.

    Any thread; two at once may read a file twice. Regular files alone are opened, so that a FIFO blocks nobody and a
    device is left alone. What a file holds is not kept, only its digest.
    """

    def __init__(self, *, digested_bytes: int = DIGESTED_BYTES, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives nanoseconds since the epoch, as the times of files are."""
        import hashlib  # noqa: PLC0415 - costs 3 ms at the start

        self._new_digest = hashlib.blake2b
        self._digested_bytes = digested_bytes
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def of(self, paths: Iterable[str]) -> dict[str, Content]:
        """The content of each; what is known of other files is forgotten."""
        contents, known = {}, {}
        for path in paths:
            try:
                entry = self._look_at(path)
            except (OSError, ValueError) as error:  # noqa: PERF203 - each may fail alone
                contents[path] = _failure(error)
            else:
                contents[path] = entry.content
                known[path] = entry
        self._known = known
        return contents

    def _look_at(self, path: str) -> _Known:
        status, now = os.stat(path), self._clock()  # noqa: PTH116 - no Path is needed
        identity = _identity(status)
        known = self._known.get(path)
        if known is not None and known.is_certain and known.identity == identity:
            return known
        if not stat.S_ISREG(status.st_mode):
            return _Known(identity, True, Content(f"no file: {stat.S_IFMT(status.st_mode):o}"))
        content = self._read(path)
        is_old = now - max(status.st_mtime_ns, status.st_ctime_ns) > _COARSE_NS
        return _Known(identity, is_old and content.size == status.st_size, content)  # /proc makes up sizes and times

    def _read(self, path: str) -> Content:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)  # it may be another thing by now
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Content(f"no file: {stat.S_IFMT(status.st_mode):o}")
            if status.st_size > self._digested_bytes:
                return Content("file", status.st_size, repr(_identity(status)[:-1]).encode())
            digest, left = self._new_digest(), self._digested_bytes
            while left > 0 and (data := os.read(descriptor, min(left, _READ_BYTES))):
                digest.update(data)
                left -= len(data)
            return Content("file", self._digested_bytes - left, digest.digest())
        finally:
            os.close(descriptor)


def _identity(status: os.stat_result) -> _Identity:
    """Equal while the file is the same and has not changed; `st_ctime_ns` last, which changes with a chmod too."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _failure(error: OSError | ValueError) -> Content:
    if isinstance(error, OSError) and error.errno is not None:
        return Content("absent" if error.errno in _ABSENT else os.strerror(error.errno))
    return Content(str(error))
