"""What a head says, once it has been read: `RequestHead`, `ResponseHead`, how a body ends (`Framing`); and its grammar.

Pure values, any thread. The heads are named tuples and not frozen dataclasses because they are made twice a request
and cost a fifth of the time to make. `wire.py` is the only one who makes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

MAX_HEAD_BYTES = 65_536

NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_FIELDS = rf"(?:{NAME}:{TEXT}\r\n)*\r\n"
match_request = re.compile(rf"({NAME}) ([!-~]+) HTTP/1\.([01])\r\n{_FIELDS}").fullmatch
match_response = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9]{{2}})(?: ({TEXT}))?\r\n{_FIELDS}").fullmatch

Headers = tuple[tuple[str, str], ...]


class BodyKind(Enum):
    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


class Framing(NamedTuple):
    """How a receiver knows where a body ends."""

    kind: BodyKind
    length: int = 0

    def headers(self) -> list[tuple[str, str]]:
        if self.kind is BodyKind.LENGTH:
            return [("Content-Length", str(self.length))]
        return [("Transfer-Encoding", "chunked")] if self.kind is BodyKind.CHUNKED else []


NO_BODY = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)
UNTIL_CLOSE = Framing(BodyKind.UNTIL_CLOSE)


class RequestHead(NamedTuple):
    method: str
    target: str  # as sent: /path?query, http://host/path?query or *; printable ASCII
    minor: int
    headers: Headers  # names as sent, values without blanks around them, latin-1
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
    def framing(self) -> Framing:
        if self.chunked:
            return CHUNKED
        return NO_BODY if self.content_length is None else Framing(BodyKind.LENGTH, self.content_length)


class ResponseHead(NamedTuple):
    status: int
    reason: str
    minor: int
    headers: Headers
    content_length: int | None
    chunked: bool
    keep_alive: bool  # the sender will keep it; a body until close still ends the connection
    connection: frozenset[str]
    first: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return self.first.get(name)

    def body(self, method: str) -> Framing:
        """How the body of this answer to a request of that method ends."""
        if method == "HEAD" or has_no_body(self.status):
            return NO_BODY
        if self.chunked:
            return CHUNKED
        return UNTIL_CLOSE if self.content_length is None else Framing(BodyKind.LENGTH, self.content_length)


def has_no_body(status: int) -> bool:
    return status < 200 or status in (204, 304)
