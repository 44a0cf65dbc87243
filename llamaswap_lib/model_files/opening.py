"""A file of a model is opened: only a regular one, without waiting, and never more of it than MOST_BYTES is read."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

MOST_BYTES = 32 << 20  # of a header: the longest lists of tokens take about 15 MB
CHUNK = 1 << 20


class Unreadable(Exception):
    """Why a file tells nothing: words that follow its name."""


class Unavailable(Unreadable):
    """The system cannot read it now; later it may, though nothing of the file has changed."""


class Beginning:
    """The first bytes of an open file, as many as are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = bytearray()

    def reach(self, end: int) -> None:
        """Have `data` reach that far; raises Unreadable where the file or the limit ends before."""
        if end > MOST_BYTES:
            raise Unreadable(f"has a header of more than {MOST_BYTES >> 20} MB")
        while len(self.data) < end:
            try:
                chunk = self._file.read(max(CHUNK, end - len(self.data)))
            except OSError as error:
                raise Unavailable(f"cannot be read: {error.strerror or error}") from None
            if not chunk:
                raise Unreadable("ends within its header")
            self.data += chunk


def open_file(path: str) -> tuple[BinaryIO, int]:
    """The file and its size in bytes; raises Unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise Unreadable("is no file")
    return os.fdopen(descriptor, "rb", buffering=0), found.st_size
