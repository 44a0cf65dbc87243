"""Kinds of value for memory: sizes such as `18GB`, shares such as `5%`.

Owns how sizes are read and written, in files and for people. A GB has 1024^3 bytes, as in what drivers tell. Immutable.
"""

from __future__ import annotations

import re
from typing import Any

from .kinds import MACRO, NULL, MapOf
from .nodes import Node, ScalarNode, is_null
from .problems import KeyPath
from .reader import Kind, Reader, Schema
from .secrets import hidden, visible

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LEAST = 1 << 20  # bytes: `18` is what somebody has written who meant 18 GB
MOST = 1 << 50
_SIZE = re.compile(r"(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,15})?) ?(?:(?P<unit>[kmgt])i?b?|b)?\Z", re.IGNORECASE)
_SHARE = re.compile(r"(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,15})?) ?%\Z")
_SCHEMA: Schema = {"type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT]i?)?[bB]?$"}
_SHARE_SCHEMA: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"}
ANYWHERE = ""  # the name of a device under which a size without one stands


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
    """Bytes, as an integer."""

    expected = "a size with its unit, such as 18GB or 512MB"
    summary = "size"

    def schema(self) -> Schema:
        return {"anyOf": [_SCHEMA, MACRO, NULL]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        size = size_of(node.text) if isinstance(node, ScalarNode) else None
        return size if size is not None and LEAST <= size <= MOST else reader.bad(self, node, path)

    def show(self, value: Any, *, mask: bool) -> Any:
        shown = visible(value) if mask else value
        return shown if isinstance(shown, str) else size_text(int(shown))


class SizeOrShare(Size):
    """Bytes as an integer, or a share as a float from 0 to 1."""

    expected = "a size such as 2GB, or a share such as 5%"
    summary = "size, or share in percent"

    def schema(self) -> Schema:
        return {"anyOf": [_SCHEMA, _SHARE_SCHEMA, MACRO, NULL]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode):
            share = _SHARE.match(node.text)
            if share is not None and float(share["amount"]) <= 100:
                return float(share["amount"]) / 100
            if size_of(node.text) == 0:
                return 0
        return super()._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        shown = visible(value) if mask else value
        return f"{shown * 100:g}%" if isinstance(shown, float) else super().show(value, mask=mask)


class Sizes(MapOf):
    """A size for each of several devices; one alone stands under `ANYWHERE`."""

    expected = "a size such as 18GB, or a mapping from devices to sizes, such as {gpu: 18GB, ram: 2GB}"

    def __init__(self) -> None:
        super().__init__(Size(), "device")

    @property
    def summary(self) -> str:
        return "size, or device -> size"

    def schema(self) -> Schema:
        return {"anyOf": [self.item.schema(), super().schema()]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if not isinstance(node, ScalarNode) or is_null(node):
            return super()._value(node, path, reader)
        size = size_of(node.text)
        if size is None or not LEAST <= size <= MOST:
            return reader.bad(self, node, path)
        return {ANYWHERE: size if node.shown is None else hidden(size, node.shown)}

    def show(self, value: Any, *, mask: bool) -> Any:
        if list(value) == [ANYWHERE]:
            return self.item.show(value[ANYWHERE], mask=mask)
        return super().show(value, mask=mask)
