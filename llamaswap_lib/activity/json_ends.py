"""The members of a JSON object of which only the beginning or the end is there.

Pure, any thread. Guarantees: raises nothing whatever the text is; a member is given out only if it stands at the top of
the object, whatever a text inside of it may look like. That holds for the end of a text too, for strings can be told
apart from the end: inside of one each quotation mark has an odd number of backslashes in front, at its ends an even
one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

WANTED = frozenset(("usage", "timings", "metrics"))

_BRACE = ord("{")
_decode = json.JSONDecoder().raw_decode
_scan_once: Callable[[str, int], tuple[dict[str, Any], int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # which that calls
_match_blanks = re.compile(r"[ \t\r\n]*").match
_match_key = re.compile(r'[ \t\r\n]*"([^"\\]{0,200})"[ \t\r\n]*:[ \t\r\n]*').match
_match_comma = re.compile(r"[ \t\r\n]*,").match
_match_colon = re.compile(r"[ \t\r\n]*:[ \t\r\n]*").match
_match_doubtful = re.compile(r'\\*"?').match  # at the beginning: what stands in front of it decides what it is
# Patterns that begin with one character, or one of a few, are looked for ten times as fast as any others.
_find_escapes = re.compile(r'\\[\\"]').findall
_match_to_delimiter = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL).match  # the next that is not escaped
_find_token = re.compile(r'[\\"{}\[\]]').search
_match_string = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL).match


def members_at_start(text: str) -> dict[str, Any]:
    """The members of the object that begins with `text`, as far as they are complete."""
    members: dict[str, Any] = {}
    at = _end(_match_blanks(text, 0))
    if text[at : at + 1] != "{":
        return members
    at += 1
    while (key := _match_key(text, at)) is not None:
        try:
            value, at = _decode(text, key.end())
        except (ValueError, RecursionError):  # it is cut, or no JSON
            break
        if at == len(text):  # of a number more may follow
            break
        members[key[1]] = value
        comma = _match_comma(text, at)
        if comma is None:
            break
        at = comma.end()
    return members


def members_from_usage(data: bytes) -> dict[str, Any] | None:
    """Of an object that is all there, its members from `usage` on; None where another wanted one may stand before.

    `usage` is among the last ones mostly, so a long answer need not be parsed for it. What stands behind it ends one
    object: the whole one.
    """
    at = data.rfind(b'"usage"')
    if at < 1 or data[0] != _BRACE or data.find(b'"timings"', 0, at) >= 0 or data.find(b'"metrics"', 0, at) >= 0:
        return None
    try:
        text = "{" + data[at:].decode()
        members, end = _scan_once(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    return members if end == len(text) or text[end:].isspace() else None


class _Found(NamedTuple):
    """A member whose key is wanted: the object that it stands in, its key, and where its value begins."""

    parent: int
    key: str
    at: int


def members_at_end(text: str, *, in_response: bool = False) -> dict[str, Any]:
    """Those of the members `WANTED` that stand in the part that is there of the object that `text` ends.

    `in_response`: also the `usage` of an object inside of that one which begins before `text`: of `response`, in the
    last event of a stream of /v1/responses, which holds all that was said.
    """
    text = text.rstrip(" \t\r\n")
    if not text.endswith("}"):
        return {}
    found, last = _scan(text)
    members: dict[str, Any] = {}
    for member in found:
        if member.parent == last:
            _add(members, text, member)
        elif in_response and member.key == "usage" and last < -1 and member.parent == last + 1:
            response: dict[str, Any] = members.setdefault("response", {})
            _add(response, text, member)
    return members


def _scan(text: str) -> tuple[list[_Found], int]:
    """The members whose keys are wanted, and the object that the last bracket closes.

    Containers have numbers: those that begin before `text` -1, -2 and so on from the inside out, the others from 1 on.
    """
    found: list[_Found] = []
    open_containers: list[int] = []
    outside = opened = last = 0
    at = _first_structure(text)
    while token := _find_token(text, at):
        first, at = token[0], token.end()
        if first == '"':
            string = _match_string(text, at - 1)
            if string is None:  # it has no end
                continue
            at = string.end()
            key = string[0][1:-1]
            if key in WANTED and (colon := _match_colon(text, at)):
                found.append(_Found(open_containers[-1] if open_containers else outside - 1, key, colon.end()))
        elif first == "\\":  # an escape outside of a string: the text is no JSON
            return [], 0
        elif first in "{[":
            opened += 1
            open_containers.append(opened)
        elif open_containers:
            last = open_containers.pop()
        else:
            outside -= 1
            last = outside
    return found, last


def _first_structure(text: str) -> int:
    """The first place in `text` of which it is certain that it is in no string."""
    start = _end(_match_doubtful(text, 0))
    first = _match_to_delimiter(text, start)
    if first is None:
        return start
    others = text.count('"', first.end()) - _find_escapes(text, first.end()).count('\\"')
    return start if others % 2 else first.end()


def _add(members: dict[str, Any], text: str, member: _Found) -> None:
    try:
        members[member.key] = _decode(text, member.at)[0]
    except (ValueError, RecursionError):
        pass  # the text is no JSON: nothing is known of it


def _end(match: re.Match[str] | None) -> int:
    """Of a pattern that also matches nothing."""
    assert match is not None
    return match.end()
