"""YAML text as a tree in which every value knows its place.

Owns the three kinds of node; `compose`, which builds them from the parser's events: anchors resolved, `<<` merged,
duplicate keys reported with both lines, keys counted by their text; and `merge`, which makes one tree of two. PyYAML's
own resolver and constructors (YAML 1.1) are never used. The tree is not changed after it is built; aliases share their
nodes, so a file cannot blow up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from .problems import KeyPath, Place, Problems, Source, did_you_mean, quoted, shortened
from .scalars import NULL, resolve
from .secrets import MASK, text_of

# Events come from libyaml where PyYAML was built with it; in pure Python they are slower, and the same.
PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 100  # what aliases put there counts
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
MAX_NODES = 500_000  # aliases counted as often as they are used
MERGE = "<<"
MACRO = re.compile(r"\$\{(?:env\.[A-Za-z_][A-Za-z0-9_]*|[a-zA-Z0-9_-]+)\}")  # where one is used
STANDARD_TAG = "tag:yaml.org,2002:"
TYPED_TAGS = frozenset(STANDARD_TAG + name for name in ("int", "float", "bool", "null"))


@dataclass(slots=True, eq=False, repr=False)
class ScalarNode:
    """Text; `plain` means that it stands unquoted, so that it may be a number, a boolean or null."""

    text: str
    plain: bool
    place: Place
    anchored: bool = False
    has_macro: bool = False
    size: int = 1
    shown: str | None = None  # with [hidden] for what came from the environment, if anything did

    @property
    def visible(self) -> str:
        """What may be shown of the text."""
        return self.text if self.shown is None else self.shown


@dataclass(slots=True, eq=False, repr=False)
class SequenceNode:
    """A list of the file."""

    place: Place
    items: list[Node] = field(default_factory=list)
    anchored: bool = False
    has_macro: bool = False
    size: int = 1
    height: int = 1  # levels from here down, as they were read


class Entry(NamedTuple):
    key: ScalarNode
    value: Node


@dataclass(slots=True, eq=False, repr=False)
class MappingNode:
    """Entries by the text of their key, in the order of the file; those that came by `<<` stand last.

    A key of which something came from the environment is a `Hidden`.
    """

    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)
    anchored: bool = False
    has_macro: bool = False
    size: int = 1
    merge_key: ScalarNode | None = None
    height: int = 1

    def get(self, name: str) -> Node | None:
        entry = self.entries.get(name)
        return None if entry is None else entry.value

    def mapping(self, name: str) -> MappingNode | None:
        """The entry's value if it is a mapping."""
        value = self.get(name)
        return value if isinstance(value, MappingNode) else None


Node = ScalarNode | SequenceNode | MappingNode
BEGINS = {SequenceNode: "[", MappingNode: "{"}


def is_null(node: Node | None) -> bool:
    """Absent, or a null."""
    return node is None or (isinstance(node, ScalarNode) and node.plain and node.text in NULL)


def walk(node: Node, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], ScalarNode]]:
    """Every scalar value with its path; keys are not values."""
    if isinstance(node, ScalarNode):
        yield path, node
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.items):
            yield from walk(item, (*path, index))
    else:
        for name, entry in node.entries.items():
            yield from walk(entry.value, (*path, name))


def is_refused(node: Node | None, expected: type) -> bool:
    """Whether a value of another kind stands there, which the reader has reported, so that what it lacks is no news."""
    return node is not None and not is_null(node) and not isinstance(node, expected)


class NotYaml(Exception):
    """The text cannot be parsed any further; the problem has been reported."""


def compose(text: str, source: Source, problems: Problems, shown: Mapping[int, str] | None = None) -> Node | None:
    """The first document of `text`, None when there is nothing in it; raises NotYaml after reporting why.

    `shown`: what may be shown of the n-th scalar, counted from 0, where that is not all of it.
    """
    return _Composer(text, source, problems, shown or {}).document()


class _Open:
    """A collection that is being filled."""

    __slots__ = ("key", "merged", "node", "pending_anchor")

    def __init__(self, node: SequenceNode | MappingNode, pending_anchor: str | None) -> None:
        self.node = node
        self.pending_anchor = pending_anchor  # an alias to it is legal only after it has ended
        self.key: ScalarNode | None = None  # of a mapping: the key whose value comes next
        self.merged: Node | None = None


class _Composer:
    def __init__(self, text: str, source: Source, problems: Problems, shown: Mapping[int, str]) -> None:
        self.shown = shown
        self.count = itertools.count()
        self.events: Iterator[Any] = yaml.parse(text, Loader=PARSER)
        self.source = source
        self.problems = problems
        self.anchors: dict[str, Node] = {}
        self.stack: list[_Open] = []
        self.handlers: dict[type, Callable[[Any], Node | None]] = {
            yaml.ScalarEvent: self.scalar,
            yaml.AliasEvent: self.alias,
            yaml.MappingStartEvent: self.open,
            yaml.SequenceStartEvent: self.open,
            yaml.MappingEndEvent: self.close,
            yaml.SequenceEndEvent: self.close,
        }

    def document(self) -> Node | None:
        for event in self.events:
            if isinstance(event, yaml.DocumentEndEvent):
                return None
            node = self.take(event)
            if node is not None and not self.stack:
                if isinstance(node, MappingNode) or is_null(node):  # anything else is refused, whatever follows
                    self.report_next_document(node.place)
                return node
        return None

    def report_next_document(self, first: Place) -> None:
        """Warn of a second document; whatever is in it does not count."""
        try:
            following = next((event for event in self.events if isinstance(event, yaml.DocumentStartEvent)), None)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            if mark is not None:
                place = Place(self.source, mark.line, mark.column, mark.column + 1)
                why = "what comes before is the whole file"
                if mark.column < first.column:
                    why = f"this line is indented by {mark.column}, the first one by {first.column}"
                self.problems.warn(place, (), f"from here on nothing is read: {why}")
            return
        if following is not None:
            self.problems.warn(self.place(following), (), "a second document begins here; only the first is used")

    def take(self, event: Any) -> Node | None:
        """The node that is complete with this event, already put into its parent."""
        handle = self.handlers.get(type(event))
        node = None if handle is None else handle(event)
        if node is not None and self.stack:
            self.put(self.stack[-1], node)
        return node

    def place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        if end.line == line:
            return Place(self.source, line, column, end.column)
        return Place(self.source, line, column, column + 1, end.line if end.column else end.line - 1)

    def scalar(self, event: Any) -> ScalarNode:
        tag, text, anchor = event.tag, event.value, event.anchor
        plain = event.implicit[0] if tag is None else tag in TYPED_TAGS
        shown = self.shown.get(next(self.count))
        node = ScalarNode(text, plain, self.place(event), anchor is not None, "${" in text, shown=shown)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        name = event.anchor
        is_hidden = event.start_mark.line in self.source.shifts  # it may be the value of a variable
        shown = MASK if is_hidden else shortened(name)
        if any(open_.pending_anchor == name for open_ in self.stack):
            raise self.fatal(self.place(event), f"the alias *{shown} is inside the value that it refers to")
        if name not in self.anchors:
            near = did_you_mean(name, self.anchors) or "; text that begins with * needs quotes"
            near = "" if self.source.shifts else near  # names may be values, too
            raise self.fatal(self.place(event), f"there is no anchor &{shown} before this alias{near}")
        return self.anchors[name]

    def open(self, event: Any) -> None:
        start = event.start_mark
        place = Place(self.source, start.line, start.column, start.column + 1)
        if len(self.stack) >= MAX_DEPTH:
            raise self.fatal(place, TOO_DEEP)
        kind = MappingNode if isinstance(event, yaml.MappingStartEvent) else SequenceNode
        self.stack.append(_Open(kind(place, anchored=event.anchor is not None), event.anchor))

    def close(self, _event: Any) -> Node:
        opened = self.stack.pop()
        node = opened.node
        if isinstance(node, MappingNode) and opened.merged is not None:
            self.merge(node, opened.merged)
        if opened.pending_anchor is not None:
            self.anchors[opened.pending_anchor] = node
        return node

    def put(self, parent: _Open, node: Node) -> None:
        holder = parent.node
        holder.size += node.size
        if node.has_macro:
            holder.has_macro = True
        if holder.size > MAX_NODES:
            raise self.fatal(node.place, f"the aliases of this file make more than {MAX_NODES} values")
        if not isinstance(node, ScalarNode):
            if len(self.stack) + node.height > MAX_DEPTH:  # code that walks the tree calls itself for each level
                raise self.fatal(node.place, TOO_DEEP)
            holder.height = max(holder.height, node.height + 1)
        if isinstance(holder, SequenceNode):
            holder.items.append(node)
        elif parent.key is None:
            if not isinstance(node, ScalarNode):
                raise self.fatal(
                    node.place, f"a key must be text; text that begins with {BEGINS[type(node)]} needs quotes"
                )
            parent.key = node
        else:
            self.put_entry(parent, holder, parent.key, node)
            parent.key = None

    def put_entry(self, parent: _Open, holder: MappingNode, key: ScalarNode, value: Node) -> None:
        if key.text == MERGE and key.plain:
            if parent.merged is not None:
                line = holder.merge_key.place.line + 1 if holder.merge_key else 0
                self.problems.error(key.place, (), f"a second << in the same mapping; the first is on line {line}")
                return
            parent.merged, holder.merge_key = value, key
            return
        earlier = holder.entries.get(key.text)
        if earlier is not None:
            line = earlier.key.place.line + 1
            self.problems.error(key.place, (), f"duplicate key {quoted(key.visible)}; the first is on line {line}")
            return
        holder.entries[text_of(key.text, key.shown)] = Entry(key, value)

    def merge(self, node: MappingNode, merged: Node) -> None:
        """Add what `<<` brings; own keys win, then the earlier mappings of a list."""
        for one in merged.items if isinstance(merged, SequenceNode) else [merged]:
            if not isinstance(one, MappingNode):
                self.problems.error(one.place, (), "<< expects a mapping or a list of mappings")
                continue
            for name, entry in one.entries.items():
                node.entries.setdefault(name, entry)

    def fatal(self, place: Place, message: str) -> NotYaml:
        self.problems.error(place, (), message)
        return NotYaml()


# -- several files as one --


def merge(
    one: MappingNode, other: MappingNode, problems: Problems, undivided: Container[KeyPath], path: KeyPath = ()
) -> MappingNode:
    """`one` with what `other` adds; no entry of the mappings at the paths `undivided` may be in both.

    Mappings merge, lists append, scalars agree or are an error that names both files. Null gives way to whatever the
    other file says. Makes new nodes and changes none, so anchors stay each file's own. Associative.
    """
    entries = dict(one.entries)
    for name, entry in other.entries.items():
        mine = entries.get(name)
        if mine is None:
            entries[name] = entry
        elif path in undivided:
            where = f"{mine.key.place.source.name}:{mine.key.place.line + 1}"
            problems.error(entry.key.place, (*path, name), f"is defined in {where} already")
        else:
            entries[name] = Entry(mine.key, _merged(mine.value, entry.value, problems, undivided, (*path, name)))
    return MappingNode(
        one.place,
        entries,
        one.anchored or other.anchored,
        one.has_macro or other.has_macro,
        one.size + other.size,
        one.merge_key or other.merge_key,
    )


def _merged(one: Node, other: Node, problems: Problems, undivided: Container[KeyPath], path: KeyPath) -> Node:
    if is_null(other):
        return one
    if is_null(one):
        return other
    if isinstance(one, MappingNode) and isinstance(other, MappingNode):
        return merge(one, other, problems, undivided, path)
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
    return one.plain == other.plain or isinstance(resolve(one.text), str)
