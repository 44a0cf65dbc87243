"""Edits of a text that flows in pieces: what is not replaced passes byte for byte, and is never copied as a whole.

Pure, any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Edit(NamedTuple):
    """`new` in the place of the bytes from `start` up to, not including, `end`."""

    start: int
    end: int
    new: bytes


def splice(pieces: Iterable[bytes], edits: Iterable[Edit]) -> Iterator[bytes]:
    """The body that comes in `pieces`, with `edits` (in order, none overlapping) carried out on the way."""
    handled = 0  # how far the unedited body is sent on or replaced
    offset = 0  # of the piece's first byte
    waiting = iter(edits)
    edit = next(waiting, None)
    for piece in pieces:
        end = offset + len(piece)
        while edit is not None and edit.start < end:
            yield piece[handled - offset : edit.start - offset]
            yield edit.new
            handled = edit.end
            edit = next(waiting, None)
        if handled < end:
            yield piece[handled - offset :]
            handled = end
        offset = end
    while edit is not None:  # it stands behind the last byte
        yield edit.new
        edit = next(waiting, None)


def spliced(data: bytes, edits: Iterable[Edit]) -> bytes:
    """The same for what is in memory."""
    pieces: list[bytes] = []
    handled = 0
    for start, end, new in edits:
        pieces += (data[handled:start], new)
        handled = end
    pieces.append(data[handled:])
    return b"".join(pieces)


def grown_by(edits: Iterable[Edit]) -> int:
    """How many bytes longer `edits` make a body."""
    return sum(len(edit.new) - (edit.end - edit.start) for edit in edits)
