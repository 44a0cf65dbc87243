"""Whether files have another content than before, read as seldom as can be.

Any thread; two at once may read a file twice. Regular files alone are opened, so that a FIFO blocks nobody and a device
is left alone. What a file holds is not kept, only its digest.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

DIGESTED_BYTES = 16 << 20  # the content of a larger file is told apart by its identity: inode, size and time
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_READ_BYTES = 1 << 20
# Times of files are coarse, up to 2 s on FAT: a file that was read so soon after its last change may change once more
# and look the same.
_COARSE_NS = 2_000_000_000

_Identity = tuple[int, int, int, int, int]


class Content(NamedTuple):
    """Two that are equal are of files that say the same, or of paths that fail alike."""

    kind: str
    """`file`, `absent`, or why it cannot be read."""
    size: int = 0
    digest: bytes = b""

    @property
    def is_missing(self) -> bool:
        """Nothing is there, or an empty file, as in the midst of being written."""
        return self.kind == "absent" or (self.kind == "file" and not self.size)


class _Known(NamedTuple):
    identity: _Identity
    is_certain: bool
    content: Content


class FileContents:
    """Remembers what was read, until the file changes."""

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
