"""Which parts of a text are secret: values of options, headers, variables and URLs, told by the names beside them.

Owns the rules, for commands and for any other text. Only the value gives way to `[hidden]`: a masked command splits
into as many words as before, and all others are the same. What came from the environment, which `hidden.py` knows, is
masked too. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .command import is_command_option, quoted_word, words_of
from .hidden import MASK, visible, visible_keys

Span = tuple[int, int]

_LAST_WORDS = frozenset(
    ("key", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials"),
)
_has_glued_word = re.compile(r"(?:token|secret|password|passwd|(?:api|auth|access|private|master|my)key)\Z").search
_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))
_SHORT_OPTIONS = frozenset(("-hft",))  # llama.cpp's --hf-token
_LOGIN_OPTIONS = frozenset(("-u", "--user", "-U", "--proxy-user"))  # of curl: user:password
_SCHEMES = frozenset(("bearer", "basic", "token", "digest"))  # what may stand before the value of Authorization

# What every text with a secret in it has: most have nothing of it, and are not looked at any further.
_may_hold_secrets = re.compile(
    r"key|token|secret|passw|passphrase|credential|authorization|cookie|-hft|curl|://[^\s/]*@", re.IGNORECASE
).search

_find_words = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+").findall
_option = re.compile(r"--?([A-Za-z][\w.-]*)(=|\Z)")
_variable = re.compile(r"(?:-[A-Za-z])?([A-Za-z_]\w*)=")
_has_option = re.compile(
    r"\s--?[A-Za-z]"
).search  # a line for a shell: `ssh box 'HF_TOKEN=abc llama-server --port 9000'`
_header = re.compile(r"(?:-H|--?[\w-]+=)?([A-Za-z][\w-]*):[ \t]*")

_NAME = r"(?P<name>[A-Za-z_][\w.-]*)"
_QUOTED = r"\"(?:\\.|[^\"\\\n])*\"?|'[^'\n]*'?"
_PASSWORD_IN_URL = re.compile(r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s/?#@:'\"]*:(?P<secret>[^\s/?#'\"]+)@")
# What stands before a value, and the value: apart, so that only the values of secret names are read.
_PARAMETER = re.compile(rf"[?&;]{_NAME}="), re.compile(r"[^&#\s'\"]+")
_ASSIGNMENT = re.compile(r"(?<![\w.?&;-])(?P<name>[A-Za-z_]\w*)="), re.compile(rf"{_QUOTED}|[^\s\"',\]}}]+")
_OPTION = (  # also in a list: `[--api-key, "abc"]`
    re.compile(rf"(?<![\w-])(?P<dashes>--?){_NAME}(?:=|[\"']?\s*,\s*|\s+(?:\\\s+)?)"),
    re.compile(rf"{_QUOTED}|[^\s\"'-][^\s\"',\]]*"),
)
_MEMBER = (
    re.compile(rf"(?<![\w.-]){_NAME}(?P<quote>[\"']?)[ \t]*:(?P<blank>[ \t]*)"),
    re.compile(rf"{_QUOTED}|\[[^\]\n]*|[^\s\"'][^\n\"']*"),
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
        return visible_keys({key: mask_value(item, key) for key, item in value.items()})
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
    for before, value in (_PARAMETER, _ASSIGNMENT):
        found += _values(text, before, value, lambda match: is_secret_name(match["name"]))
    found += _values(text, *_OPTION, _is_secret_option)
    found += _values(text, *_MEMBER, _is_secret_member, _member_span)
    return merged(_unquoted(text, span) for span in found)


def _values(
    text: str,
    before: re.Pattern[str],
    value: re.Pattern[str],
    is_secret: Callable[[re.Match[str]], bool],
    span_of: Callable[[re.Match[str], re.Match[str]], Span] = lambda _, secret: secret.span(),
) -> Iterator[Span]:
    """The values behind what is secret; also of one within the value of another: `--flag TOKEN=x`. In linear time."""
    place = 0
    while match := before.search(text, place):
        place = match.end()
        if is_secret(match) and (secret := value.match(text, place)):
            span = span_of(match, secret)
            yield span
            place = max(place, span[1])


def _is_secret_option(match: re.Match[str]) -> bool:
    return match["dashes"] + match["name"] in _SHORT_OPTIONS or is_secret_name(match["name"])


def _is_secret_member(match: re.Match[str]) -> bool:
    """`name: value` of YAML, `"name": "value"` of JSON, `Name:value` of a header; not `image:tag`."""
    if match["name"].lower() in _HEADERS:
        return True
    is_told_apart = bool(match["blank"] or match["quote"]) or match["name"].lower().startswith("x-")
    return is_told_apart and is_secret_name(match["name"])


def _member_span(match: re.Match[str], secret: re.Match[str]) -> Span:
    """A header goes on to the end of the line; anything else without quotes to where YAML or JSON ends it."""
    start, stop = secret.span()
    if secret[0][0] in "\"'" or match["name"].lower() in _HEADERS:
        return start, stop
    if secret[0].startswith("["):  # a list of them
        return start + 1, stop
    end = _END_OF_PLAIN.search(secret[0])
    return start, stop if end is None else start + max(end.start(), 1)


def _unquoted(text: str, span: Span) -> Span:
    """The span without the quotes around it, which may be one-sided."""
    start, stop = span
    if start < stop and text[start] in "\"'":
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
