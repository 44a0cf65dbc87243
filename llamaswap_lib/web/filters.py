"""What the configuration changes in a JSON body before it is sent on.

Pure, any thread. `changes_of` turns the filters of a model or peer into a list once, when the configuration is read; a
`BodyFilter` carries such a list out, and gives the model another name if need be. Order: `stripParams`, `setParams`,
`setParamsByID`, each by the names' bytes. `model` is never touched by them; what nothing names stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from llamaswap_lib.config.schema import Filters
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.web.jsontext import encode, only_place
from llamaswap_lib.web.jsontree import NoPlace, Tree, wrapped

PROTECTED = "model"

_find_names = re.compile(r"(?:[^.\\]|\\.|\\$)+", re.DOTALL).findall
_unescape = re.compile(r"\\(.)", re.DOTALL).sub


class Change(NamedTuple):
    """The JSON text that is set at a path; None takes away what stands there."""

    path: tuple[str, ...]
    value: str | None

    @property
    def name(self) -> str:
        """As it is written, without escapes."""
        return ".".join(self.path)


def changes_of(filters: Filters, asked: str) -> tuple[Change, ...]:
    """What `filters` do to a request that asks for the name `asked`."""
    stripped = [Change(path_of(name), None) for name in sorted(filters.strip_params)]
    by_id = filters.set_params_by_id.get(asked, {})
    changes = [*stripped, *_settings(filters.set_params), *_settings(by_id)]
    return tuple(change for change in changes if change.path[0] != PROTECTED)


def _settings(values: Mapping[str, Any]) -> Iterable[Change]:
    return [Change(path_of(name), encode(values[name])) for name in sorted(values)]  # by code point, as by byte


def path_of(name: str) -> tuple[str, ...]:
    """The names between the dots; a backslash makes a dot part of a name."""
    if "\\" not in name:
        return tuple(name.split("."))
    return tuple(_unescape(r"\1", part) for part in _find_names(name))


class BodyFilter:
    """What becomes of each body that is sent to one model under one name."""

    __slots__ = ("_addition", "_changes", "_names")

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self._changes = changes
        self._names = frozenset(change.path[0] for change in changes)
        self._addition = _addition(changes)

    def apply(self, text: str, members: Collection[str], sent_name: str) -> str:
        """The object that is `text`, with these top-level keys, filtered, and for the model `sent_name` unless ''.

        Mostly nothing that is filtered is there: then what is set goes to the end, and the text is never taken apart.
        Raises BadRequest where there is no place for something.
        """
        place = only_place(text, PROTECTED) if sent_name else (0, 0)
        if place is None or self._addition is None or not self._names.isdisjoint(members):
            return apply_changes(text, (renaming(sent_name), *self._changes) if sent_name else self._changes)
        start, end = place
        last = text.rindex("}")
        name = _encoded(sent_name) if sent_name else ""
        return f"{text[:start]}{name}{text[end:last]}{self._addition}{text[last:]}"


def _addition(changes: Collection[Change]) -> str | None:
    """What is added to an object that has none of the changed keys; None if that is not so simple."""
    if len({change.path[0] for change in changes}) < len(changes):
        return None
    added = [(path, value) for path, value in changes if value is not None]
    try:
        return "".join(f",{encode(path[0])}:{wrapped(path[1:], value)}" for path, value in added)
    except NoPlace:
        return None


def renaming(name: str) -> Change:
    """The change that makes a body name another model."""
    return Change((PROTECTED,), _encoded(name))


@lru_cache(maxsize=256)
def _encoded(name: str) -> str:
    """A model's name as JSON; of names there are few."""
    return encode(name)


def apply_changes(text: str, changes: Iterable[Change]) -> str:
    """The object that is `text` (`load_object` took it), changed; raises BadRequest where it has no place for one."""
    start, end = text.index("{"), text.rindex("}") + 1
    try:
        tree = Tree(text[start:end])
        for change in changes:
            _apply(tree, change)
    except RecursionError:  # `load_object` was called with more of the stack to spare
        raise BadRequest("the body is not JSON: Nested too deeply") from None
    return text[:start] + tree.text() + text[end:]


def _apply(tree: Tree, change: Change) -> None:
    if change.value is None:
        tree.remove(change.path)
        return
    try:
        tree.set(change.path, change.value)
    except NoPlace as reason:
        raise BadRequest(f"the filters of this model can not set {change.name!r} in this body: {reason}") from None
