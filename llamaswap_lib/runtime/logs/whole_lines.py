"""Whole lines of what one process writes, for stdout, where others write too.

Pure except for the clock; one thread. A line is held back until its end has come, so that no other output gets into it.
What is held is bounded: what has no end after MOST_BYTES is shown in pieces, each a line of its own. A progress bar
overwrites its states by carriage returns: its last state is shown, and one now and then while it moves. No line leaves
its colour to the next, and none moves the cursor to other lines. All other bytes are shown as they are.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

MOST_BYTES = 16_384
BAR_PAUSE = 1.0  # seconds between states of a progress bar
_RESET = b"\x1b[0m"
_control_sequence = re.compile(rb"\x1b(?:\[([0-9;:?<=>]*[ -/]*)([@-~])|[78DEMc])")  # the latter: cursor and reset


class WholeLines:
    """Gives the lines that are whole, each with what `prefix` is at that time before it."""

    def __init__(self, prefix: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = prefix
        self._clock = clock
        self._rest = b""  # of a line whose end has not come
        self._state = b""  # of a progress bar, as it was last shown in this line
        self._next_state_at = -math.inf

    def add(self, data: bytes) -> bytes:
        """What can be shown now that the process has written `data`: whole lines."""
        whole, line_end, self._rest = (self._rest + data).rpartition(b"\n")
        shown = self._lines(whole) if line_end else b""
        if b"\r" in self._rest:
            shown += self._moving_bar()
        while len(self._rest) > MOST_BYTES:
            shown += self._piece()
        return shown

    def flush(self) -> bytes:
        """The rest without an end, as a line: the process writes no more."""
        rest, self._rest = self._rest, b""
        return self._lines(rest) if rest else b""

    def _lines(self, text: bytes) -> bytes:
        """`text` is one line or more, without the last line end."""
        if b"\r" not in text and b"\x1b" not in text:
            self._state = b""
            prefix = self._prefix()
            return prefix + (text.replace(b"\n", b"\n" + prefix) if prefix else text) + b"\n"
        return b"".join(map(self._last_state, text.split(b"\n")))

    def _last_state(self, line: bytes) -> bytes:
        """What a terminal would show of the line in the end; b"" if that was shown already."""
        seen = line.rstrip(b"\r").rpartition(b"\r")[2]
        is_known, self._state = seen == self._state != b"", b""
        return b"" if is_known else self._line(seen)

    def _moving_bar(self) -> bytes:
        """The last whole state, if it is time to show one; the states before it are forgotten."""
        states, _, unfinished = self._rest.rpartition(b"\r")
        state = states.rstrip(b"\r").rpartition(b"\r")[2]
        self._rest = state + b"\r" + unfinished
        now = self._clock()
        if not state.strip() or state == self._state or now < self._next_state_at:
            return b""
        self._next_state_at = now + BAR_PAUSE
        self._state = state
        return self._line(state)

    def _piece(self) -> bytes:
        """The beginning of a line that is too long to hold, cut between characters of UTF-8."""
        end = MOST_BYTES
        while end > MOST_BYTES - 4 and self._rest[end] & 0xC0 == 0x80:
            end -= 1
        piece, self._rest = self._rest[:end], self._rest[end:]
        return self._line(piece)

    def _line(self, text: bytes) -> bytes:
        return self._prefix() + (_tamed(text) if b"\x1b" in text else text) + b"\n"


def _tamed(text: bytes) -> bytes:
    """Without what moves the cursor or clears the screen; colours and the like are reset at the end."""
    is_plain = True

    def kept(match: re.Match[bytes]) -> bytes:
        nonlocal is_plain
        if match[2] != b"m":
            return b""
        is_plain = not match[1].strip(b"0;")
        return match[0]

    text = _control_sequence.sub(kept, text)
    return text if is_plain else text + _RESET
