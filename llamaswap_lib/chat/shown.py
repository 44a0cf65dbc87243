"""How an answer is shown while it comes: its words wrapped, its reasoning faint, nothing that moves the cursor."""

from __future__ import annotations

import time
import unicodedata

from llamaswap_lib.client import words
from llamaswap_lib.client.completion import Kind, Piece
from llamaswap_lib.client.terminal import Style, Terminal, display_width
from llamaswap_lib.printable import printable

FENCE = "```"
LEAST_WIDTH = 20  # columns; a narrower terminal wraps by itself
# What `str.isprintable` does not have and text of people does: joiners of emoji and of scripts. They move nothing.
JOINERS = "\u200c\u200d"


class ShownAnswer:
    """One answer on a terminal, or in a pipe, which gets the text of the answer alone."""

    def __init__(self, terminal: Terminal, *, shows_thoughts: bool, wraps: bool) -> None:
        self._terminal = terminal
        self._shows_thoughts = shows_thoughts and terminal.is_terminal
        self._text = Wrapped(terminal, is_on=wraps)
        self._thinks_since: float | None = None
        self._thoughts = 0

    def add(self, piece: Piece) -> None:
        """Show what has come."""
        if piece.kind is Kind.THOUGHT:
            self._think(piece.text)
        elif piece.kind is Kind.TEXT:
            self._answer(piece.text)

    def end(self) -> None:
        """The answer is complete, or broke off: what comes next begins a line."""
        self._end_thinking()
        self._text.end()

    def _think(self, text: str) -> None:
        self._thoughts += 1
        if self._thinks_since is None:
            self._thinks_since = time.monotonic()
            if self._shows_thoughts:
                self._terminal.line("Thinking:", Style.QUIET)
        if self._shows_thoughts:
            self._text.add(text, Style.QUIET)
        else:
            seconds = words.duration(time.monotonic() - self._thinks_since)
            self._terminal.status(f"thinking, {words.counted(self._thoughts, 'token')}, {seconds}")

    def _answer(self, text: str) -> None:
        if self._thinks_since is not None:
            self._end_thinking()
        if self._text.is_empty:
            text = text.lstrip("\r\n")
        if text:
            self._text.add(text)

    def _end_thinking(self) -> None:
        if self._thinks_since is None:
            return
        seconds = words.duration(time.monotonic() - self._thinks_since)
        self._thinks_since = None
        self._text.end()
        if self._terminal.is_terminal:
            self._terminal.line(f"Thought for {seconds}.\n", Style.QUIET)


class Wrapped:
    """Text whose lines break between words where the terminal ends; lines of code break where they will."""

    def __init__(self, terminal: Terminal, *, is_on: bool) -> None:
        self._terminal = terminal
        self._is_on = is_on and terminal.is_terminal
        self._column = 0
        self._word = ""
        self._begin = ""  # the first characters of this line of the text
        self._is_code = False
        self._style = Style.PLAIN  # of the word that may go on
        self.is_empty = True

    def add(self, text: str, style: Style = Style.PLAIN) -> None:
        """Print it, but for a word that may go on."""
        self.is_empty, self._style = False, style
        out = "".join(map(self._take, clean(text)))
        if not self._is_on:
            out += self._flush()
        if out:
            self._terminal.write(self._terminal.styled(out, style))

    def end(self) -> None:
        """End the line, if one has begun."""
        out = self._flush()
        if out or self._column:
            self._terminal.line(out, self._style)
        self._column, self._begin, self._is_code, self.is_empty = 0, "", False, True

    def _take(self, char: str) -> str:
        """What can be printed now."""
        if char == "\n":
            out = self._flush() + char
            if self._begin.lstrip().startswith(FENCE):
                self._is_code = not self._is_code
            self._column, self._begin = 0, ""
            return out
        if len(self._begin) < len(FENCE) + 4:
            self._begin += char
        if char in " \t":
            out = self._flush()
            if self._breaks(1):
                return out  # the line is full: a blank would begin the next one
            self._column += 1
            return out + char
        self._word += char
        return self._flush() if unicodedata.east_asian_width(char) in "WF" else ""

    def _flush(self) -> str:
        """The word, on the next line where it does not fit on this one."""
        word, self._word = self._word, ""
        if not word:
            return ""
        width = display_width(word)
        if self._breaks(width):
            self._column = width
            return f"\n{word}"
        self._column += width
        return word

    def _breaks(self, width: int) -> bool:
        """Whether so many columns are too many for this line, and it is one that may break."""
        if not self._is_on or self._is_code or self._begin.startswith(("|", "    ")):
            return False
        room = self._terminal.width
        return room >= LEAST_WIDTH and self._column > 0 and self._column + width > room


def clean(text: str) -> str:
    """Text of a model as a terminal may get it: nothing in it moves the cursor, erases, or sets the title."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else printable(char) for char in text.replace("\r\n", "\n"))


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or char in JOINERS or unicodedata.category(char) == "Zs"
