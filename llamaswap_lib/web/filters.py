"""What the configuration changes in a JSON body before it is sent on.

Pure, any thread. `changes_of` turns the filters of a model or peer into a list once, when the configuration is read;
`apply_changes` carries such a list out. Order: `stripParams`, `setParams`, `setParamsByID`, each by the names' bytes.
`model` is never touched by them; what nothing names stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from llamaswap_lib.config.schema import Filters
from llamaswap_lib.errors import BadRequest
from llamaswap_lib.web.jsontext import encode
from llamaswap_lib.web.jsontree import NoPlace, Tree

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


def renaming(name: str) -> Change:
    """The change that makes a body name another model."""
    return Change((PROTECTED,), encode(name))


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
