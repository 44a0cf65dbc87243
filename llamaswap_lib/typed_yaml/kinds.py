"""What a key of a file may hold: the kinds of value, in which a file is described by dataclasses.

Owns one class for each kind, which reads a value of it from the tree, shows one, and tells what it may be: in a
message, in the reference and in JSON Schema; and `key`, which puts a kind on a dataclass field together with the key's
name in the file, its default and its sentence of documentation. Immutable, so any thread may use them. Whether values
agree with each other is checked elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from . import scalars
from .nodes import MappingNode, Node, ScalarNode, SequenceNode, is_null
from .problems import KeyPath, did_you_mean
from .reader import BAD, Kind, Reader, Schema, described, plain_value
from .secrets import MASK, Hidden, HiddenFloat, mask_text, mask_value, visible, visible_keys

MACRO: Schema = {"type": "string", "pattern": r"^\$\{[a-zA-Z0-9_.-]+\}$"}  # it may stand for any scalar
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)"}
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
NULL: Schema = {"type": "null"}


class Text(Kind):
    """Any scalar, as it is written.

    `form`: a `secret` is never shown, a `command` is split into words, a `variable` is NAME=value; anything else is
    `plain`. `masked`: the same text without the secrets in it.
    """

    def __init__(self, expected: str = "text", form: str = "plain", masked: Callable[[str], str] = mask_text) -> None:
        self.expected = expected
        self.form = form
        self.masked = masked
        self.holds_secrets = form == "secret"

    def schema(self) -> Schema:
        return SCALAR

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        return node.text if isinstance(node, ScalarNode) else reader.bad(self, node, path)

    def of_null(self) -> Any:
        return ""

    def show(self, value: Any, *, mask: bool) -> Any:
        if not mask:
            return value
        return self.masked(value) if not self.holds_secrets else MASK if value else ""


class Choice(Kind):
    """One of a few words; with `lenient` in any case, and an unknown one counts as the default, with a warning."""

    def __init__(self, words: tuple[str, ...], *, lenient: bool = False) -> None:
        self.words = words
        self.lenient = lenient
        self.expected = "one of " + ", ".join(word or '""' for word in words)

    @property
    def summary(self) -> str:
        return ", ".join(f"`{word}`" if word else '`""`' for word in self.words)

    def schema(self) -> Schema:
        words = [form for word in self.words for form in ((word, word.upper()) if self.lenient and word else (word,))]
        return {"anyOf": [{"enum": [*words, None]}, MACRO]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, ScalarNode):
            word = node.text.lower() if self.lenient else node.text
            if word in self.words:
                return word
            if self.lenient:
                got = f"{described(node)}{did_you_mean(word, self.words)}; it counts as the default"
                reader.problems.warn(node.place, path, f"expected {self.expected}, got {got}")
                return None
        return reader.bad(self, node, path)


class Flag(Kind):
    expected = "true or false"

    def schema(self) -> Schema:
        return {"anyOf": [{"type": ["boolean", "null"]}, {"type": "string", "pattern": scalars.YES_OR_NO}, MACRO]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        value = scalars.flag_of(node.text, node.plain) if isinstance(node, ScalarNode) else None
        return reader.bad(self, node, path) if value is None else value


class Integer(Kind):
    """A whole number; one below `floor` counts as it, one below `minimum` or above `maximum` is an error."""

    def __init__(self, minimum: int | None = None, floor: int | None = None, maximum: int | None = None) -> None:
        self.minimum, self.floor, self.maximum = minimum, floor, maximum
        self.expected = "an integer" if minimum is None else f"an integer of at least {minimum}"
        self.expected += "" if maximum is None else f" and at most {maximum}"

    @property
    def summary(self) -> str:
        return self._at_least("integer")

    def is_within(self, number: float) -> bool:
        return (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)

    def _at_least(self, what: str) -> str:
        least = "" if self.minimum is None else f", at least {self.minimum}"
        return what + least + ("" if self.maximum is None else f", at most {self.maximum}")

    def schema(self) -> Schema:
        pairs = ("minimum", self.minimum), ("maximum", self.maximum)
        return {"anyOf": [{"type": "integer", **{name: at for name, at in pairs if at is not None}}, MACRO, NULL]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        number = scalars.number_of(node.text) if isinstance(node, ScalarNode) and node.plain else None
        whole = None if number is None else scalars.integer_of(number)
        if whole is None or not self.is_within(whole):
            return reader.bad(self, node, path)
        if isinstance(number, float):
            counts = node.shown if isinstance(node, ScalarNode) and node.shown is not None else whole
            message = f"expected an integer, got {described(node)}; it counts as {counts}"
            reader.problems.warn(node.place, path, message)
        return whole if self.floor is None else max(whole, self.floor)


class Seconds(Integer):
    """A duration in seconds: a number, or text such as `1m30s`, which alone counts where `unit` is demanded."""

    def __init__(
        self, minimum: int | None = 0, floor: int | None = None, *, unit: bool = False, maximum: int | None = None
    ) -> None:
        super().__init__(minimum, floor, maximum)
        self.unit = unit
        if unit:
            self.expected = f"a duration with its unit of at least {minimum}s, such as 5s or 1m30s"
        else:
            self.expected += " (seconds) or a duration such as 1m30s"

    @property
    def summary(self) -> str:
        return "duration" if self.unit else self._at_least("seconds")

    def schema(self) -> Schema:
        if self.unit:
            return {"anyOf": [DURATION, MACRO, NULL]}
        return {"anyOf": [*super().schema()["anyOf"], DURATION]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        """Seconds as a float; None for the 0 of a duration that needs its unit, which stands for the default."""
        duration = scalars.duration_of(node.text) if isinstance(node, ScalarNode) else None
        if duration is None and not self.unit:
            whole = super()._value(node, path, reader)
            return whole if whole is BAD else float(whole)
        if self.unit and (duration == 0 or (isinstance(node, ScalarNode) and node.text == "0")):
            return None
        if duration is None or duration < 0 or not (self.is_within(duration) and math.isfinite(duration)):
            return reader.bad(self, node, path)
        return duration if self.floor is None else max(duration, float(self.floor))

    def show(self, value: Any, *, mask: bool) -> Any:
        if mask and isinstance(value, HiddenFloat):
            return visible(value)
        if value.is_integer() and not self.unit and abs(value) < 2**63:
            return int(value)
        text = repr(value)
        if "e" in text:
            from decimal import Decimal  # noqa: PLC0415 - it takes 0.4 MB, and few have such a number

            text = f"{Decimal(text).normalize():f}"
        return f"{text.removesuffix('.0')}s"


class CommaList(Kind):
    """Names in one text, parted by commas; blanks and repeats dropped."""

    expected = "text with names parted by commas"
    summary = "names, comma separated"

    def schema(self) -> Schema:
        return SCALAR

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if not isinstance(node, ScalarNode):
            return reader.bad(self, node, path)
        return tuple(dict.fromkeys(name.strip() for name in node.text.split(",") if name.strip()))

    def show(self, value: Any, *, mask: bool) -> Any:
        return ", ".join(visible(name) if mask else name for name in value)


class ListOf(Kind):
    expected = "a list"
    null_is_absent = False
    empty = ()

    def __init__(self, item: Kind) -> None:
        self.item = item
        self.holds_secrets = item.holds_secrets

    @property
    def summary(self) -> str:
        return f"list of {self.item.summary}"

    def schema(self) -> Schema:
        return {"type": ["array", "null"], "items": self.item.schema()}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if is_null(node):
            return ()
        if not isinstance(node, SequenceNode):
            return reader.bad(self, node, path)
        items = (self.item.read(item, (*path, n), reader) for n, item in enumerate(node.items) if not is_null(item))
        return tuple(item for item in items if item is not BAD)

    def show(self, value: Any, *, mask: bool) -> Any:
        return [self.item.show(item, mask=mask) for item in value]


class MapOf(Kind):
    """A mapping whose keys are the user's own names, of what `of` says."""

    expected = "a mapping"
    factory = dict

    def __init__(self, item: Kind, of: str = "name", *, is_secret: bool = False) -> None:
        """`is_secret`: the keys are never shown."""
        self.item = item
        self.of = of
        self.is_secret = is_secret
        self.holds_secrets = is_secret or item.holds_secrets

    @property
    def summary(self) -> str:
        return f"{self.of} -> {self.item.summary}"

    def schema(self) -> Schema:
        return {"type": ["object", "null"], "additionalProperties": self.item.schema()}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if not isinstance(node, MappingNode):
            return reader.bad(self, node, path)
        values: dict[str, Any] = {}
        if self.is_secret:
            reader.problems.keep_secret(node.entries)
        for name, (_, item) in node.entries.items():
            below = (*path, Hidden(name, MASK) if self.is_secret else name)
            value = self.item.of_null() if is_null(item) else self.item.read(item, below, reader)
            if value is not BAD:
                values[name] = value
        return values

    def of_null(self) -> Any:
        return {}

    def show(self, value: Any, *, mask: bool) -> Any:
        if mask and isinstance(self.item, Anything):
            return mask_value(value)
        if mask and self.is_secret:
            value = {Hidden(name, MASK): item for name, item in value.items()}
        items = {name: self.item.show(item, mask=mask) for name, item in value.items()}
        return visible_keys(items) if mask else items


class Section(Kind):
    """A mapping with known keys, described by a dataclass; an `optional` one is None when it is absent.

    `default`: the attributes whose default is another here.
    """

    expected = "a mapping"
    summary = "see below"
    is_looked_at = False

    def __init__(self, cls: type, default: Mapping[str, Any] | None = None, *, optional: bool = False) -> None:
        self.cls = cls
        self.default = default or {}
        self.optional = optional
        self.factory = None if optional else partial(cls, **self.default)

    def schema(self) -> Schema:
        return schema_of(keys_of(self.cls))

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if not isinstance(node, MappingNode):
            got = reader.bad(self, node, path)
            return got if self.factory is None else self.factory()
        reader.report_unknown(self.cls, [known.name for known in keys_of(self.cls)], node, path)
        return read_section(self.cls, node, path, reader, self.default)

    def of_null(self) -> Any:
        return None if self.factory is None else self.factory()

    def show(self, value: Any, *, mask: bool) -> Any:
        """Without the keys at their default."""
        return None if value is None else show_section(value, self.cls(**self.default), mask=mask)


class Anything(Kind):
    """Any YAML value, handed on as plain Python."""

    expected = "any value"
    summary = "anything"

    def schema(self) -> Schema:
        return {}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:  # noqa: ARG002
        return plain_value(node)

    def of_null(self) -> Any:
        return None

    def show(self, value: Any, *, mask: bool) -> Any:
        return mask_value(value) if mask else value


# -- keys --


class Key(NamedTuple):
    """One key of a section: `attribute` of the dataclass, `name` in the file."""

    attribute: str
    name: str
    kind: Kind
    doc: str
    default: Any  # of the attribute; None where it is empty or nothing is said
    required: bool
    is_shown: bool  # with the values that were read


_NAME = "llamaswap.key"


def key(name: str, kind: Kind, doc: str, default: Any = None, *, required: bool = False, is_shown: bool = True) -> Any:
    """A dataclass field that stands for the key `name` of the file."""
    metadata = {_NAME: (name, kind, doc, default, required, is_shown)}
    if kind.factory is not None:
        return dataclasses.field(default_factory=kind.factory, metadata=metadata)
    return dataclasses.field(default=kind.empty if default is None else default, metadata=metadata)


def derived(default: Any = None, *, factory: Callable[[], Any] | None = None, compare: bool = True) -> Any:
    """A dataclass field that no key sets: the loader computes it."""
    if factory is not None:
        return dataclasses.field(default_factory=factory)
    return dataclasses.field(default=default, compare=compare)


@cache
def keys_of(cls: type[Any]) -> tuple[Key, ...]:
    """The keys that `cls` describes, in their order."""
    found = ((field.name, field.metadata.get(_NAME)) for field in dataclasses.fields(cls))
    return tuple(Key(attribute, *parts) for attribute, parts in found if parts)


def read_section(
    cls: type, node: MappingNode, path: KeyPath, reader: Reader, default: Mapping[str, Any] | None = None
) -> Any:
    """An instance of `cls`; `default` holds the attributes whose default is another here."""
    values = dict(default or {})
    for known in keys_of(cls):
        child = node.get(known.name)
        if child is None or (is_null(child) and known.kind.null_is_absent):
            continue
        value = known.kind.read(child, (*path, known.name), reader)
        if value is not BAD and value is not None:
            values[known.attribute] = value
    return cls(**values)


def show_section(value: Any, default: Any, *, mask: bool) -> dict[str, Any]:
    """The keys of a section that differ from those of `default`, as `Kind.show` has them."""
    cls: type = type(value)
    found = {}
    for known in keys_of(cls):
        current = getattr(value, known.attribute)
        if known.is_shown and (known.required or current != getattr(default, known.attribute)):
            found[known.name] = known.kind.show(current, mask=mask)
    return found


def schema_of(keys: Iterable[Key]) -> Schema:
    """JSON Schema of a mapping with these keys."""
    keys = tuple(keys)
    found: Schema = {"type": ["object", "null"], "properties": {known.name: _property(known) for known in keys}}
    required = [known.name for known in keys if known.required]
    return {**found, "required": required} if required else found


def _property(known: Key) -> Schema:
    found = {"description": known.doc, **known.kind.schema()}
    if known.required or known.default is None:
        return found
    return {**found, "default": known.kind.show(known.default, mask=False)}
