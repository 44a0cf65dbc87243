"""What a process says about its progress: the last line of its output, fit to be shown to people.

Pure; one instance for each reader. Progress bars end their lines with a carriage return, so that ends a line here too.
Memory is bounded by MAX_LINE_BYTES, whatever comes.
"""

from __future__ import annotations

import re

MAX_LINE_BYTES = 4_096
MAX_SHOWN = 200

_line_end = re.compile(rb"[\r\n]+")
_remove_escapes = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])").sub


class LastLine:
    """Finds the last whole line that says something."""

    __slots__ = ("_rest", "_shown")

    def __init__(self) -> None:
        self._rest = b""  # a line that has not ended yet
        self._shown = ""

    def feed(self, data: bytes) -> str:
        """The last line that has ended in `data`; '' if none has, or if it says what the one before said."""
        *lines, rest = _line_end.split(self._rest + data)
        self._rest = rest[-MAX_LINE_BYTES:]
        for line in reversed(lines):
            if text := _readable(line[-MAX_LINE_BYTES:]):
                is_new = text != self._shown
                self._shown = text
                return text if is_new else ""
        return ""


def _readable(line: bytes) -> str:
    """Without what moves a cursor or colours, and not too long."""
    text = _remove_escapes("", line.decode("utf-8", "replace"))
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
