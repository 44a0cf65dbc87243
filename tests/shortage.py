"""A process without a free file descriptor, for the time of a `with` block, and one with little address space."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager

HAS_ARENAS = platform.libc_ver()[0] == "glibc"
_ARENA_KB = range(60_000, 65_537)  # what glibc reserves for one, less what is in use


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """What is open stays open; to open anything fails with EMFILE."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def count_arenas(smaps: str) -> int:
    """How many arenas glibc has reserved for threads, in the text of a process's `/proc/PID/smaps`."""
    lines = [line.split() for line in smaps.splitlines() if line.startswith("Size:")]
    return sum(int(size) in _ARENA_KB for _, size, *_ in lines)
