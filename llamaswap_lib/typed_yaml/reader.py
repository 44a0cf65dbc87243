"""What a kind of value is, and how values of the wrong kind are reported: with their place, and all at once.

Owns `Kind`, which `kinds.py` has the children of, and `Reader`, to which they report. What was refused is left at its
default, so that reading goes on. Two functions are asked what its author may have meant. A reader belongs to one
loading, and to the thread that loads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any

from . import scalars
from .nodes import MACRO, MappingNode, Node, ScalarNode, SequenceNode, is_null
from .problems import KeyPath, Problems, quoted, shortened
from .secrets import hidden, visible

BAD: Any = object()  # what was there has been reported
OWN_PREFIXES = ("x-", ".")  # keys by which people keep anchors

Schema = dict[str, Any]  # JSON Schema


class Kind(ABC):
    """A kind of value."""

    expected = "a value"  # in a message
    null_is_absent = True  # where it is the value of a known key
    holds_secrets = False
    is_looked_at = True  # for macros: one that is left in its place is reported where they are replaced
    empty: Any = None  # what an absent key holds that has no default
    factory: Callable[[], Any] | None = None  # which makes that

    @property
    def summary(self) -> str:
        """For the reference."""
        return self.expected

    @abstractmethod
    def schema(self) -> Schema:
        """For JSON Schema."""

    def read(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        """The value; None where it stands for the default, and BAD where something else is there."""
        value = self._value(node, path, reader)
        return hidden(value, node.shown) if isinstance(node, ScalarNode) and node.shown is not None else value

    @abstractmethod
    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        """The same, before it is known whether it may be shown."""

    def of_null(self) -> Any:
        """What null is below a name of the user's own; BAD: as good as absent."""
        return BAD

    def show(self, value: Any, *, mask: bool) -> Any:
        """The value as plain Python that is read as the same again; with `mask` without secrets."""
        return visible(value) if mask else value


class Reader:
    """Reports what is wrong with values."""

    def __init__(
        self,
        problems: Problems,
        cure: Callable[[Kind, Node, KeyPath], str],
        meant: Callable[[type, str, Node, Collection[str]], str],
    ) -> None:
        """`cure`: what to say behind an error; `meant`: what to say behind an unknown key of a section."""
        self.problems = problems
        self._cure = cure
        self._meant = meant
        self._told: set[tuple[type, ScalarNode]] = set()  # unknown keys: one that `<<` brings may stand in many places

    def bad(self, kind: Kind, node: Node, path: KeyPath) -> Any:
        """BAD, after saying that a value of this kind should stand there."""
        if isinstance(node, ScalarNode) and node.has_macro and MACRO.search(node.text) and kind.is_looked_at:
            return BAD
        got = "something else" if kind.holds_secrets and isinstance(node, ScalarNode) else described(node)
        message = f"expected {kind.expected}, got {got}{self._cure(kind, node, path)}"
        self.problems.error(node.place, path, message)
        return BAD

    def report_unknown(self, cls: type, names: Collection[str], node: MappingNode, path: KeyPath) -> None:
        """Warn of the keys that are none of these names, the ones of the section `cls`."""
        for name, (key, value) in node.entries.items():
            if name in names or (not path and (name.startswith(OWN_PREFIXES) or holds_anchor(value))):
                continue
            if (cls, key) in self._told:
                continue
            self._told.add((cls, key))
            self.problems.warn(key.place, path, f"unknown key {quoted(name)}{self._meant(cls, name, value, names)}")


def holds_anchor(node: Node) -> bool:
    """Whether the value was put there to be used elsewhere."""
    if node.anchored or isinstance(node, ScalarNode):
        return node.anchored
    children = node.items if isinstance(node, SequenceNode) else [entry.value for entry in node.entries.values()]
    return any(holds_anchor(child) for child in children)


def plain_value(node: Node) -> Any:
    """The node as plain Python, fit for JSON."""
    if isinstance(node, SequenceNode):
        return [plain_value(item) for item in node.items]
    if isinstance(node, MappingNode):
        return {name: plain_value(value) for name, (_, value) in node.entries.items()}
    value = scalars.resolve(node.text) if node.plain else node.text
    value = node.text if isinstance(value, float) and not math.isfinite(value) else value
    return value if node.shown is None else hidden(value, node.shown)


def described(node: Node) -> str:
    """What a person wrote, for a message."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    if is_null(node):
        return "null"
    if node.plain:
        return quoted(node.visible) if isinstance(scalars.resolve(node.visible), str) else shortened(node.visible)
    looks_typed = not isinstance(scalars.resolve(node.visible), str)
    return f"the text {quoted(node.visible)}" if looks_typed else quoted(node.visible)
