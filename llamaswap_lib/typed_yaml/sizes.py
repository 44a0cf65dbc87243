"""Kinds of value for memory: sizes such as `18GB`, shares such as `5%`.

Owns how sizes are read and written, in files and for people. A GB has 1024^3 bytes, as in what drivers tell. Immutable.
"""

from __future__ import annotations

import re
from typing import Any

from .nodes import Node, ScalarNode
from .problems import KeyPath
from .reader import Kind, Reader, Schema
from .secrets import visible

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LEAST = 1 << 20  # bytes: `18` is what somebody has written who meant 18 GB
MOST = 1 << 50
_SIZE = re.compile(r"(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,15})?) ?(?:(?P<unit>[kmgt])i?b?|b)?\Z", re.IGNORECASE)
_SHARE = re.compile(r"(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,15})?) ?%\Z")
# A macro may stand for either.
_SCHEMA: Schema = {
    "type": ["string", "integer", "null"],
    "pattern": r"^([0-9]+(\.[0-9]+)? ?([kKmMgGtT]i?)?[bB]?|\$\{[a-zA-Z0-9_.-]+\})$",
}
_SHARE_SCHEMA: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"}


def size_of(text: str) -> int | None:
    """The bytes that `18GB` or `512 MiB` means; None for anything else. A number alone is bytes."""
    match = _SIZE.match(text)
    if match is None:
        return None
    return round(float(match["amount"]) * UNITS[(match["unit"] or "").lower()])


def size_text(size: int) -> str | int:
    """What is read as the same size again."""
    for unit in "tgm":
        if size >= UNITS[unit] and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit.upper()}B"
    return size


class Size(Kind):
    """Bytes, as an integer; with `or_none` it may be 0."""

    expected = "a size with its unit, such as 18GB or 512MB"
    summary = "size"

    def __init__(self, *, or_none: bool = False) -> None:
        self.or_none = or_none

    def schema(self) -> Schema:
        return dict(_SCHEMA)

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        size = size_of(node.text) if isinstance(node, ScalarNode) else None
        is_good = size is not None and (LEAST <= size <= MOST or (self.or_none and size == 0))
        return size if is_good else reader.bad(self, node, path)

    def show(self, value: Any, *, mask: bool) -> Any:
        shown = visible(value) if mask else value
        return shown if isinstance(shown, str) else size_text(int(shown))


class SizeOrShare(Size):
    """Bytes as an integer, or a share as a float from 0 to 1."""

    expected = "a size such as 2GB, or a share such as 5%"
    summary = "size, or share in percent"

    def schema(self) -> Schema:
        return {"anyOf": [_SCHEMA, _SHARE_SCHEMA]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode):
            share = _SHARE.match(node.text)
            if share is not None and float(share["amount"]) <= 100:
                return float(share["amount"]) / 100
        return super()._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        shown = visible(value) if mask else value
        return f"{shown * 100:g}%" if isinstance(shown, float) else super().show(value, mask=mask)
