"""What is secret, and is shown as `[hidden]`: values from the environment, and values told by the names beside them.

Owns `Hidden` and its subclasses, which are equal to the plain value and work like it everywhere; code that shows them
calls `visible`. Operations on them give plain values, so code that changes such a text uses `changed`. And owns the
rules by which secrets are found in a text: values of options, headers, variables and URLs. Only the value gives way to
`[hidden]`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

MASK = "[hidden]"

Span = tuple[int, int]

_LAST_WORDS = frozenset(
    ("key", "token", "secret", "password", "passwd", "pass", "passphrase", "credential", "credentials"),
)
_has_glued_word = re.compile(r"(?:token|secret|password|passwd|(?:api|auth|access|private|master|my)key)\Z").search
_HEADERS = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie"))
SHORT_OPTIONS = frozenset(("-hft",))  # llama.cpp's --hf-token

# What every text with a secret in it has: most have nothing of it, and are not looked at any further.
may_hold_secrets = re.compile(
    r"key|token|secret|pass|credential|authorization|cookie|-hft|curl|://[^\s/]*@", re.IGNORECASE
).search

_find_words = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+").findall

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


class Hidden(str):
    """Text of which something came from the environment; `shown` is the same with `[hidden]` in its place."""

    shown: str

    def __new__(cls, text: str, shown: str) -> Hidden:
        self = super().__new__(cls, text)
        self.shown = shown
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # a copy has what may be shown, too
        return str(self), self.shown


class HiddenInt(int):
    """A whole number that came from the environment."""

    shown = MASK


class HiddenFloat(float):
    """A number that came from the environment."""

    shown = MASK


def hidden(value: Any, shown: str) -> Any:
    """`value`, which is shown as `shown`; what is no text, number or tuple of them is as it is."""
    if isinstance(value, str):
        return Hidden(value, shown)
    if isinstance(value, tuple):
        return tuple(hidden(item, MASK) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return HiddenInt(value) if isinstance(value, int) else HiddenFloat(value)


def visible(value: Any) -> Any:
    """What may be shown of a value."""
    return getattr(value, "shown", value) if isinstance(value, (str, int, float)) else value


def text_of(text: str, shown: str | None) -> str:
    """`text`, of which only `shown` may be shown; None for all of it."""
    return text if shown is None else Hidden(text, shown)


T = TypeVar("T")


def visible_keys(values: Mapping[str, T]) -> dict[str, T]:
    """The same values under keys that may be shown; where two of them would be alike, the later one has a number."""
    found: dict[str, T] = {}
    for key, value in values.items():
        shown = str(visible(key))
        number = 2
        while shown in found or (shown in values and isinstance(key, Hidden)):
            shown, number = f"{visible(key)} ({number})", number + 1
        found[shown] = value
    return found


def changed(text: str, change: Callable[[str], str]) -> str:
    """`change(text)`, and what is shown of it changed alike."""
    return Hidden(change(text), change(text.shown)) if isinstance(text, Hidden) else change(text)


# -- secrets in a text --


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


def mask_text(text: str) -> str:
    """A text with its secrets masked."""
    text = visible(text)
    return hide(text, secret_spans(text))


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
    if not may_hold_secrets(text):
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
    return match["dashes"] + match["name"] in SHORT_OPTIONS or is_secret_name(match["name"])


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
