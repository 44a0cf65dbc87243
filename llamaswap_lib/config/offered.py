"""The models of a peer as they are written: a list of them, or `auto` for those that the peer itself says it has."""

from __future__ import annotations

from typing import Any

from llamaswap_lib.typed_yaml.kinds import ListOf, Text
from llamaswap_lib.typed_yaml.nodes import Node, ScalarNode
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Reader, Schema

AUTO = "auto"


class Auto(tuple[str, ...]):
    """What the peer is known to have, which may be nothing yet."""

    __slots__ = ()


class Offered(ListOf):
    """A list of names, or the word."""

    expected = "a list, or auto"

    def __init__(self) -> None:
        super().__init__(Text())

    @property
    def summary(self) -> str:
        return f"{super().summary}, or `{AUTO}`"

    def schema(self) -> Schema:
        return {"anyOf": [super().schema(), {"const": AUTO}]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode) and node.text == AUTO:
            return Auto()
        return super()._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        return AUTO if isinstance(value, Auto) else super().show(value, mask=mask)
