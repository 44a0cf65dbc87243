"""The GPUs of this machine and their memory, as far as their drivers tell.

They are asked as for `/api/hardware`, on a thread of its own: a driver that does not answer in time has no GPUs. One
whose memory is not known is left out, for then nothing is known to fit in it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple

from llamaswap_lib.hardware.readings import SourceLost
from llamaswap_lib.hardware.sources import Open, openers

TIMEOUT = 5.0  # seconds; a hung driver must not hold up a first configuration


class Gpu(NamedTuple):
    """Its name, and its memory in bytes."""

    name: str
    memory_bytes: int


def find(open_sources: Iterable[Open] | None = None, timeout: float = TIMEOUT) -> list[Gpu]:
    """All that are found; `open_sources` where it is not to be what the platform has."""
    found: list[Gpu] = []
    sources = openers(sys.platform) if open_sources is None else open_sources
    thread = threading.Thread(target=_look, args=(sources, found), name="gpus", daemon=True)
    thread.start()
    thread.join(timeout)
    return list(found)


def _look(open_sources: Iterable[Open], found: list[Gpu]) -> None:
    for open_source in open_sources:
        try:
            source = open_source()
            gpus = [] if source is None else source.read()
        except SourceLost:
            continue
        found.extend(Gpu(gpu.name, gpu.total_bytes) for gpu in gpus if gpu.total_bytes)
        if source is not None:
            source.close()
