"""Forms: where a field's values stand in a multipart or urlencoded body, and in a query.

Pure, any thread; a scanner belongs to one body. Guarantees: a multipart body is fed in pieces of any size, the field
found wherever it stands between files of any size, in memory bounded by one piece, `MAX_PART_HEAD_BYTES` and
`MAX_VALUES` of `MAX_VALUE_BYTES`; positions are byte offsets from the start of the body. Uploaded files (parts with a
file name) are no values. All lines of a form end as that of its first delimiter does: with CRLF, or with LF alone.
Never decodes a transfer encoding: browsers and SDKs send none in forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

MAX_VALUE_BYTES = 4_096
MAX_PART_HEAD_BYTES = 16_384
MAX_VALUES = 10_000
MAX_PAIRS_BYTES = 65_536

_match_parameter = re.compile(r";[ \t]*([^=;\s]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s]*))[ \t]*").match
_find_pairs = re.compile(rb"(?:(?<=&)|\A)([^&=]*)=([^&]*)").finditer
_match_line_rest = re.compile(rb"--|[ \t]{0,64}(\r?\n)").match
_is_unfinished_rest = re.compile(rb"-?|[ \t]{0,64}\r?").fullmatch


class BadForm(ValueError):
    """The body is not the form that its Content-Type promises."""


class Value(NamedTuple):
    """One value of the field, and where it stands: from `start` up to, not including, `end`.

    In a form, an empty value may have no line end of its own: the blank line before it is followed by the boundary at
    once. Then `end` is before `start`, where that line begins.
    """

    text: str
    start: int
    end: int


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """A header value such as `form-data; name="model"`: what stands first, in lower case, and its parameters."""
    kind, semicolon, _ = value.partition(";")
    parameters: dict[str, str] = {}
    at = len(kind)
    while semicolon and (parameter := _match_parameter(value, at)):
        text = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
        parameters.setdefault(parameter[1].lower(), text)
        at = parameter.end()
    return kind.strip(" \t").lower(), parameters


def find_pairs(encoded: bytes, field: str) -> Iterator[Value]:
    """The values of `field` in a query or an urlencoded body; the positions are those of the encoded values.

    A pair that holds a semicolon, or no equals sign, is none. Looks no further than it is asked to, and at
    `MAX_PAIRS_BYTES` at a time, so that other threads can run.
    """
    start = 0
    while start < len(encoded):
        end = encoded.find(b"&", start + MAX_PAIRS_BYTES)
        window = encoded[start : len(encoded) if end < 0 else end]
        for pair in _find_pairs(window):
            if b";" not in pair[0] and _decode(pair[1]) == field:
                yield Value(_decode(pair[2]), start + pair.start(2), start + pair.end(2))
        start += len(window) + 1


def _decode(encoded: bytes) -> str:
    return unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


class FormScanner:
    """Finds the values of one field of a multipart body that is fed in pieces."""

    def __init__(self, boundary: str, field: str) -> None:
        self.values: list[Value] = []
        self.line_end = b""  # with which all lines of this form end; known behind the first delimiter
        self._field = field
        self._boundary = b"--" + boundary.encode("latin-1")
        self._delimiter = b"\n" + self._boundary  # the boundary and the line end before it, as far as that is known
        # The first delimiter has no line end before it: one is lent, two bytes before the body's first.
        self._buffer = bytearray(b"\r\n")
        self._offset = -2  # of the buffer's first byte, in the body
        self._in_part_head = False
        self._value_start = -1  # in the buffer; -1: not within a value that is wanted
        self._parts = 0
        self._is_over = False

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body; raises BadForm."""
        if self._is_over:
            return
        self._buffer += piece
        while not self._is_over and (self._read_part_head() if self._in_part_head else self._seek_delimiter()):
            pass

    def finish(self) -> list[Value]:
        """The values found, now that the whole body was fed; raises BadForm if it is no form, or was cut off."""
        if not self._parts and not self._is_over:
            raise BadForm("the multipart boundary of the Content-Type does not occur in the body")
        if not self._is_over:
            raise BadForm("the multipart body ends before its last boundary")
        return self.values

    def _seek_delimiter(self) -> bool:
        """Goes on to the part behind the next delimiter; False: it has not come yet."""
        # The line end before an empty value's delimiter may be the head's own.
        start = max(0, self._value_start - len(self.line_end))
        while True:
            found = self._buffer.find(self._delimiter, start)
            if found < 0:
                self._forget_all_but(len(self._delimiter))  # with the byte before it
                return False
            behind = found + len(self._delimiter)
            rest = _match_line_rest(self._buffer, behind)
            if rest is not None and self._is_delimiter(found, rest[1]):
                break
            if rest is None and _is_unfinished_rest(self._buffer, behind):
                self._forget_all_but(len(self._buffer) - found + 1)
                return False
            start = found + 1  # not a delimiter, but a line that begins like one
        self._end_value(found)
        self._is_over = rest[0] == b"--"
        self._in_part_head = True
        self._parts += 1
        self._cut(rest.end() - len(self.line_end))  # it stays: a part without headers has only this and its empty line
        return True

    def _is_delimiter(self, found: int, line_end: bytes | None) -> bool:
        """Whether what is found ends its line as this form does: the first one tells how. None ends the form."""
        if line_end is None:
            return True
        if not self.line_end:
            if line_end == b"\r\n" and self._buffer[found - 1 : found] != b"\r":
                return False
            self.line_end = bytes(line_end)
            self._delimiter = self.line_end + self._boundary
        return line_end == self.line_end

    def _read_part_head(self) -> bool:
        end = self._buffer.find(self.line_end * 2)
        if (len(self._buffer) if end < 0 else end) > MAX_PART_HEAD_BYTES:
            raise BadForm("the head of a part of the form is too large")
        if end < 0:
            return False
        head = self._buffer[:end].decode("utf-8", "surrogateescape")
        self._cut(end + len(self.line_end))
        self._in_part_head = False
        self._value_start = len(self.line_end) if self._is_wanted(head) else -1
        return True

    def _is_wanted(self, head: str) -> bool:
        for line in head.split(self.line_end.decode()):
            name, _, value = line.partition(":")
            if name.strip(" \t").lower() == "content-disposition":
                kind, parameters = parse_parameters(value)
                is_file = "filename" in parameters or "filename*" in parameters
                return kind == "form-data" and not is_file and parameters.get("name") == self._field
        return False

    def _end_value(self, end: int) -> None:
        start, self._value_start = self._value_start, -1
        if start < 0:
            return
        if end - start > MAX_VALUE_BYTES:
            raise BadForm(f"the field {self._field!r} is longer than {MAX_VALUE_BYTES} bytes")
        if len(self.values) == MAX_VALUES:
            raise BadForm(f"the field {self._field!r} is there more than {MAX_VALUES} times")
        text = self._buffer[start:end].decode("utf-8", "surrogateescape")
        self.values.append(Value(text, self._offset + start, self._offset + end))

    def _forget_all_but(self, kept: int) -> None:
        if self._value_start < 0:
            self._cut(max(0, len(self._buffer) - kept))
        elif len(self._buffer) - kept - self._value_start > MAX_VALUE_BYTES:
            raise BadForm(f"the field {self._field!r} is longer than {MAX_VALUE_BYTES} bytes")

    def _cut(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count
