"""The memory of the process: what the garbage collector and the allocator of glibc are told about it.

Any thread, but where it says otherwise.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from functools import cache
from typing import Any

COLLECTOR = 20_000, 10, 50  # objects that are new, and rounds, until the garbage collector looks at them
M_ARENA_MAX = -8  # of malloc.h


def spare_collector() -> None:
    """Have the garbage collector look at little, and seldom; call it when all is there that lives as long as we do.

    What exists now is never looked at again. What requests leave behind holds hardly a cycle: at its usual pace the
    collector took a sixth of the time under load.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
    gc.enable()


def share_arena() -> None:
    """Have all threads allocate from one arena; the first of them calls it.

    glibc keeps an arena for each of the first threads: 64 MB of address space, and whatever its thread has freed. One
    for all takes 2 MB less of memory under load, and costs nothing here: the interpreter lock lets one thread at a time
    allocate. Under a limit on the address space (`ulimit -v`) arenas would take all that there is, and a later thread
    that finds no room for its own would never get memory, however much the others have left. Does nothing where there
    is another C library.
    """
    _tell_allocator("mallopt", M_ARENA_MAX, 1)


def give_back() -> None:
    """Give the system the pages that hold nothing now. Takes some tenths of a millisecond.

    By itself glibc gives back only what is free at the end of its memory: what a busy time has needed in the middle is
    kept, for ever. So it is called when one has ended, and when the start has. Does nothing where there is another C
    library.
    """
    _tell_allocator("malloc_trim", 0)


def _tell_allocator(function: str, *values: int) -> None:
    with suppress(AttributeError, MemoryError):  # another library has no such function
        getattr(_library(), function)(*values)


@cache
def _library() -> Any:
    """That of C; None where it cannot be glibc, or cannot be called."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes  # noqa: PLC0415 - costs 5 ms

        return ctypes.CDLL(None)
    except (ImportError, OSError, MemoryError):
        return None
