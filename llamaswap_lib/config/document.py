"""The way from a path, such as `models.a.cmd`, to what stands there and where.

Owns `Document`: where values do not agree, that is reported here by their paths. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from llamaswap_lib.typed_yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode, is_null
from llamaswap_lib.typed_yaml.problems import KeyPath, Place, Problems, did_you_mean, quoted


class Document:
    """The tree that was read, to say where values stand that do not agree.

    A path may lead further than the file does: then the nearest holder is named. Its steps into a list count what was
    read of it, so without nulls; what is reported has the steps of the file.
    """

    def __init__(self, root: MappingNode | None, problems: Problems) -> None:
        self.root = root
        self.problems = problems
        self._counted: dict[SequenceNode, list[int]] = {}

    def error(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        self.problems.error(self.place(path, at_key), self._as_written(path), message)

    def warn(self, path: KeyPath, message: str, *, at_key: bool = False, family: str = "") -> None:
        self.problems.warn(self.place(path, at_key), self._as_written(path), message, family=family)

    def hint(self, path: KeyPath, message: str, *, at_key: bool = False, family: str = "") -> None:
        """Say what is worth knowing though nothing is amiss."""
        self.problems.warn(self.place(path, at_key), self._as_written(path), message, is_hint=True, family=family)

    def node(self, path: KeyPath) -> Node | None:
        """What stands at this path, if the file goes that far."""
        node: Node | None = self.root
        for step in path:
            node = self._child(node, step)
        return node

    def place(self, path: KeyPath, at_key: bool = False) -> Place | None:
        """The place of the value (or of its key), or of the nearest holder that is there."""
        node: Node | None = self.root
        place = None
        for step in path:
            key = node.entries[step].key if isinstance(node, MappingNode) and step in node.entries else None
            node = self._child(node, step)
            if node is None:
                break
            is_block = not isinstance(node, ScalarNode)
            place = key.place if key is not None and (at_key or is_block) else node.place
        return place

    def _as_written(self, path: KeyPath) -> KeyPath:
        steps: list[str | int] = []
        for number, step in enumerate(path):
            node = self.node(path[:number]) if isinstance(step, int) else None
            places = self._places(node) if isinstance(node, SequenceNode) else ()
            steps.append(places[step] if isinstance(step, int) and step < len(places) else step)
        return tuple(steps)

    def _child(self, node: Node | None, step: str | int) -> Node | None:
        if isinstance(node, MappingNode) and isinstance(step, str):
            return node.get(step)
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(places := self._places(node)):
            return node.items[places[step]]
        return None

    def _places(self, node: SequenceNode) -> list[int]:
        """Where the items of a list stand that are no nulls, which are dropped from what is read of it."""
        found = self._counted.get(node)
        if found is None:
            found = [number for number, item in enumerate(node.items) if not is_null(item)]
            self._counted[node] = found
        return found

    def unknown_model(self, name: str, known: Iterable[str]) -> str:
        """What to say of a name that no model has."""
        message = f"unknown model {quoted(name)}"
        entry = None if self.root is None else self.root.entries.get(name)
        if entry is not None:
            return f"{message}; line {entry.key.place.line + 1} has it, but not below models: indent it there"
        return message + did_you_mean(name, known)
