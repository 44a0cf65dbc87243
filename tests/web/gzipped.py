"""gzip for tests: the same bytes each time, since tests are named for their data."""

from __future__ import annotations

import gzip


def gzipped(data: bytes, level: int = 9) -> bytes:
    """`data` as one member, without the time at which it was made."""
    return gzip.compress(data, level, mtime=0)
