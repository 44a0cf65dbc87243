"""A JSON text that is taken apart only where it is edited.

Pure; one thread at a time. Guarantees: what no edit reaches stays byte for byte, with its numbers, key order, spacing,
escapes and duplicates; of a repeated key every one is edited, so that a receiver that lets the first one count sees the
same as one that lets the last. Of an object or a list only the entries that some change names are remembered, so that
the memory needed does not grow with the text. The text has to be valid (`json_edit.load_object` took it).

A place is a path of names: keys of objects, and indices of lists, where -1 stands for the last one when something is
removed and for the one behind it when something is set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from llamaswap_lib.wire.json_edit import Member, Names, encode, find_items, find_members
from llamaswap_lib.wire.json_scan import Scanner, skip_blanks
from llamaswap_lib.wire.splice import Edit, spliced

MAX_FILL = 1_000  # nulls that a list may get so that an index exists

_is_index = re.compile(r"-1|[0-9]{1,9}").fullmatch


class NoPlace(ValueError):
    """The path leads to a name in a list, or far beyond its end."""


class Wanted:
    """The names by which changes look for entries in one place, and what they look for inside of each."""

    def __init__(self, changes: Iterable[tuple[Sequence[str], bytes | None]]) -> None:
        by_name: dict[str, list[tuple[Sequence[str], bytes | None]]] = {}
        self.removals = 0  # how many changes take away an entry: what stands behind it gets another index
        for path, value in changes:
            within = by_name.setdefault(path[0], [])
            if len(path) > 1:
                within.append((path[1:], value))
            else:
                self.removals += value is None
        self.names = Names(by_name)
        self.inside = {name: Wanted(within) for name, within in by_name.items()}

    def indices(self) -> set[int]:
        """Of the items that may be looked for by their distance from the first one."""
        named = [int(name) for name in self.inside if _is_index(name) and name != "-1"]
        return {index + gone for index in named for gone in range(self.removals + 1)}


class _Entry:
    """One value that is remembered: of the text, or added to it (`member` is None)."""

    __slots__ = ("key", "member", "value")

    def __init__(self, key: str | int, member: Member | None, value: bytes | Tree | None = None) -> None:
        self.key = key
        self.member = member
        self.value = value  # None: as it stands in the text


class Tree:
    """An object or a list, from its opening bracket to its closing one."""

    __slots__ = ("_close", "_count", "_data", "_entries", "_gone", "_is_list", "_is_read", "_open", "_wanted")

    def __init__(self, data: bytes, start: int, wanted: Wanted) -> None:
        self._data = data
        self._open = start
        self._wanted = wanted
        self._is_list = data[start : start + 1] == b"["
        self._is_read = False  # a list of any size may never have to be
        self._count = 0  # of the items in the text
        self._close = start
        self._entries: list[_Entry] = []
        self._gone: list[Member] = []

    def set(self, path: Sequence[str], value: bytes) -> None:
        """Put the JSON text `value` there, making what is missing on the way; raises NoPlace."""
        name, rest = path[0], path[1:]
        found = [] if self._is_list and name == "-1" else self._find(name)
        for entry in found:
            inner = self._inside(entry, name) if rest else None
            if inner is None:
                entry.value = wrapped(rest, value)
            else:
                inner.set(rest, value)
        if not found:
            self._append(name, wrapped(rest, value))

    def remove(self, path: Sequence[str]) -> None:
        """Take away what stands there, if anything does."""
        name, rest = path[0], path[1:]
        if self._is_list and not _is_index(name):
            return
        found = self._find(name)
        if not rest:
            gone = set(found)  # one pass, however often the key is repeated
            self._entries = [entry for entry in self._entries if entry not in gone]
            self._gone += [entry.member for entry in found if entry.member]
            return
        for entry in found:
            if inner := self._inside(entry, name):
                inner.remove(rest)

    def edits(self) -> Iterator[Edit]:
        """What was done, as edits of the text; in order, none overlaps another."""
        if not self._is_read:
            return
        added = b",".join([self._added_text(entry) for entry in self._entries if entry.member is None])
        inside = self._open + 1
        blocks = list(_blocks(sorted(self._gone, key=_begin)))
        is_empty = skip_blanks(self._data, inside) == self._close
        if is_empty or blocks == [(inside, self._close)]:  # nothing of it stays but the blanks in front
            start = inside if added else skip_blanks(self._data, inside)
            if added or start < self._close:
                yield Edit(start, self._close, added)
            return
        cuts = [Edit(begin, stop + 1, b"") if begin == inside else Edit(begin - 1, stop, b"") for begin, stop in blocks]
        yield from _in_order(cuts, self._changed_members())
        if added:
            yield Edit(self._close, self._close, b"," + added)

    def text(self) -> bytes:
        """The text, edited; it has to begin with this object or list."""
        return spliced(self._data, self.edits())

    def _changed_members(self) -> Iterator[Iterable[Edit]]:
        for entry in self._entries:
            member, value = entry.member, entry.value
            if member is None or value is None:
                continue
            if isinstance(value, Tree) and value._data is self._data:
                yield value.edits()
            else:
                yield (Edit(member.start, member.end, value.text() if isinstance(value, Tree) else value),)

    def _added_text(self, entry: _Entry) -> bytes:
        assert entry.value is not None
        value = entry.value if isinstance(entry.value, bytes) else entry.value.text()
        return value if self._is_list else b"%b:%b" % (encode(entry.key).encode(), value)

    def _inside(self, entry: _Entry, name: str) -> Tree | None:
        """The value taken apart, None where there is nothing to take apart."""
        if isinstance(entry.value, Tree):
            return entry.value
        data, start = self._data, 0
        if entry.value is not None:
            data = entry.value
        elif entry.member is not None:
            start = entry.member.start
        if data[start : start + 1] not in (b"{", b"["):
            return None
        entry.value = Tree(data, start, self._wanted.inside[name])
        return entry.value

    def _read(self) -> None:
        """Find what some change may look for."""
        if self._is_read:
            return
        self._is_read = True
        if self._is_list:
            members, self._count, self._close = _items(self._data, self._open, self._wanted)
        else:
            members, self._close = find_members(Scanner(self._data), self._open, self._wanted.names)
        self._entries = [_Entry(member.key, member) for member in members]

    def _find(self, name: str) -> list[_Entry]:
        if self._is_list and not _is_index(name):
            _refuse(f"{name!r} is no index of a list")
        self._read()
        if not self._is_list:
            return [entry for entry in self._entries if entry.key == name]
        length, index = self._length(), int(name)
        if index >= length or not length:
            return []
        index %= length
        added = [entry for entry in self._entries if entry.member is None]
        if index >= length - len(added):
            return [added[index - length]]
        for gone in sorted(self._gone):
            index += int(gone.key) <= index
        return [entry for entry in self._entries if entry.member and entry.key == index]

    def _length(self) -> int:
        """How many items the list has now."""
        return self._count - len(self._gone) + sum(entry.member is None for entry in self._entries)

    def _append(self, name: str, value: bytes) -> None:
        self._read()
        if self._is_list and name != "-1":
            nulls = _fill(int(name) - self._length())
            self._entries += [_Entry("", None, b"null") for _ in range(nulls)]
        self._entries.append(_Entry(name, None, value))


def _items(data: bytes, start: int, wanted: Wanted) -> tuple[list[Member], int, int]:
    scanner, indices = Scanner(data), wanted.indices()
    found = find_items(scanner, start, indices)
    if "-1" not in wanted.inside:
        return found
    count = found[1]
    return find_items(scanner, start, indices.union(range(max(0, count - wanted.removals - 1), count)))


def _begin(member: Member) -> int:
    return member.begin


def _blocks(members: Iterable[Member]) -> Iterator[tuple[int, int]]:
    """The places of members that stand side by side, with the commas between them, as one."""
    begin = stop = -1
    for member in members:
        if member.begin != stop + 1:
            if begin >= 0:
                yield begin, stop
            begin = member.begin
        stop = member.stop
    if begin >= 0:
        yield begin, stop


def _in_order(cuts: list[Edit], changed: Iterable[Iterable[Edit]]) -> Iterator[Edit]:
    waiting = iter(cuts)
    cut = next(waiting, None)
    for edits in changed:
        for edit in edits:
            while cut is not None and cut.start < edit.start:
                yield cut
                cut = next(waiting, None)
            yield edit
    if cut is not None:
        yield cut
        yield from waiting


def wrapped(path: Sequence[str], value: bytes) -> bytes:
    """`value` inside of new objects and lists; raises NoPlace."""
    for name in reversed(path):
        if not _is_index(name):
            value = b"{%b:%b}" % (encode(name).encode(), value)
        else:
            value = b"[%b%b]" % (b"null," * _fill(max(0, int(name))), value)
    return value


def _fill(nulls: int) -> int:
    return nulls if nulls <= MAX_FILL else _refuse("the index is far beyond the end of the list")


def _refuse(reason: str) -> NoReturn:
    raise NoPlace(reason)
