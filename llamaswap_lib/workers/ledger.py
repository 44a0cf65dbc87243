"""The requests of a worker of which the parent has no row yet, in memory that both share.

It outlives the worker, however that ends: what stands there then gets a row from the parent. A request takes a place
when it begins (the worker's loop); the parent clears it when its row has come. So each request has one row, and nothing
is sent for it while it lasts. A place is taken once all of it is written: its first two bytes are its length, 0 for
none.
"""

from __future__ import annotations

import marshal
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

PLACES = 8_192  # a request that finds none has no row if its worker is killed; memory is used as places are
PLACE_BYTES = 1_024
_MOST_CHARACTERS = 120  # of a text: of all together no more than fit are in the row
_SEARCHED = 64  # places at most: most are free


class Noted(NamedTuple):
    """What is known of a request when it begins."""

    timestamp: float  # seconds since 1970
    model: str
    path: str
    method: str
    selector: str
    session: str
    key: str
    remote_ip: str


def shared_memory(size_bytes: int) -> int:
    """A descriptor of so much memory; its owner closes it. Raises OSError."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("llamaswap-worker")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size_bytes)
    return descriptor


def new_ledger() -> int:
    """A descriptor of memory for one; its owner closes it. Raises OSError."""
    return shared_memory(PLACES * PLACE_BYTES)


class Ledger:
    """One side of it: the worker takes places, and the parent clears them and reads what is left."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor may be closed then. Raises OSError."""
        self._memory = mmap.mmap(descriptor, PLACES * PLACE_BYTES)
        self._last = 0

    # -- the worker's loop --

    def take(self, noted: Noted) -> int:
        """Note a request; its place, -1 where there is none."""
        memory, place = self._memory, self._last
        for _ in range(_SEARCHED):
            place = (place + 1) % PLACES
            at = place * PLACE_BYTES
            if not (memory[at] or memory[at + 1]):
                break
        else:
            return -1
        self._last = place
        data = marshal.dumps(tuple(noted))
        if len(data) > PLACE_BYTES - 2:
            data = marshal.dumps((noted[0], *[text[:_MOST_CHARACTERS] for text in noted[1:]]))
            if len(data) > PLACE_BYTES - 2:  # of other alphabets
                data = marshal.dumps((noted[0], *[text[: _MOST_CHARACTERS // 4] for text in noted[1:]]))
        memory[at + 2 : at + 2 + len(data)] = data
        memory[at : at + 2] = len(data).to_bytes(2, "big")
        return place

    # -- the parent --

    def clear(self, place: int) -> None:
        """Its row has come."""
        at = place * PLACE_BYTES
        self._memory[at : at + 2] = bytes(2)

    def left(self) -> Iterator[Noted]:
        """The requests whose rows have not come, once the worker has ended."""
        memory = self._memory
        for at in range(0, PLACES * PLACE_BYTES, PLACE_BYTES):
            if size_bytes := int.from_bytes(memory[at : at + 2], "big"):
                yield Noted(*marshal.loads(memory[at + 2 : at + 2 + size_bytes]))  # noqa: S302 - our own

    def close(self) -> None:
        self._memory.close()
