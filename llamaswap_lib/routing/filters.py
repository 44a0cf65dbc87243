"""What the configuration changes in a JSON body before it is sent on.

Pure, any thread. `changes_of` turns the filters of a model or peer into a list once, when the configuration is read; a
`BodyFilter` carries such a list out, and gives the model another name if need be. Order: `stripParams`, `setParams`,
`setParamsByID`, each by the names' bytes. `model` is never touched by them; what nothing names stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.config.sections import Filters
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.routing.model_name import Named, name_in_json
from llamaswap_lib.wire.json_edit import RepeatedTooOften, encode, object_start
from llamaswap_lib.wire.json_tree import NoPlace, Tree, Wanted, wrapped
from llamaswap_lib.wire.splice import Edit

PROTECTED = "model"

_find_names = re.compile(r"(?:[^.\\]|\\.|\\$)+", re.DOTALL).findall
_unescape = re.compile(r"\\(.)", re.DOTALL).sub


class Change(NamedTuple):
    """The JSON text, in ASCII, that is set at a path; None takes away what stands there."""

    path: tuple[str, ...]
    value: bytes | None

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
    names = sorted(values)  # by code point, as by byte
    return [Change(path_of(name), encode(values[name]).encode()) for name in names]


def path_of(name: str) -> tuple[str, ...]:
    """The names between the dots; a backslash makes a dot part of a name."""
    if "\\" not in name:
        return tuple(name.split("."))
    return tuple(_unescape(r"\1", part) for part in _find_names(name))


class BodyFilter:
    """What becomes of each body that is sent to one model under one name."""

    __slots__ = ("_addition", "_changes", "_names", "_wanted")

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self._changes = changes
        self._wanted = Wanted((renaming(""), *changes))
        self._names = frozenset(change.path[0] for change in changes)
        self._addition = _addition(changes)

    def edits(self, named: Named, sent_name: str) -> Sequence[Edit]:
        """What filters the JSON body of `named`, and makes it one for the model `sent_name` unless ''.

        Mostly nothing that is filtered is there: then what is set goes to the end, and the text is never taken apart.
        Raises BadRequest where there is no place for something.
        """
        data = named.json
        if self._addition is None or named.json_keys is None or not self._names.isdisjoint(named.json_keys):
            changes = (renaming(sent_name), *self._changes) if sent_name else self._changes
            return edits_of(data, changes, self._wanted)
        last = data.rindex(b"}")
        added = Edit(last, last, self._addition)
        return (*named.edits(sent_name), added) if sent_name else (added,)


def _addition(changes: Collection[Change]) -> bytes | None:
    """What is added to an object that has none of the changed keys; None if that is not so simple."""
    if len({change.path[0] for change in changes}) < len(changes):
        return None
    added = [(path, value) for path, value in changes if value is not None]
    try:
        return b"".join(b",%b:%b" % (encode(path[0]).encode(), wrapped(path[1:], value)) for path, value in added)
    except NoPlace:
        return None


def renaming(name: str) -> Change:
    """The change that makes a body name another model."""
    return Change((PROTECTED,), name_in_json(name))


def edits_of(data: bytes, changes: Sequence[Change], wanted: Wanted) -> list[Edit]:
    """What `changes` do to the object that is `data` (`load_object` took it); `wanted` has to know all of them.

    Raises BadRequest where it has no place for one.
    """
    try:
        tree = Tree(data, object_start(data), wanted)
        for change in changes:
            _apply(tree, change)
    except RepeatedTooOften as reason:
        raise BadRequest(f"the filters of this model cannot change this body: {reason}") from None
    return list(tree.edits())


def _apply(tree: Tree, change: Change) -> None:
    if change.value is None:
        tree.remove(change.path)
        return
    try:
        tree.set(change.path, change.value)
    except NoPlace as reason:
        raise BadRequest(f"the filters of this model cannot set {change.name!r} in this body: {reason}") from None
