"""How `cmd` and `cmdStop` become words, which of them are secret, and the command that runs this very llamaswap.

Owns the rules: comment lines go first, a backslash at the end of a line is a space, then quotes; an open quote goes on
to the end, so reading a command never fails. A masked command splits into as many words as before, and all words
without a secret are the same; `typed_yaml/secrets.py` has the rules. Pure except for a look at where the program is.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.typed_yaml.secrets import (
    MASK,
    SHORT_OPTIONS,
    is_secret_header,
    is_secret_name,
    mask_text,
    may_hold_secrets,
    visible,
)

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

_LOGIN_OPTIONS = frozenset(("-u", "--user", "-U", "--proxy-user"))  # of curl: user:password
_SCHEMES = frozenset(("bearer", "basic", "token", "digest"))  # what may stand before the value of Authorization
_option = re.compile(r"--?([A-Za-z][\w.-]*)(=|\Z)")
_variable = re.compile(r"(?:-[A-Za-z])?([A-Za-z_]\w*)=")
_has_option = re.compile(
    r"\s--?[A-Za-z]"
).search  # a line for a shell: `ssh box 'HF_TOKEN=abc llama-server --port 9000'`
_header = re.compile(r"(?:-H|--?[\w-]+=)?([A-Za-z][\w-]*):[ \t]*")


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


# -- secrets in it --


def mask_command(text: str) -> str:
    """A command with its secrets masked; where there are none, the same, byte for byte."""
    text = visible(text)
    if not may_hold_secrets(text):
        return text
    words = words_of(text)
    parts, end = [], 0
    for (value, start, stop), masked in zip(words, masked_words([word.value for word in words]), strict=True):
        if masked != value:
            parts += [text[end:start], quoted_word(masked)]
            end = stop
    return "".join([*parts, text[end:]])


def shown_words(words: Sequence[str], masked: str) -> tuple[str, ...]:
    """What may be shown of each word of a command, given the masked command."""
    shown = [word.value for word in words_of(masked)]
    return tuple(shown) if len(shown) == len(words) else (MASK,) * len(words)


def secrets_of(words: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    """What was masked, given the words of a command as they are and as they may be shown."""
    for word, masked in zip(words, shown, strict=True):
        before, mask, behind = masked.partition(MASK)
        if mask and MASK not in behind:
            yield word[len(before) : len(word) - len(behind)]


def masked_words(values: Sequence[str]) -> Iterator[str]:
    """The words of a command, with the secrets in them masked."""
    is_curl = any(value.rpartition("/")[2] == "curl" for value in values)
    expected: Callable[[str], str] | None = None  # what is done to a word because of the one before
    for before, value in zip(("", *values), values):  # noqa: B905 - the last word stands before none
        if expected is not None and not value.startswith("-"):
            yield expected(value)
            expected = _all if expected is _all_of_header and value.lower() in _SCHEMES else None
        elif value.startswith("-p") and before.rpartition("/")[2] == "sshpass":
            yield value if value == "-p" else f"-p{MASK}"
            expected = _all if value == "-p" else None
        else:
            yield _masked_word(value)
            expected = _expected_after(value, is_curl)


def _expected_after(word: str, is_curl: bool) -> Callable[[str], str] | None:
    option = _option.match(word)
    if word in SHORT_OPTIONS or (option is not None and not option[2] and is_secret_name(option[1])):
        return _all
    if is_curl and word in _LOGIN_OPTIONS:
        return _login
    if is_command_option(word):
        return mask_command
    header = _header.fullmatch(word)
    return _all_of_header if header is not None and is_secret_header(header[1]) else None


def _all(_word: str) -> str:
    return MASK


def _all_of_header(word: str) -> str:
    return word if word.lower() in _SCHEMES else MASK


def _login(word: str) -> str:
    user, colon, password = word.partition(":")
    return f"{user}:{MASK}" if colon and password else word


def _masked_word(word: str) -> str:
    """One word: an option with its value, a header, a variable, a URL, or a command of its own."""
    start = 0  # of what is left: the value of an option may look like an option again
    while (option := _option.match(word, start)) is not None and option[2]:
        start = option.end()
        if is_secret_name(option[1]):
            return word[:start] + MASK if word[start:] else word
    return word[:start] + _masked_value(word[start:])


def _masked_value(word: str) -> str:
    variable = _variable.match(word)
    if variable is not None and is_secret_name(variable[1]) and not _has_option(word):
        return word[: variable.end()] + MASK if word[variable.end() :] else word
    header = _header.match(word)
    if header is not None and is_secret_header(header[1]) and word[header.end() :]:
        return word[: header.end()] + MASK
    word = mask_text(word)
    return mask_command(word) if any(char in word for char in " \t\n;") and len(words_of(word)) > 1 else word


def is_variable(entry: str) -> bool:
    """Whether an entry of `env` is NAME=value; any other adds nothing to the environment."""
    return entry.find("=") > 0


def mask_variable(entry: str) -> str:
    """`NAME=value`, its value masked if the name is that of a secret, else what is secret in it."""
    entry = visible(entry)
    name, equals, value = entry.partition("=")
    if not equals:
        return mask_command(entry)
    if value and is_secret_name(name):
        return f"{name}={MASK}"
    return f"{name}={mask_command(value)}"


# -- what `${LLAMASWAP}` stands for --


@cache
def own_words() -> tuple[str, str]:
    """This Python, and the single file, or the `llamaswap.py` beside the package; both are absolute paths.

    It works from any folder, and does not depend on how the program was started. It is found out once: later the
    program's file may have been replaced or deleted.
    """
    place = Path(__file__).absolute().parents[1]  # of a zip: the zip itself
    program = place if place.is_file() else place / "llamaswap.py"
    return sys.executable, str(program)


def own_command() -> str:
    """The same as `cmd` is written."""
    return shlex.join(own_words())
