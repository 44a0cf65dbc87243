"""What a key of the configuration may hold: the vocabulary in which `schema.py` describes the file.

Owns the kinds of value and `key`, which puts one on a dataclass field together with the key's name in the file, its
default and its sentence of documentation. Loader, reference and JSON schema all read these descriptions; nothing here
reads YAML. Immutable, so any thread may use it. (Named tuples, for the server starts in the time that a dozen
dataclasses take to be made.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Union


class Text(NamedTuple):
    """Any scalar, as it is written.

    `form` says how secrets are found in it when it is shown: a `secret` is never shown, a `command` has secrets among
    its words, a `variable` is NAME=value; anything else is `plain`.
    """

    expected: str = "text"
    form: str = "plain"


class Choice(NamedTuple):
    """One of a few words; with `lenient` in any case, and an unknown one counts as the default, with a warning."""

    words: tuple[str, ...]
    lenient: bool = False

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(word or '""' for word in self.words)


class Flag(NamedTuple):
    expected: str = "true or false"


class Integer(NamedTuple):
    """A whole number; one below `floor` counts as it, one below `minimum` is an error."""

    minimum: int | None = None
    floor: int | None = None

    @property
    def expected(self) -> str:
        return "an integer" if self.minimum is None else f"an integer of at least {self.minimum}"


class Seconds(NamedTuple):
    """A duration in seconds: a number, or text such as `1m30s`, which alone counts where `unit` is demanded."""

    minimum: int | None = 0
    floor: int | None = None
    unit: bool = False

    @property
    def expected(self) -> str:
        if self.unit:
            return f"a duration with its unit of at least {self.minimum}s, such as 5s or 1m30s"
        least = "" if self.minimum is None else f" of at least {self.minimum}"
        return f"an integer{least} (seconds) or a duration such as 1m30s"


class CommaList(NamedTuple):
    """Names in one text, parted by commas; blanks and repeats dropped."""

    expected: str = "text with names parted by commas"


class ListOf(NamedTuple):
    item: Kind
    expected: str = "a list"


class MapOf(NamedTuple):
    """A mapping whose keys are the user's own names, of what `of` says."""

    item: Kind
    of: str = "name"
    expected: str = "a mapping"


class Section(NamedTuple):
    """A mapping with known keys, described by a dataclass; an `optional` one is None when it is absent."""

    cls: type
    optional: bool = False
    expected: str = "a mapping"


class Anything(NamedTuple):
    """Any YAML value, handed on as plain Python."""

    expected: str = "any value"


Kind = Union[  # noqa: UP007 - ListOf refers to it before it exists
    Text, Choice, Flag, Integer, Seconds, CommaList, ListOf, MapOf, Section, Anything
]


class Key(NamedTuple):
    """One key of a section: `attribute` of the dataclass, `name` in the file."""

    attribute: str
    name: str
    kind: Kind
    doc: str
    default: Any  # of the attribute; None where a list or mapping is empty, or nothing is said
    required: bool


NAME = "llamaswap.key"


def key(name: str, kind: Kind, doc: str, default: Any = None, *, required: bool = False) -> Any:
    """A dataclass field that stands for the key `name` of the file."""
    metadata = {NAME: (name, kind, doc, default, required)}
    factory = _factory(kind, default)
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def derived(default: Any = None, *, factory: Callable[[], Any] | None = None, compare: bool = True) -> Any:
    """A dataclass field that no key sets: the loader computes it."""
    if factory is not None:
        return dataclasses.field(default_factory=factory)
    return dataclasses.field(default=default, compare=compare)


@cache
def keys_of(cls: type[Any]) -> tuple[Key, ...]:
    """The keys that `cls` describes, in their order."""
    described = ((field.name, field.metadata.get(NAME)) for field in dataclasses.fields(cls))
    return tuple(Key(attribute, *parts) for attribute, parts in described if parts)


def empty(kind: Kind, default: Any) -> Any:
    """What a key holds when it is absent (or, lists and mappings aside, null)."""
    factory = _factory(kind, default)
    return factory() if factory is not None else default


def _factory(kind: Kind, default: Any) -> Callable[[], Any] | None:
    if isinstance(kind, Section):
        if kind.optional:
            return None
        return kind.cls if default is None else lambda: kind.cls(**default)
    if isinstance(kind, MapOf):
        return dict
    if isinstance(kind, ListOf) and default is None:
        return tuple
    return None
