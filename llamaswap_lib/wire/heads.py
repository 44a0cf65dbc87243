"""What a head says, once it has been read: `RequestHead`, `ResponseHead`, how a body ends (`Framing`); and its grammar.

Pure values, any thread. The heads are named tuples and not frozen dataclasses because they are made twice a request
and cost a fifth of the time to make. `parser.py` is the only one who makes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

MAX_HEAD_BYTES = 65_536
MAX_HEAD_LINES = 1_000  # what is done with a head costs by the line: some 6 us of the loop
WITHOUT_BODY = frozenset((*range(200), 204, 304))  # the statuses of answers that never have one

NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_FIELDS = rf"(?:{NAME}:{TEXT}\r\n)*"
match_request = re.compile(rf"({NAME}) ([!-~\x80-\xff]+) HTTP/1\.([01])\r\n({_FIELDS})\r\n").fullmatch
match_response = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9]{{2}})(?: ({TEXT}))?\r\n({_FIELDS})\r\n").fullmatch
_find_pairs = re.compile(r"([^:\r\n]+):[ \t]*([^\r]*)\r\n").findall

Headers = list[tuple[str, str]]


def has_too_many_lines(head: bytes) -> bool:
    """Of a whole one: its first line and its empty line do not count."""
    return head.count(b"\n") > MAX_HEAD_LINES + 2


def read_pairs(fields: str) -> Headers:
    """Names as sent, and values without the blanks around them, of header lines that match the grammar."""
    pairs: Headers = _find_pairs(fields)
    if " \r" in fields or "\t\r" in fields:
        return [(name, value.rstrip(" \t")) for name, value in pairs]
    return pairs


class BodyKind(Enum):
    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


class Framing(NamedTuple):
    """How a receiver knows where a body ends."""

    kind: BodyKind
    length: int = 0


NO_BODY = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)
UNTIL_CLOSE = Framing(BodyKind.UNTIL_CLOSE)


class RequestHead(NamedTuple):
    method: str
    target: str  # as sent: /path?query, http://host/path?query or *; printable ASCII, other bytes percent-encoded
    minor: int
    fields: str  # the header lines as sent, each with its CRLF; latin-1
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: str  # the protocol in lower case, or ''
    connection: frozenset[str]  # what Connection names, in lower case
    first: Mapping[str, str]  # lower-case name to its first value

    def get(self, name: str) -> str | None:
        """The first value of the header whose name, in lower case, is `name`."""
        return self.first.get(name)

    @property
    def headers(self) -> Headers:
        return read_pairs(self.fields)

    def is_plain(self, most_bytes: int) -> bool:
        """Whether it takes no more than to pass on a body of a known length up to that, or none."""
        is_small = (self.content_length or 0) <= most_bytes
        is_special = self.chunked or self.expect_continue or self.upgrade or "content-encoding" in self.first
        return is_small and not is_special

    @property
    def framing(self) -> Framing:
        if self.chunked:
            return CHUNKED
        return NO_BODY if self.content_length is None else Framing(BodyKind.LENGTH, self.content_length)


class ResponseHead(NamedTuple):
    status: int
    reason: str
    minor: int
    fields: str
    content_length: int | None
    chunked: bool
    keep_alive: bool  # the sender will keep it; a body until close still ends the connection
    connection: frozenset[str]
    first: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.first.get(name)

    @property
    def headers(self) -> Headers:
        return read_pairs(self.fields)

    def body(self, method: str) -> Framing:
        """How the body of this answer to a request of that method ends."""
        if method == "HEAD" or self.status in WITHOUT_BODY:
            return NO_BODY
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else Framing(BodyKind.LENGTH, self.content_length)
