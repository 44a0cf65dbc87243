"""JSON text edited in place: where the values of an object's top-level keys stand, so that only they are replaced.

Pure, any thread. Guarantees: the whole text is checked, as `json.loads` would; what is not replaced keeps its order,
numbers, spacing, escapes and duplicates, because it is never written anew. Of a repeated key the last one counts, as
for `json.loads`, and all are replaced, so that a receiver that lets the first one count sees the same. Numbers are read
as floats whatever their length: a value is there to be looked at, the text is what counts.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

# parse_int: an int of 5,000 digits would be a ValueError of its own, and one of a million digits a minute of work.
raw_decode = json.JSONDecoder(parse_int=float).raw_decode
encode = json.JSONEncoder(separators=(",", ":")).encode  # in ASCII
_skip_blanks = re.compile(r"[ \t\n\r]*").match
# A key and its colon, and the value up to the comma or bracket behind it unless that takes a closer look: a long text
# is read by `raw_decode` at a tenth of the cost.
_match_member = re.compile(
    r'[ \t\n\r]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t\n\r]*:[ \t\n\r]*'
    r'(?:("[^"\\]{0,99}"|[-+.0-9Ea-z]+)[ \t\n\r]*(?=[,}]))?'
).match
_match_value = re.compile(r'[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")').match
_LETTER_ESCAPED, _LETTER_ESCAPED_TOO = "\\u006", "\\u007"  # what every escape of a small letter begins with
_BYTE_ORDER_MARK = "\ufeff"


class NotAnObject(ValueError):
    """It is JSON, but no object."""


class Member(NamedTuple):
    """One `"key": value` of an object: `begin` is behind the bracket or comma in front, `stop` is at the one behind.

    `start` and `end` are where the value stands in the text.
    """

    key: str
    begin: int
    start: int
    end: int
    stop: int


def load_object(text: str) -> dict[str, Any]:
    """The object that is the whole of `text`; raises JSONDecodeError or NotAnObject."""
    start = 0 if text.startswith("{") else blanks_end(text, int(text.startswith(_BYTE_ORDER_MARK)))
    try:
        value, end = raw_decode(text, start)
    except RecursionError:
        raise json.JSONDecodeError("Nested too deeply", text, start) from None
    if end != len(text) and (end := blanks_end(text, end)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    if not isinstance(value, dict):
        raise NotAnObject("it is JSON, but not an object")
    return value


def read_members(text: str) -> list[Member]:
    """The members, in order and with those repeated, of the object in a text that `load_object` takes."""
    members = []
    begin = text.index("{") + 1
    while found := _match_member(text, begin):  # else it is empty
        key = found[1] if "\\" not in found[1] else raw_decode(f'"{found[1]}"')[0]
        if found.lastindex == 2:
            start, end = found.span(2)
            stop = found.end()
        else:
            start = found.end()
            _, end = raw_decode(text, start)
            stop = blanks_end(text, end)
        members.append(Member(key, begin, start, end, stop))
        if text[stop] == "}":
            break
        begin = stop + 1
    return members


def only_place(text: str, letters: str) -> tuple[int, int] | None:
    """Where the value of the top-level key `letters` stands in the text of an object that has it, if one look tells.

    It does for a text without escapes, where the key stands but once in the whole text: no other spelling of it can be
    there, since only the escape of a letter could make one. A tenth of the cost of `read_members`.
    """
    key = f'"{letters}"'
    at = text.find(key)
    if at < 0 or text.find(key, at + 1) >= 0 or _LETTER_ESCAPED in text or _LETTER_ESCAPED_TOO in text:
        return None
    found = _match_value(text, at + len(key))
    return None if found is None else found.span(1)


def blanks_end(text: str, at: int) -> int:
    """Where the blanks that stand at `at` end."""
    blanks = _skip_blanks(text, at)
    assert blanks is not None
    return blanks.end()
