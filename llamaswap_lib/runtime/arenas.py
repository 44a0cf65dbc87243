"""Room for threads where the address space is limited (`ulimit -v`).

glibc reserves 64 MB of address space for each of the first threads, an "arena", and keeps it. Under a limit the threads
of the first seconds take all that there is so, and a later one that finds no room for an arena of its own gets no
memory for good, however much the others have left. One arena for all costs nothing here: the interpreter lock lets one
thread at a time allocate.

The main thread, before there is another one. Does nothing where there is no limit, or another C library.
"""

from __future__ import annotations

import resource

M_ARENA_MAX = -8  # of malloc.h


def share_arena() -> None:
    """Have all threads allocate from one arena, if the address space is limited."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    try:
        import ctypes  # noqa: PLC0415 - costs 5 ms, and few have a limit

        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except (ImportError, OSError, AttributeError, MemoryError):
        pass  # no `ctypes`, or no such function
