"""How `cmd` and `cmdStop` become words; and the command that runs this very llamaswap.

Owns the rules: comment lines go first, a backslash at the end of a line is a space, then quotes. Pure except for a look
at where the program is; never fails: an open quote goes on to the end.
"""

from __future__ import annotations

import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

PIECE = re.compile(
    r"""(?P<blank>[ \t\r\n\f\v]+)
      | '(?P<literal>[^']*)(?:'|\Z)
      | "(?P<quoted>(?:\\.|[^"\\]|\\\Z)*)(?:"|\Z)
      | \\(?P<escaped>.)
      | (?P<plain>[^\s'"\\]+|[^ \t\r\n\f\v'"\\]|\\\Z)""",
    re.VERBOSE | re.DOTALL,
)
PLAIN_WORD = re.compile(r"[^\s'\"\\]+\Z")
CONTINUATION = re.compile(r"\\(?=[^\S\n]*(?:\n|\Z))")
is_command_option = re.compile(r"-[a-z]*c").fullmatch  # of a shell: the next word is a command
ESCAPED_IN_QUOTES = re.compile(r'\\(["\\$`])')


def without_comments(text: str) -> str:
    """The text without the lines whose first character is #, even inside quotes."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


class Word(NamedTuple):
    """A word of a command, and where it stands in the text."""

    value: str
    start: int
    stop: int


def split(text: str) -> tuple[str, ...]:
    """The words of a command; nothing of a shell but quotes and backslashes."""
    return tuple(word.value for word in _words(_joined(without_comments(text))))


def words_of(text: str) -> list[Word]:
    """The same with their places in the text, which has no comments.

    Of a word that goes on in the next line, within quotes, the value may have more blanks.
    """
    return _words(CONTINUATION.sub(lambda match: " " * len(match[0]), text))


def _words(text: str) -> list[Word]:
    words: list[Word] = []
    value: str | None = None  # None between words, so that '' is a word of its own
    start = 0
    for match in PIECE.finditer(text):
        kind = str(match.lastgroup)
        if kind == "blank":
            words += [] if value is None else [Word(value, start, match.start())]
            value = None
            continue
        if value is None:
            value, start = "", match.start()
        value += ESCAPED_IN_QUOTES.sub(r"\1", match[kind]) if kind == "quoted" else match[kind]
    return words if value is None else [*words, Word(value, start, len(text))]


class Parts(NamedTuple):
    """What of a word a shell would read, too; each without what does not count for it."""

    bare: str  # outside of quotes, and behind no backslash
    expanded: str  # the same and what is in double quotes: where a shell puts in the values of variables
    open_quote: str  # the quote that is not closed, or ''


def parts_of(written: str) -> Parts:
    """The parts of a word as it is written."""
    bare = expanded = open_quote = ""
    for match in PIECE.finditer(written):
        kind = str(match.lastgroup)
        if kind in ("plain", "quoted"):
            expanded += re.sub(r"\\.", "", match[kind], flags=re.DOTALL) if kind == "quoted" else match[kind]
        if kind == "plain":
            bare += match[kind]
        elif kind in ("literal", "quoted") and match.end(kind) == match.end():
            open_quote = match[0][0]
    return Parts(bare, expanded, open_quote)


def quoted_word(value: str) -> str:
    """A word as `split` reads it again, in quotes if it needs them."""
    if PLAIN_WORD.match(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _joined(text: str) -> str:
    """The text with a space for each backslash that ends a line; blanks around such a line do not count."""
    if "\\" not in text:
        return text
    stripped = (line.strip() if line.rstrip().endswith("\\") else line for line in text.split("\n"))
    return "\n".join(line[:-1] + " " if line.endswith("\\") else line for line in stripped)


# -- what `${LLAMASWAP}` stands for --


@cache
def own_words() -> tuple[str, str]:
    """This Python, and the single file, or the `llamaswap.py` beside the package; both are absolute paths.

    It works from any folder, and does not depend on how the program was started. It is found out once: later the
    program's file may have been replaced or deleted.
    """
    place = Path(__file__).absolute().parents[2]  # of a zip: the zip itself
    program = place if place.is_file() else place / "llamaswap.py"
    return sys.executable, str(program)


def own_command() -> str:
    """The same as `cmd` is written."""
    return shlex.join(own_words())
