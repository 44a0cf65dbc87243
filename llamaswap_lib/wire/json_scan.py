"""A JSON text read without building its values: where a value ends, and whether it is valid.

Pure, any thread. Guarantees: takes exactly the texts that `json.loads` takes (in UTF-8, with invalid bytes allowed in
strings), but for the nesting, which has a bound of its own; needs no memory that grows with the text but one byte for
each open bracket; the time grows linearly with the text; no call into C runs over more than `WINDOW_BYTES` of text (or
`STRING_WINDOW_BYTES` of plain string), so that other threads get the interpreter lock every few milliseconds.

The work is done by regular expressions that match long runs of elements at once. None of them can backtrack beyond the
element that does not match: what stands behind a run may be anything.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from functools import cache

MAX_DEPTH = 2_500  # of brackets within each other
WINDOW_BYTES = 16_384
STRING_WINDOW_BYTES = 65_536

_LIST = ord("[")
_BRACKETS = (b"[", b"{")
_DECODED = (b"[", b"{", b'"')

BLANKS = rb"[ \t\n\r]{0,99}"
PLAIN = rb'[^"\\\x00-\x1f]'
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
# What is longer, or has more escapes, is done faster in other ways.
STRING = rb'"%b{0,999}(?:%b%b{0,999}){0,9}"' % (PLAIN, _ESCAPE, PLAIN)
NUMBER = rb"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?(?:[eE][-+]?[0-9]{1,99})?"
WORD = rb"true|false|null|NaN|-?Infinity"
_SCALAR = rb"(?:%b|%b|%b)" % (STRING, NUMBER, WORD)
_ITEMS = rb"\[%b(?:%b%b(?:,%b(?!\])|(?=\]))){0,99}\]" % (BLANKS, _SCALAR, BLANKS, BLANKS)
_MEMBERS = rb"\{%b(?:%b%b:%b%b%b(?:,%b(?!\})|(?=\}))){0,99}\}" % (
    *(BLANKS, STRING, BLANKS, BLANKS, _SCALAR, BLANKS, BLANKS),
)
# A scalar, or a container that holds nothing but scalars; what holds more is read by `json`, or taken apart.
VALUE = rb"(?:%b|%b|%b|%b|%b)" % (STRING, NUMBER, _ITEMS, _MEMBERS, WORD)

Match = Callable[..., "re.Match[bytes] | None"]


@cache
def _patterns() -> tuple[Match, Match, Match]:
    """Runs of a list, runs of an object, and a value with what stands behind it. Each run goes from value to value.

    To compile them takes some milliseconds; most processes never need them.
    """
    items = rb"(?:%b%b,%b)*" % (VALUE, BLANKS, BLANKS)
    members = rb"(?:%b%b,%b%b%b:%b)*" % (VALUE, BLANKS, BLANKS, STRING, BLANKS, BLANKS)
    last = rb"(%b)%b[,\]}]" % (VALUE, BLANKS)
    return re.compile(items).match, re.compile(members).match, re.compile(last).match


_match_key = re.compile(rb'"(%b{0,999})"%b:%b(?![ \t\n\r])' % (PLAIN, BLANKS, BLANKS)).match
_match_blanks = re.compile(rb"[ \t\n\r]*").match
_match_digits = re.compile(rb"[0-9]*").match
_match_text = re.compile(rb"%b*(?:%b%b*)*" % (PLAIN, _ESCAPE, PLAIN)).match
_match_escape = re.compile(_ESCAPE).match
_match_word = re.compile(WORD).match
# A character for each byte: outside of strings only ASCII is allowed, inside of them all that is no control character.
_decode = json.JSONDecoder(parse_int=float).raw_decode
_PLAIN_BYTES = bytes(byte for byte in range(0x20, 0x100) if byte not in b'"\\')


class NotJson(ValueError):
    """The text is not JSON; says why, and where: the line, and the column and the position in characters."""

    def __init__(self, reason: str, data: bytes, at: int) -> None:
        self.position = _characters(data, 0, at)
        line = data.count(b"\n", 0, at) + 1
        column = _characters(data, data.rfind(b"\n", 0, at) + 1, at) + 1
        super().__init__(f"{reason}: line {line} column {column} (char {self.position})")


def _characters(data: bytes, start: int, end: int) -> int:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    steps = range(start, end, STRING_WINDOW_BYTES)
    return sum(len(decoder.decode(data[at : min(end, at + STRING_WINDOW_BYTES)])) for at in steps)


class Scanner:
    """Finds the ends of the values of one text."""

    __slots__ = ("_decoded", "_decoded_at", "_decodes_from", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._decoded = ""  # the window that stands at `_decoded_at`, a character for each byte
        self._decoded_at = 0
        self._decodes_from = 0  # where a value is next given to `json`

    def skip_value(self, at: int) -> int:
        """The end of the value that begins at `at`; raises NotJson."""
        data = self.data
        brackets = bytearray()  # those that are open
        while True:
            end = -1
            if not brackets:  # mostly all of the value fits into a window
                end = self._skip_decoded(at, 0)
            elif len(brackets) < MAX_DEPTH:
                match_items, match_members, match_last = _patterns()
                match_run = match_items if brackets[-1] == _LIST else match_members
                at = skip_blanks(data, match_run(data, at, at + WINDOW_BYTES).end())  # type: ignore[union-attr]
                last = match_last(data, at, at + WINDOW_BYTES)
                end = last.end(1) if last else self._skip_decoded(at, len(brackets))
            if end < 0:
                if data[at : at + 1] not in _BRACKETS:
                    end = skip_scalar(data, at)
                elif (end := -_enter(data, at, brackets)) < 0:
                    at = -end
                    continue
            at = _leave(data, end, brackets)
            if at < 0:
                return -at

    def _skip_decoded(self, at: int, depth: int) -> int:
        """The end of the container or string at `at` if `json` can tell it from a window; else -1."""
        data = self.data
        if at < self._decodes_from or data[at : at + 1] not in _DECODED:
            return -1
        if at + WINDOW_BYTES // 2 > self._decoded_at + len(self._decoded):
            self._decoded = data[at : at + WINDOW_BYTES].decode("latin-1")
            self._decoded_at = at
        start = at - self._decoded_at
        try:
            end: int = _decode(self._decoded, start)[1]
        except (ValueError, RecursionError):
            end = -1
        if end < 0 or (end - start > MAX_DEPTH - depth and self._is_deep(start, end, depth)):
            self._decodes_from = at + WINDOW_BYTES // 4  # so that what fails costs a fixed share
            return -1
        return self._decoded_at + end

    def _is_deep(self, start: int, end: int, depth: int) -> bool:
        """Whether the nesting in this part of the window might be too deep."""
        return self._decoded.count("[", start, end) + self._decoded.count("{", start, end) > MAX_DEPTH - depth


def _enter(data: bytes, at: int, brackets: bytearray) -> int:
    """Go to the first value of the container at `at`; if there is none, to its end, as a negative number."""
    if len(brackets) >= MAX_DEPTH:
        raise NotJson("Nested too deeply", data, at)
    bracket = data[at]
    at = skip_blanks(data, at + 1)
    if data[at : at + 1] == (b"]" if bracket == _LIST else b"}"):
        return -at - 1
    brackets.append(bracket)
    return at if bracket == _LIST else skip_key(data, at)[1]


def _leave(data: bytes, at: int, brackets: bytearray) -> int:
    """From the end of a value to the next one; where all brackets are closed, to the end, as a negative number."""
    while brackets:
        is_list = brackets[-1] == _LIST
        end = skip_blanks(data, at)
        byte = data[end : end + 1]
        if byte == b",":
            at = skip_blanks(data, end + 1)
            return at if is_list else skip_key(data, at)[1]
        if byte != (b"]" if is_list else b"}"):
            raise NotJson("Expecting ',' delimiter", data, end)
        brackets.pop()
        at = end + 1
    return -at


def skip_key(data: bytes, at: int) -> tuple[int, int]:
    """Where the text of the key that begins at `at` ends, and where its value begins."""
    if found := _match_key(data, at, at + WINDOW_BYTES):
        return found.end(1), found.end()
    if data[at : at + 1] != b'"':
        raise NotJson("Expecting property name enclosed in double quotes", data, at)
    end = _skip_string(data, at)
    at = skip_blanks(data, end)
    if data[at : at + 1] != b":":
        raise NotJson("Expecting ':' delimiter", data, at)
    return end - 1, skip_blanks(data, at + 1)


def skip_blanks(data: bytes, at: int) -> int:
    """Where the blanks that stand at `at` end."""
    while (end := _match_blanks(data, at, at + WINDOW_BYTES).end()) == at + WINDOW_BYTES:  # type: ignore[union-attr]
        at = end
    return end


def skip_scalar(data: bytes, at: int) -> int:
    if data[at : at + 1] == b'"':
        return _skip_string(data, at)
    if word := _match_word(data, at):
        return word.end()
    return _skip_number(data, at)


def _skip_number(data: bytes, at: int) -> int:
    start = at
    at += data[at : at + 1] == b"-"
    if data[at : at + 1] == b"0":
        at += 1
    elif (at := _skip_digits(data, at)) < 0:
        raise NotJson("Expecting value", data, start)
    # What does not go on as a number ends before the dot or the letter, where nothing of the kind may stand.
    if data[at : at + 1] == b"." and (end := _skip_digits(data, at + 1)) >= 0:
        at = end
    if data[at : at + 1] in (b"e", b"E"):
        sign = data[at + 1 : at + 2] in (b"-", b"+")
        if (end := _skip_digits(data, at + 1 + sign)) >= 0:
            at = end
    return at


def _skip_digits(data: bytes, at: int) -> int:
    """Where the digits that stand at `at` end; -1: there are none."""
    start = at
    while (end := _match_digits(data, at, at + WINDOW_BYTES).end()) == at + WINDOW_BYTES:  # type: ignore[union-attr]
        at = end
    return end if end > start else -1


def _skip_string(data: bytes, start: int) -> int:
    at = start + 1
    while True:
        end = data.find(b'"', at, at + STRING_WINDOW_BYTES)
        limit = min(len(data), at + STRING_WINDOW_BYTES) if end < 0 else end
        if limit - at > WINDOW_BYTES and not data[at:limit].translate(None, _PLAIN_BYTES):  # many times faster
            at = limit
        else:
            at = _match_text(data, at, at + WINDOW_BYTES).end()  # type: ignore[union-attr]
        byte = data[at : at + 1]
        if byte == b'"':
            return at + 1
        if byte == b"\\" and at + 1 < len(data):
            if not _match_escape(data, at):  # else it only stands at the end of the window
                is_hex = data[at + 1 : at + 2] == b"u"
                raise NotJson("Invalid \\uXXXX escape" if is_hex else "Invalid \\escape", data, at + is_hex)
        elif byte in (b"", b"\\"):
            raise NotJson("Unterminated string starting at", data, start)
        elif byte < b" ":
            raise NotJson("Invalid control character at", data, at)
