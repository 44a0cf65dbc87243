"""Where a command prints: a terminal, of some width and with colours, or a pipe, which gets the same words without.

Main thread only. Colours are the sixteen that every terminal has, as its user has chosen them, so that they can be
read on dark and on light. They are off where stdout is no terminal, where `NO_COLOR` is set (https://no-color.org), and
where `TERM` is `dumb`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from io import TextIOWrapper
from typing import Any, NamedTuple, TextIO

from llamaswap_lib.errors import CannotPrint
from llamaswap_lib.printable import CUT, printable

GAP = "  "  # between two columns
LEAST_WIDTH = 8  # of a column that shrinks
ERASE_LINE = "\r\x1b[K"
USUAL_WIDTH = 80  # of a terminal that does not say
_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")


class Style(Enum):
    """What a colour says; the value is that of the terminal's `SGR` sequence."""

    PLAIN = ""
    HEAD = "1"  # bold
    QUIET = "2"  # faint
    GOOD = "32"  # green
    BUSY = "33"  # yellow
    BAD = "31"  # red
    NAME = "36"  # cyan
    CHOSEN = "7"  # the other way round


class Cell(NamedTuple):
    text: str
    style: Style = Style.PLAIN


class Column(NamedTuple):
    """Of a table; `is_number` is aligned at its right end. `may_shrink`: it is cut where the terminal is narrow.

    `goes`: where that is not enough it is left out, the column with the highest number first; 0 for never.
    """

    title: str
    is_number: bool = False
    may_shrink: bool = False
    goes: int = 0


class Terminal:
    """Writes to `file`; raises BrokenPipeError when its reader has left, and CannotPrint where the disk is full."""

    def __init__(self, file: TextIO | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._file = sys.stdout if file is None else file
        environ = os.environ if environ is None else environ
        if isinstance(self._file, TextIOWrapper):
            self._file.reconfigure(errors="backslashreplace")
        self.is_terminal = self._file.isatty()
        is_capable = self.is_terminal and environ.get("TERM") != "dumb"
        self.has_colours = is_capable and not environ.get("NO_COLOR")
        self._may_erase = is_capable
        self._has_status = False

    @property
    def has_status(self) -> bool:
        """Whether `status` shows anything."""
        return self._may_erase

    @property
    def width(self) -> int:
        """Characters of a line, now; a pipe has no end of them."""
        if not self.is_terminal:
            return sys.maxsize
        try:
            return os.get_terminal_size(self._file.fileno()).columns or USUAL_WIDTH
        except OSError:
            return USUAL_WIDTH

    @property
    def is_unicode(self) -> bool:
        """Whether it has more characters than ASCII."""
        return (getattr(self._file, "encoding", None) or "utf-8").lower().startswith("utf")

    def bar(self, share: float, width: int) -> str:
        """A bar for a share of the whole, up to `width` long."""
        count = min(width, round(share * width))
        return ("█" if self.is_unicode else "#") * count or "." * (share > 0)

    def styled(self, text: str, style: Style) -> str:
        """The text in the colour, where there are colours."""
        return f"\x1b[{style.value}m{text}\x1b[0m" if self.has_colours and style.value and text else text

    def line(self, text: str = "", style: Style = Style.PLAIN) -> None:
        """Print a line, which may hold styled text, at once."""
        self.write(f"{self.styled(text, style)}\n")

    def write(self, text: str) -> None:
        """Print the text as it is, at once; a status that is shown goes."""
        erasing = ERASE_LINE if self._has_status else ""
        self._has_status = False
        try:
            self._file.write(f"{erasing}{text}")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CannotPrint(error) from None

    def clear(self) -> None:
        """Take away the status, if one is shown: before the end, and before anybody else writes to the terminal."""
        if self._has_status:
            self.write("")

    def status(self, text: str) -> None:
        """Show a line that the next one replaces; nothing where lines cannot be replaced."""
        if self._may_erase:
            self._has_status = True  # before it is: Ctrl-C may come in between, and then `clear` has to take it away
            self._file.write(ERASE_LINE + shortened(printable(text), self.width - 1))
            self._file.flush()

    def json(self, value: Any, *, is_one_of_many: bool = False) -> None:
        """Print a value as JSON: readable on a terminal, else on one line, as `is_one_of_many` always is."""
        indent = 2 if self.is_terminal and not is_one_of_many else None
        self.line(json_text(value, indent=indent, is_unicode=self.is_unicode))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Print a head and the rows."""
        for line in self.table_lines(columns, rows):
            self.line(line)

    def table_lines(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> list[str]:
        """The lines of a table. Text of others has nothing in it that cannot be seen."""
        head = [Cell(column.title, Style.HEAD) for column in columns]
        return [self.styled_line(line) for line in Table(columns).lines([head, *rows], self.width)]

    def styled_line(self, cells: Iterable[Cell]) -> str:
        """Parts of a line, each in its style."""
        line = "".join(self.styled(cell.text, cell.style) for cell in cells)
        return line if self.has_colours else line.rstrip()


class Table:
    """Rows under each other, which may come one after the other: a column only gets wider."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths = [0] * len(columns)

    def lines(self, rows: Iterable[Sequence[str | Cell]], most: int) -> list[list[Cell]]:
        """The rows, each `most` columns of a terminal wide or less. Text of others has nothing that cannot be seen."""
        cells = [[_cell(value) for value in row] for row in rows]
        for row in cells:
            self._widths = [max(width, display_width(cell.text)) for width, cell in zip(self._widths, row, strict=True)]
        widths = _fitting(self._columns, self._widths, most)
        return [self._line(row, widths) for row in cells]

    def _line(self, row: Sequence[Cell], widths: Mapping[int, int]) -> list[Cell]:
        parts: list[Cell] = []
        for number, width in widths.items():
            text = shortened(row[number].text, width)
            blanks = Cell(" " * (width - display_width(text)))
            cell = Cell(text, row[number].style)
            parts += [blanks, cell] if self._columns[number].is_number else [cell, blanks]
            parts.append(Cell(GAP))
        while parts and not parts[-1].text.strip():
            parts.pop()
        return parts


def json_text(value: Any, *, indent: int | None = None, is_unicode: bool = True) -> str:
    """As JSON, in which nothing moves a cursor; in ASCII unless `is_unicode`."""
    text = json.dumps(value, ensure_ascii=not is_unicode, indent=indent)
    return "\n".join(line if line.isprintable() else "".join(map(_in_json, line)) for line in text.split("\n"))


def without_colours(text: str) -> str:
    """Text of others without what sets colours."""
    return _SEQUENCE.sub("", text)


def display_width(text: str) -> int:
    """How many columns of a terminal it takes: characters of East Asia and emojis take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def shortened(text: str, width: int) -> str:
    """The text in at most `width` columns, with `…` at its end where it was cut."""
    if display_width(text) <= width:
        return text
    kept, taken = [], 1
    for char in text:
        taken += display_width(char)
        if taken > width:
            break
        kept.append(char)
    return "".join(kept) + CUT if width > 0 else ""


def harmless(text: str, *, colours: bool) -> str:
    """Lines of others as a terminal may get them: nothing moves its cursor; their colours stay where it has some.

    A carriage return, with which a program writes over its own line, begins another line.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = _SEQUENCE.findall(text) if colours else []
    pieces = [printable(piece, keep="\n\t") for piece in _SEQUENCE.split(text)]
    reset = "\x1b[0m" if kept else ""
    return "".join(piece + (kept[number] if number < len(kept) else "") for number, piece in enumerate(pieces)) + reset


def _in_json(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


def _cell(value: str | Cell) -> Cell:
    text, style = (value, Style.PLAIN) if isinstance(value, str) else value
    return Cell(printable(text), style)


def _fitting(columns: Sequence[Column], natural: Sequence[int], most: int) -> dict[int, int]:
    """The widths of the columns that a line has room for, by their numbers.

    The widest of those that may shrink give way, as far as their titles go; where that is not enough, some go.
    """
    widths = dict(enumerate(natural))
    least = {n: max(LEAST_WIDTH, len(column.title)) for n, column in enumerate(columns) if column.may_shrink}

    def excess(taken: Iterable[int]) -> int:
        return sum(taken) + len(GAP) * (len(widths) - 1) - most

    for number in sorted((n for n in widths if columns[n].goes), key=lambda n: -columns[n].goes):
        if excess(min(width, least.get(n, width)) for n, width in widths.items()) <= 0:
            break
        del widths[number]
    while excess(widths.values()) > 0:
        able = [n for n in widths if n in least and widths[n] > least[n]]
        if not able:
            break
        widths[max(able, key=lambda n: widths[n])] -= 1
    return widths
