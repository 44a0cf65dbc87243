"""How `cmd` and `cmdStop` become words.

Owns the rules: comment lines go first, a backslash at the end of a line is a space, then quotes. Pure; never fails: an
open quote runs to the end.
"""

from __future__ import annotations

import re

PIECE = re.compile(
    r"""(?P<blank>[ \t\r\n\f\v]+)
      | '(?P<literal>[^']*)(?:'|\Z)
      | "(?P<quoted>(?:\\.|[^"\\]|\\\Z)*)(?:"|\Z)
      | \\(?P<escaped>.)
      | (?P<plain>[^\s'"\\]+|[^ \t\r\n\f\v'"\\]|\\\Z)""",
    re.VERBOSE | re.DOTALL,
)
ESCAPED_IN_QUOTES = re.compile(r'\\(["\\$`])')


def without_comments(text: str) -> str:
    """The text without the lines whose first character is #, even inside quotes."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def split(text: str) -> tuple[str, ...]:
    """The words of a command; nothing of a shell but quotes and backslashes."""
    words: list[str] = []
    word: str | None = None  # None between words, so that '' is a word of its own
    for match in PIECE.finditer(_joined(without_comments(text))):
        kind = str(match.lastgroup)
        if kind == "blank":
            words += [] if word is None else [word]
            word = None
        else:
            piece = ESCAPED_IN_QUOTES.sub(r"\1", match[kind]) if kind == "quoted" else match[kind]
            word = piece if word is None else word + piece
    return tuple(words if word is None else [*words, word])


def _joined(text: str) -> str:
    """The text with a space for each backslash that ends a line; blanks around such a line do not count."""
    if "\\" not in text:
        return text
    stripped = (line.strip() if line.rstrip().endswith("\\") else line for line in text.split("\n"))
    return "\n".join(line[:-1] + " " if line.endswith("\\") else line for line in stripped)
