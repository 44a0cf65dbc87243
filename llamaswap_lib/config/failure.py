"""Where a YAML parser gave up on a text, with the lines around that spot, for `syntax.py` to find the mistake in.

Owns `Failure`, and `Mistake`, which is what comes of it. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple


class Mistake(NamedTuple):
    """Where it is, in lines and columns from 0, and what to say of it."""

    line: int
    column: int
    length: int
    message: str


class Quote(NamedTuple):
    """A text in quotes: from its opening quote to behind the closing one."""

    line: int
    column: int
    end_line: int
    end_column: int


class Failure(NamedTuple):
    """Where the parser gave up, on what (`context`), since when (`begun`), and the texts in quotes that it had read."""

    lines: Sequence[str]
    line: int
    column: int
    problem: str
    context: str
    begun: tuple[int, int]
    quotes: Sequence[Quote]
    secret: Collection[int]  # lines with a secret in them, of which nothing is quoted

    def text(self, number: int) -> str:
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    @property
    def char(self) -> str:
        """What the parser could not take."""
        return self.text(self.line)[self.column : self.column + 1]

    @property
    def is_at_beginning(self) -> bool:
        """Whether nothing but blanks stands before that in its line."""
        return not self.text(self.line)[: self.column].strip()

    def previous(self, number: int) -> int:
        """The line above that says something; -1 if there is none."""
        number -= 1
        while number >= 0 and (not self.text(number).strip() or self.text(number).lstrip().startswith("#")):
            number -= 1
        return number


def failure(error: Any, lines: Sequence[str], quotes: Sequence[Quote], secret: Collection[int] = ()) -> Failure:
    """What a `yaml.MarkedYAMLError` says."""
    mark = error.problem_mark or error.context_mark
    begun = error.context_mark or mark
    line = min(mark.line, len(lines) - 1)
    column = mark.column if line == mark.line else len(lines[line])
    place = (begun.line, begun.column)
    return Failure(lines, line, column, str(error.problem), str(error.context or ""), place, quotes, secret)
