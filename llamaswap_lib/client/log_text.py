"""Bytes of a log as lines, and where a log that was read before goes on in one that is read anew. Pure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

MOST_LINE = 1 << 20  # characters of a line; what is longer is given in parts
TAIL_BYTES = 4096  # by which a place in a log is known again

dropped_of = re.compile(r"— (\d+) bytes dropped —").fullmatch


class Lines:
    """Cuts what comes into lines. A carriage return begins its line anew, as on a terminal: so progress bars do."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def add(self, data: bytes) -> Iterator[str]:
        """The lines that are complete now, without their ends."""
        *complete, rest = (self._rest + self._decoder.decode(data)).split("\n")
        yield from map(_last_state, complete)
        self._rest = rest[rest.rstrip("\r").rfind("\r") + 1 :]  # those at its end may belong to a line end
        if len(self._rest) > MOST_LINE:
            yield self.end()

    @property
    def rest(self) -> str:
        """The line that has no end yet, as it is now."""
        return _last_state(self._rest)

    def end(self) -> str:
        """The same, which is over."""
        rest, self._rest = self.rest, ""
        return rest


def _last_state(line: str) -> str:
    """What a terminal would show in the end."""
    if "\r" not in line:
        return line
    return next((state for state in reversed(line.split("\r")) if state), "")


class Tail:
    """The end of what has been read, to go on behind it when the log is read anew."""

    def __init__(self) -> None:
        self._bytes = b""

    def __bool__(self) -> bool:
        return bool(self._bytes)

    def add(self, data: bytes) -> None:
        self._bytes = (self._bytes + data)[-TAIL_BYTES:]

    def news(self, history: bytes) -> bytes:
        """What stands behind it in a log read anew; all of it where it is not found: then it is another log."""
        place = history.rfind(self._bytes) if self._bytes else -1
        return history[place + len(self._bytes) :] if place >= 0 else history
