"""Which parts of a text are secret: values of options, headers, variables and URLs, told by the names beside them.

Owns the rules, for commands and for any other text. Only the value gives way to `[hidden]`: a masked command splits
into as many words as before, and all others are the same. What came from the environment, which `hidden.py` knows, is
masked too. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .command import quoted_word, words_of
from .hidden import MASK, visible

Span = tuple[int, int]

_LAST_WORDS = frozenset(
    ("key", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials"),
)
_has_glued_word = re.compile(r"(?:token|secret|password|passwd|(?:api|auth|access|private|master|my)key)\Z").search
_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))
_SHORT_OPTIONS = frozenset(("-hft",))  # llama.cpp's --hf-token
_LOGIN_OPTIONS = frozenset(("-u", "--user", "-U", "--proxy-user"))  # of curl: user:password
_is_command_option = re.compile(r"-[a-z]*c").fullmatch  # of a shell: the next word is a command
_SCHEMES = frozenset(("bearer", "basic", "token", "digest"))  # what may stand before the value of Authorization

# What every text with a secret in it has: most have nothing of it, and are not looked at any further.
_may_hold_secrets = re.compile(
    r"key|token|secret|passw|passphrase|credential|authorization|cookie|-hft|curl|://[^\s/]*@", re.IGNORECASE
).search

_find_words = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+").findall
_option = re.compile(r"--?([A-Za-z][\w.-]*)(=|\Z)")
_variable = re.compile(r"(?:-[A-Za-z])?([A-Za-z_]\w*)=")
_header = re.compile(r"(?:-H|--?[\w-]+=)?([A-Za-z][\w-]*):[ \t]*")

_NAME = r"(?P<name>[A-Za-z_][\w.-]*)"
_QUOTED = r"\"(?:\\.|[^\"\\\n])*\"?|'[^'\n]*'?"
_PASSWORD_IN_URL = re.compile(r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s/?#@:'\"]*:(?P<secret>[^\s/?#'\"]+)@")
_PARAMETER = re.compile(rf"[?&;]{_NAME}=(?P<secret>[^&#\s'\"]+)")
_ASSIGNMENT = re.compile(rf"(?<![\w.?&;-])(?P<name>[A-Za-z_]\w*)=(?P<secret>{_QUOTED}|[^\s\"',\]}}]+)")
_OPTION = re.compile(rf"(?<![\w-])(?P<dashes>--?){_NAME}(?:=|\s+(?:\\\s+)?)(?P<secret>{_QUOTED}|[^\s\"'-][^\s\"']*)")
_MEMBER = re.compile(
    rf"(?<![\w.-]){_NAME}(?P<quote>[\"']?)[ \t]*:(?P<blank>[ \t]*)(?P<secret>{_QUOTED}|[^\s\"'][^\n\"']*)"
)
_END_OF_PLAIN = re.compile(r", |[}\]]|\s#")


def is_secret_name(name: str) -> bool:
    """Whether what has this name is secret: its last word is key, token, secret, password or the like.

    Words are parted by `_`, `-` and dots, and by capitals; a number behind them does not count. So `--api-key-file` is
    the name of a file, and `--max-tokens` a number.
    """
    words = [word.lower() for word in _find_words(name) if not word.isdigit()]
    if not words:
        return False
    return words[-1] in _LAST_WORDS or words[-2:] == ["api", "keys"] or _has_glued_word(words[-1]) is not None


def is_secret_header(name: str) -> bool:
    return name.lower() in _HEADERS or is_secret_name(name)


# -- commands --


def mask_command(text: str) -> str:
    """A command with its secrets masked; where there are none, the same, byte for byte."""
    text = visible(text)
    if not _may_hold_secrets(text):
        return text
    words = words_of(text)
    parts, end = [], 0
    for (value, start, stop), masked in zip(words, _masked_words([word.value for word in words]), strict=True):
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


def _masked_words(values: Sequence[str]) -> Iterator[str]:
    is_curl = any(value.rpartition("/")[2] == "curl" for value in values)
    expected: Callable[[str], str] | None = None  # what is done to a word because of the one before
    for value in values:
        if expected is not None and not value.startswith("-"):
            yield expected(value)
            expected = _all if expected is _all_of_header and value.lower() in _SCHEMES else None
            continue
        yield _masked_word(value)
        expected = _expected_after(value, is_curl)


def _expected_after(word: str, is_curl: bool) -> Callable[[str], str] | None:
    option = _option.match(word)
    if word in _SHORT_OPTIONS or (option is not None and not option[2] and is_secret_name(option[1])):
        return _all
    if is_curl and word in _LOGIN_OPTIONS:
        return _login
    if _is_command_option(word):
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
    option = _option.match(word)
    if option is not None and option[2]:
        if is_secret_name(option[1]):
            return word[: option.end()] + MASK if word[option.end() :] else word
        return word[: option.end()] + _masked_word(word[option.end() :])
    variable = _variable.match(word)
    if variable is not None and is_secret_name(variable[1]):
        return word[: variable.end()] + MASK if word[variable.end() :] else word
    header = _header.match(word)
    if header is not None and is_secret_header(header[1]) and word[header.end() :]:
        return word[: header.end()] + MASK
    word = mask_text(word)
    return mask_command(word) if any(char in word for char in " \t\n;") and len(words_of(word)) > 1 else word


# -- any other text --


def mask_text(text: str) -> str:
    """A text with its secrets masked."""
    text = visible(text)
    return hide(text, secret_spans(text))


def mask_variable(entry: str) -> str:
    """`NAME=value`, its value masked if the name is that of a secret, else what is secret in it."""
    entry = visible(entry)
    name, equals, value = entry.partition("=")
    if equals and value and is_secret_name(name):
        return f"{name}={MASK}"
    return f"{name}{equals}{mask_command(value)}"


def mask_by_form(form: str, text: str) -> str:
    """A text of the configuration; `form` as `kinds.Text` has it."""
    if form == "secret":
        return MASK if text else ""
    return {"command": mask_command, "variable": mask_variable}.get(form, mask_text)(text)


def mask_value(value: Any, name: str = "") -> Any:
    """Anything that stands under `name`, down to the last item."""
    if isinstance(value, Mapping):
        return {key: mask_value(item, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_value(item, name) for item in value]
    if isinstance(value, str):
        return MASK if value and is_secret_header(name) else mask_text(value)
    return visible(value)


def secret_spans(text: str) -> list[Span]:
    """Where secrets stand in a text, in order and apart."""
    if not _may_hold_secrets(text):
        return []
    found = [match.span("secret") for match in _PASSWORD_IN_URL.finditer(text)]
    for pattern in (_PARAMETER, _ASSIGNMENT, _OPTION):
        for match in _matches(pattern, text):
            is_short = pattern is _OPTION and match["dashes"] + match["name"] in _SHORT_OPTIONS
            if is_short or is_secret_name(match["name"]):
                found.append(match.span("secret"))
    found += (_member_span(match) for match in _matches(_MEMBER, text) if _is_secret_member(match))
    return merged(_unquoted(text, span) for span in found)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Every match, also one that begins within the value of another: `--flag TOKEN=x`."""
    place = 0
    while match := pattern.search(text, place):
        yield match
        place = match.start("secret")


def _is_secret_member(match: re.Match[str]) -> bool:
    """`name: value` of YAML, `"name": "value"` of JSON, `Name:value` of a header; not `image:tag`."""
    if match["name"].lower() in _HEADERS:
        return True
    is_told_apart = bool(match["blank"] or match["quote"]) or match["name"].lower().startswith("x-")
    return is_told_apart and is_secret_name(match["name"])


def _member_span(match: re.Match[str]) -> Span:
    """A header goes on to the end of the line; anything else without quotes to where YAML or JSON ends it."""
    start, stop = match.span("secret")
    if match["secret"][0] in "\"'" or match["name"].lower() in _HEADERS:
        return start, stop
    if match["secret"].startswith("["):  # a list of them
        stop = start + match["secret"].find("]")
        return start + 1, stop if stop > start else match.end("secret")
    end = _END_OF_PLAIN.search(match["secret"])
    return start, stop if end is None else start + max(end.start(), 1)


def _unquoted(text: str, span: Span) -> Span:
    """The span without the quotes around it, which may be one-sided."""
    start, stop = span
    if text[start] in "\"'":
        quote, start = text[start], start + 1
        stop -= stop > start and text[stop - 1] == quote
    return start, stop


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same places, in order, none empty, none touching another."""
    found: list[Span] = []
    for start, stop in sorted(spans):
        if start == stop:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found


def hide(text: str, spans: Iterable[Span]) -> str:
    """The text with `[hidden]` in the place of each span."""
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], MASK]
        end = stop
    return "".join([*parts, text[end:]])
