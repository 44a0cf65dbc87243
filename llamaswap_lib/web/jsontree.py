"""A JSON text that is taken apart only where it is edited.

Pure; one thread at a time. Guarantees: what no edit reaches is put together again byte for byte, with its numbers, key
order, spacing, escapes and duplicates; of a repeated key every one is edited, so that a receiver that lets the first
one count sees the same as one that lets the last. The text has to be valid (`jsontext.load_object` took it).

A place is a path of names: keys of objects, and indices of lists, where -1 stands for the last one when something is
removed and for the one behind it when something is set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from llamaswap_lib.web.jsontext import blanks_end, encode, raw_decode, read_members

MAX_FILL = 1_000  # nulls that a list may get so that an index exists

_is_index = re.compile(r"-1|[0-9]{1,9}").fullmatch


class NoPlace(ValueError):
    """The path leads to a name in a list, or far beyond its end."""


class _Entry:
    """One value of an object or list, with the text before it (its key among it) and behind it, up to the commas."""

    __slots__ = ("after", "before", "key", "value")

    def __init__(self, key: str | None, before: str, value: str | Tree, after: str = "") -> None:
        self.key = key
        self.before = before
        self.value = value
        self.after = after

    def open(self) -> Tree | None:
        """The value taken apart, None where there is nothing to take apart."""
        if isinstance(self.value, str):
            if self.value[0] not in "{[":
                return None
            self.value = Tree(self.value)
        return self.value

    def text(self) -> str:
        return f"{self.before}{self.value if isinstance(self.value, str) else self.value.text()}{self.after}"


class Tree:
    """An object or a list, from its opening bracket to its closing one."""

    __slots__ = ("_blank", "_entries", "_is_list")

    def __init__(self, text: str) -> None:
        self._is_list = text[0] == "["
        self._entries = _items(text) if self._is_list else _members(text)
        self._blank = text[1 : blanks_end(text, 1)]  # all there is between the brackets of an empty one

    def text(self) -> str:
        inner = ",".join([entry.text() for entry in self._entries]) if self._entries else self._blank
        return f"[{inner}]" if self._is_list else f"{{{inner}}}"

    def set(self, path: Sequence[str], value: str) -> None:
        """Put the JSON text `value` there, making what is missing on the way; raises NoPlace."""
        name, rest = path[0], path[1:]
        found = [] if self._is_list and name == "-1" else self._find(name)
        for entry in found:
            inner = entry.open() if rest else None
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
            return
        for entry in found:
            if inner := entry.open():
                inner.remove(rest)

    def _find(self, name: str) -> list[_Entry]:
        if not self._is_list:
            return [entry for entry in self._entries if entry.key == name]
        if not _is_index(name):
            _refuse(f"{name!r} is no index of a list")
        index = int(name)
        return [self._entries[index]] if index < len(self._entries) and self._entries else []

    def _append(self, name: str, value: str) -> None:
        if not self._is_list:
            self._entries.append(_Entry(name, f"{encode(name)}:", value))
            return
        if name != "-1":
            nulls = _fill(int(name) - len(self._entries))
            self._entries += [_Entry(None, "", "null") for _ in range(nulls)]
        self._entries.append(_Entry(None, "", value))


def _members(text: str) -> list[_Entry]:
    return [
        _Entry(key, text[begin:start], text[start:end], text[end:stop])
        for key, begin, start, end, stop in read_members(text)
    ]


def _items(text: str) -> list[_Entry]:
    entries: list[_Entry] = []
    begin, start = 1, blanks_end(text, 1)
    while text[start] != "]":
        _, end = raw_decode(text, start)
        stop = blanks_end(text, end)
        entries.append(_Entry(None, text[begin:start], text[start:end], text[end:stop]))
        if text[stop] == "]":
            break
        begin, start = stop + 1, blanks_end(text, stop + 1)
    return entries


def wrapped(path: Sequence[str], value: str) -> str:
    """`value` inside of new objects and lists; raises NoPlace."""
    for name in reversed(path):
        if not _is_index(name):
            value = f"{{{encode(name)}:{value}}}"
        else:
            value = f"[{'null,' * _fill(max(0, int(name)))}{value}]"
    return value


def _fill(nulls: int) -> int:
    return nulls if nulls <= MAX_FILL else _refuse("the index is far beyond the end of the list")


def _refuse(reason: str) -> NoReturn:
    raise NoPlace(reason)
