"""Several files as one: mappings merge, lists append, scalars agree or are an error that names both files.

Owns the rules. Pure on trees: makes new nodes and changes none, so anchors stay each file's own. Merging is
associative. Null gives way to whatever the other file says.
"""

from __future__ import annotations

from . import scalars
from .nodes import Entry, MappingNode, Node, ScalarNode, SequenceNode, is_null
from .problems import KeyPath, Problems

ONE_FILE_EACH = frozenset(
    (
        ("models",),
        ("groups",),
        ("matrix",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    )
)


def merge(one: MappingNode, other: MappingNode, problems: Problems, path: KeyPath = ()) -> MappingNode:
    """`one` with what `other` adds."""
    entries = dict(one.entries)
    for name, entry in other.entries.items():
        mine = entries.get(name)
        if mine is None:
            entries[name] = entry
        elif path in ONE_FILE_EACH:
            where = f"{mine.key.place.source.name}:{mine.key.place.line + 1}"
            problems.error(entry.key.place, (*path, name), f"is defined in {where} already")
        else:
            entries[name] = Entry(mine.key, _merged(mine.value, entry.value, problems, (*path, name)))
    return MappingNode(
        one.place,
        entries,
        one.anchored or other.anchored,
        one.has_macro or other.has_macro,
        one.size + other.size,
        one.merge_key or other.merge_key,
    )


def _merged(one: Node, other: Node, problems: Problems, path: KeyPath) -> Node:
    if is_null(other):
        return one
    if is_null(one):
        return other
    if isinstance(one, MappingNode) and isinstance(other, MappingNode):
        return merge(one, other, problems, path)
    if isinstance(one, SequenceNode) and isinstance(other, SequenceNode):
        return SequenceNode(
            one.place, one.items + other.items, one.anchored, one.has_macro or other.has_macro, one.size + other.size
        )
    if not (isinstance(one, ScalarNode) and isinstance(other, ScalarNode) and _agree(one, other)):
        where = f"{one.place.source.name}:{one.place.line + 1}"
        problems.error(other.place, path, f"is something else in {where}; only equal values may be in two files")
    return one


def _agree(one: ScalarNode, other: ScalarNode) -> bool:
    if one.text != other.text:
        return False
    return one.plain == other.plain or isinstance(scalars.resolve(one.text), str)
