"""Several files as one: mappings merge, lists append, scalars agree or are an error that names both files.

Owns the rules. Pure on trees: makes new nodes and changes none, so anchors stay each file's own. Merging is
associative. Null gives way to whatever the other file says.
"""

from __future__ import annotations

from . import scalars
from .nodes import Entry, Mapping, Node, Scalar, Sequence, is_null
from .problems import Path, Problems

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


def merge(one: Mapping, other: Mapping, problems: Problems, path: Path = ()) -> Mapping:
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
    return Mapping(
        one.place,
        entries,
        one.anchored or other.anchored,
        one.has_macro or other.has_macro,
        one.size + other.size,
        one.merge_key or other.merge_key,
    )


def _merged(one: Node, other: Node, problems: Problems, path: Path) -> Node:
    if is_null(other):
        return one
    if is_null(one):
        return other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return merge(one, other, problems, path)
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return Sequence(
            one.place, one.items + other.items, one.anchored, one.has_macro or other.has_macro, one.size + other.size
        )
    if not (isinstance(one, Scalar) and isinstance(other, Scalar) and _agree(one, other)):
        where = f"{one.place.source.name}:{one.place.line + 1}"
        problems.error(other.place, path, f"is something else in {where}; only equal values may stand in two files")
    return one


def _agree(one: Scalar, other: Scalar) -> bool:
    if one.text != other.text:
        return False
    return one.plain == other.plain or isinstance(scalars.resolve(one.text), str)
