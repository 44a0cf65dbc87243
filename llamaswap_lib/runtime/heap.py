"""The memory of the process: what the garbage collector and the allocator of glibc are told about it.

Any thread, but where it says otherwise.
"""

from __future__ import annotations

import gc
import sys

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
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes  # noqa: PLC0415 - costs 5 ms

        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except (ImportError, OSError, AttributeError, MemoryError):
        pass  # no `ctypes`, or no such function
