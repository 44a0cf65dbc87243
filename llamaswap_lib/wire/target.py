"""The target of a request, as its path and its query; and a target as the value of a `Location` header.

Pure, any thread. Both stay as they were sent: nothing is decoded. A `Location` leads to this host in every client:
browsers take a backslash for a slash, so it has none, and nothing but visible ASCII.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_encode_odd = re.compile(r"[^!-~]|\\").sub


def split_target(target: str) -> tuple[str, str]:
    """The path of a request's target, and its query with the question mark or '', both as sent; no scheme, no host."""
    path, mark, query = target.partition("?")
    if path[0] != "/" and path != "*":
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, mark + query


def as_location(target: str) -> str:
    """`target`, a path and its query, as the value of a `Location` header."""
    return _encode_odd(lambda odd: quote(odd[0], safe=""), target)
