"""From nodes to the dataclasses that `schema.py` describes, each value checked against its kind.

Owns the checking of single values: what is wrong is reported with its place and left at its default, so that reading
goes on and everything is told at once. Unknown keys are warned of. How values agree with each other is not seen here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from . import scalars
from .cures import cure
from .hidden import hidden
from .kinds import (
    Anything,
    Choice,
    CommaList,
    Flag,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Seconds,
    Section,
    Text,
    empty,
    keys_of,
)
from .macros import USE
from .misnamed import TOP, meant
from .nodes import Mapping, Node, Scalar, Sequence, is_null
from .problems import Path, Problems, did_you_mean, quoted

BAD: Any = object()  # what was there has been reported
OWN_PREFIXES = ("x-", ".")  # keys by which people keep anchors


class Reader:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.kinds: dict[type, Callable[[Any, Node, Path], Any]] = {
            Text: self.text,
            Choice: self.choice,
            Flag: self.flag,
            Integer: self.integer,
            Seconds: self.seconds,
            CommaList: self.comma_list,
            ListOf: self.list_of,
            MapOf: self.map_of,
            Section: self.section_of,
            Anything: self.anything,
        }

    def top_level(self, classes: Iterable[type], node: Mapping) -> list[Any]:
        """One instance of each class, all read from the same mapping."""
        classes = tuple(classes)
        self.report_unknown(TOP, [known.name for cls in classes for known in keys_of(cls)], node, ())
        return [self.section(cls, node, ()) for cls in classes]

    def section(self, cls: type, node: Mapping, path: Path, default: Any = None) -> Any:
        """An instance of `cls`; `default` holds the attributes whose default is another here."""
        values: dict[str, Any] = dict(default or {})
        for known in keys_of(cls):
            child = node.get(known.name)
            if child is None or (is_null(child) and not isinstance(known.kind, ListOf)):
                continue
            value = self.read(known.kind, child, (*path, known.name), known.default)
            if value is not BAD:
                values[known.attribute] = value
        return cls(**values)

    def read(self, kind: Kind, node: Node, path: Path, default: Any = None) -> Any:
        """The value, or BAD; null lists and mappings are empty."""
        if isinstance(kind, Section):
            return self.section_of(kind, node, path, default)
        value = self.kinds[type(kind)](kind, node, path)
        if isinstance(kind, (Choice, Seconds)) and value is None:
            return default
        if isinstance(node, Scalar) and node.shown is not None and value is not BAD:
            return hidden(value, node.shown)
        return value

    def report_unknown(self, cls: type, names: list[str], node: Mapping, path: Path) -> None:
        for name, (key, value) in node.entries.items():
            if name in names or (not path and (name.startswith(OWN_PREFIXES) or holds_anchor(value))):
                continue
            self.problems.warn(key.place, path, f"unknown key {quoted(name)}{meant(cls, name, value, names)}")

    def bad(self, kind: Kind, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar) and node.has_macro and USE.search(node.text) and not isinstance(kind, Section):
            return BAD  # a macro that is left has been reported; one in place of a whole model was not looked at
        got = "something else" if _holds_secrets(kind) and isinstance(node, Scalar) else described(node)
        self.problems.error(node.place, path, f"expected {kind.expected}, got {got}{cure(kind, node, path)}")
        return BAD

    # -- scalars --

    def text(self, kind: Text, node: Node, path: Path) -> Any:
        return node.text if isinstance(node, Scalar) else self.bad(kind, node, path)

    def comma_list(self, kind: CommaList, node: Node, path: Path) -> Any:
        if not isinstance(node, Scalar):
            return self.bad(kind, node, path)
        return tuple(dict.fromkeys(name.strip() for name in node.text.split(",") if name.strip()))

    def choice(self, kind: Choice, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar):
            word = node.text.lower() if kind.lenient else node.text
            if word in kind.words:
                return word
            if kind.lenient:
                near = did_you_mean(word, kind.words)
                self.problems.warn(
                    node.place, path, f"expected {kind.expected}, got {described(node)}{near}; it counts as the default"
                )
                return None
        return self.bad(kind, node, path)

    def flag(self, kind: Flag, node: Node, path: Path) -> Any:
        value = scalars.flag_of(node.text, node.plain) if isinstance(node, Scalar) else None
        return self.bad(kind, node, path) if value is None else value

    def integer(self, kind: Integer | Seconds, node: Node, path: Path) -> Any:
        number = scalars.number_of(node.text) if isinstance(node, Scalar) and node.plain else None
        whole = None if number is None else scalars.integer_of(number)
        if whole is None or (kind.minimum is not None and whole < kind.minimum):
            return self.bad(kind, node, path)
        if isinstance(number, float):
            counts = node.shown if isinstance(node, Scalar) and node.shown is not None else whole
            self.problems.warn(node.place, path, f"expected an integer, got {described(node)}; it counts as {counts}")
        return whole if kind.floor is None else max(whole, kind.floor)

    def seconds(self, kind: Seconds, node: Node, path: Path) -> Any:
        """Seconds as a float; None for the 0 of a duration that needs its unit, which stands for the default."""
        duration = scalars.duration_of(node.text) if isinstance(node, Scalar) else None
        if duration is None and not kind.unit:
            whole = self.integer(kind, node, path)
            return whole if whole is BAD else float(whole)
        if kind.unit and (duration == 0 or (isinstance(node, Scalar) and node.text == "0")):
            return None
        if duration is None or duration < max(kind.minimum or 0, 0) or not math.isfinite(duration):
            return self.bad(kind, node, path)
        return duration if kind.floor is None else max(duration, float(kind.floor))

    # -- collections --

    def list_of(self, kind: ListOf, node: Node, path: Path) -> Any:
        if is_null(node):
            return ()
        if not isinstance(node, Sequence):
            return self.bad(kind, node, path)
        items = (self.read(kind.item, item, (*path, n)) for n, item in enumerate(node.items) if not is_null(item))
        return tuple(item for item in items if item is not BAD)

    def map_of(self, kind: MapOf, node: Node, path: Path) -> Any:
        if is_null(node):
            return {}
        if not isinstance(node, Mapping):
            return self.bad(kind, node, path)
        values: dict[str, Any] = {}
        for name, (_, item) in node.entries.items():
            value = self.entry(kind.item, item, (*path, name))
            if value is not BAD:
                values[name] = value
        return values

    def entry(self, kind: Kind, node: Node, path: Path) -> Any:
        """A value of the user's own mapping: null text is '', a null number is as good as absent."""
        if not is_null(node) or isinstance(kind, (Anything, MapOf)):
            return self.read(kind, node, path)
        if isinstance(kind, Text):
            return ""
        return empty(kind, None) if isinstance(kind, Section) else BAD

    def section_of(self, kind: Section, node: Node, path: Path, default: Any = None) -> Any:
        if is_null(node):
            return empty(kind, default)
        if not isinstance(node, Mapping):
            got = self.bad(kind, node, path)
            return got if kind.optional else empty(kind, default)
        self.report_unknown(kind.cls, [known.name for known in keys_of(kind.cls)], node, path)
        return self.section(kind.cls, node, path, default)

    def anything(self, _kind: Anything, node: Node, _path: Path) -> Any:
        return plain_value(node)


def _holds_secrets(kind: Kind) -> bool:
    """Whether what should be of this kind is a secret, or has some."""
    if isinstance(kind, (ListOf, MapOf)):
        return _holds_secrets(kind.item)
    return isinstance(kind, Text) and kind.form == "secret"


def holds_anchor(node: Node) -> bool:
    """Whether the value was put there to be used elsewhere."""
    if node.anchored or isinstance(node, Scalar):
        return node.anchored
    children = node.items if isinstance(node, Sequence) else [entry.value for entry in node.entries.values()]
    return any(holds_anchor(child) for child in children)


def plain_value(node: Node) -> Any:
    """The node as plain Python, fit for JSON."""
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    if isinstance(node, Mapping):
        return {name: plain_value(value) for name, (_, value) in node.entries.items()}
    value = scalars.resolve(node.text) if node.plain else node.text
    value = node.text if isinstance(value, float) and not math.isfinite(value) else value
    return value if node.shown is None else hidden(value, node.shown)


def described(node: Node) -> str:
    """What a person wrote, for a message."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if is_null(node):
        return "null"
    if node.plain:
        return quoted(node.visible) if isinstance(scalars.resolve(node.visible), str) else node.visible
    looks_typed = not isinstance(scalars.resolve(node.visible), str)
    return f"the text {quoted(node.visible)}" if looks_typed else quoted(node.visible)
