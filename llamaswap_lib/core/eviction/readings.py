"""What the last readings of the memory tell, and what they do not tell yet. Pure.

A driver gives memory back 0.1 to 2 seconds after the end of a process.
"""

from __future__ import annotations

from llamaswap_lib.core.eviction.devices import Memory

ALIKE = 0.02  # of the capacity: by so much two readings may differ


def is_shown(memory: Memory, device: str, wanted: int, since: float) -> bool:
    """Whether so many bytes are free of the device, by two readings that began since then and are alike.

    True where nothing reads it.
    """
    if not memory.readings or device not in memory.readings[-1].free:
        return True
    free = [reading.free[device] for reading in memory.readings if reading.at > since and device in reading.free]
    most = ALIKE * memory.devices[device].capacity
    return len(free) > 1 and min(free) >= wanted and max(free) - min(free) <= most


def was_read(memory: Memory, asleep_since: float) -> bool:
    """Whether the last reading tells what a model holds that fell asleep then; else it is of before."""
    return bool(memory.readings) and memory.readings[-1].at > asleep_since
