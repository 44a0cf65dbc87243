"""The tree that was read, so that whoever finds that values do not agree can say where they stand.

Owns the way from a path to a place. `path` may lead further than the file does: then the nearest holder is named.
"""

from __future__ import annotations

from .nodes import Mapping, Node, Scalar, Sequence
from .problems import Path, Place, Problems


class Document:
    def __init__(self, root: Mapping | None, problems: Problems) -> None:
        self.root = root
        self.problems = problems

    def error(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.error(self.place(path, at_key), path, message)

    def warn(self, path: Path, message: str, *, at_key: bool = False, family: str = "") -> None:
        self.problems.warn(self.place(path, at_key), path, message, family=family)

    def hint(self, path: Path, message: str, *, at_key: bool = False, family: str = "") -> None:
        """Say what is worth knowing though nothing is amiss."""
        self.problems.warn(self.place(path, at_key), path, message, is_hint=True, family=family)

    def node(self, path: Path) -> Node | None:
        """What stands at this path, if the file goes that far."""
        node: Node | None = self.root
        for step in path:
            node = _child(node, step)
        return node

    def place(self, path: Path, at_key: bool = False) -> Place | None:
        """The place of the value (or of its key), or of the nearest holder that is there."""
        node: Node | None = self.root
        place = None
        for step in path:
            key = node.entries[step].key if isinstance(node, Mapping) and step in node.entries else None
            node = _child(node, step)
            if node is None:
                break
            is_block = not isinstance(node, Scalar)
            place = key.place if key is not None and (at_key or is_block) else node.place
        return place


def _child(node: Node | None, step: str | int) -> Node | None:
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.get(step)
    if isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None
