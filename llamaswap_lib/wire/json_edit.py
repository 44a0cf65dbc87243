"""JSON text edited in place: where the values of an object's keys stand, so that only they are replaced.

Pure, any thread. Guarantees: the whole text is checked, as `json.loads` would; of a repeated key the last one counts,
as for `json.loads`, and all are found, so that a receiver that lets the first one count sees the same. Numbers are read
as floats whatever their length: a value is there to be looked at, the text is what counts.

`json_scan` decides what is valid. A small text is given to `json` first, which takes it several times faster; what it
does not take is scanned, so that there is one verdict and one error message for all sizes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, lru_cache
from json.scanner import make_scanner
from typing import Any, NamedTuple

from llamaswap_lib.wire.json_scan import (
    BLANKS,
    MAX_DEPTH,
    NUMBER,
    PLAIN,
    VALUE,
    WINDOW_BYTES,
    WORD,
    Match,
    NotJson,
    Scanner,
    skip_blanks,
    skip_key,
)

SMALL_BYTES = 65_536  # as a tree of Python objects it takes some MB, and a few milliseconds
TINY_BYTES = 2 * MAX_DEPTH  # cannot be deeper than that
MOST_SMALL_BYTES = 1 << 20  # the same if it has no more values
MOST_QUICK_BYTES, MOST_QUICK_PARTS = 131_072, 6_000  # mostly read in a fraction of a millisecond
FEW = 8  # members that are looked at one by one before a run is tried, which costs more
MAX_REPEATED = 50_000  # members of one object that are looked at: a bound to the memory for their places

# parse_int: an int of 5,000 digits would be a ValueError of its own, and one of a million digits a minute of work.
_decoder = json.JSONDecoder(parse_int=float)
_decode = _decoder.raw_decode
_scan_once = make_scanner(_decoder)  # type: ignore[arg-type]  # the same without a call; StopIteration: no value
encode = json.JSONEncoder(separators=(",", ":")).encode  # in ASCII
_skip_blanks_of_text = re.compile(r"[ \t\n\r]*").match
_match_value = re.compile(rb'[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")').match
# A member whose value is short and no container, to the comma or bracket behind it.
_match_member = re.compile(
    rb'"(%b{0,999})"%b:%b("%b{0,99}"|%b|%b)%b[,}]' % (PLAIN, BLANKS, BLANKS, PLAIN, NUMBER, WORD, BLANKS)
).match
_LETTER_ESCAPED, _LETTER_ESCAPED_TOO = b"\\u006", b"\\u007"  # what every escape of a small letter begins with
_BYTE_ORDER_MARK = "\ufeff".encode()


class NotAnObject(ValueError):
    """It is JSON, but no object."""


class RepeatedTooOften(ValueError):
    """A key that is looked at is there more than `MAX_REPEATED` times."""


class NotBuilt:
    """Stands for a value that is an object, a list, or longer than `MOST_SMALL_BYTES`, in a text that is not small."""


class Member(NamedTuple):
    """One value of an object or list: `begin` is behind the bracket or comma in front, `stop` is at the one behind.

    `start` and `end` are where the value itself stands in the text. `key` is an index for an item of a list.
    """

    key: str | int
    begin: int
    start: int
    end: int
    stop: int


class Names:
    """The keys that are looked for in one object."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._by_text = {name.encode("utf-8", "surrogateescape"): name for name in self._names}
        self._most_bytes = max(map(len, self._by_text), default=0) * len("\\u0061")

    def match(self, data: bytes, start: int, end: int) -> str | None:
        """Which of the names the key is that stands there, if any."""
        if end - start > self._most_bytes:
            return None
        text = data[start:end]
        if b"\\" not in text:
            return self._by_text.get(text)
        key: str = _decode(f'"{text.decode("utf-8", "surrogateescape")}"')[0]
        return key if key in self._names else None

    @cached_property
    def match_others(self) -> Match:
        """Matches a run from a value to a value, in an object; none of the keys between is one of these names."""
        these = rb'(?!(?:%b)")' % b"|".join(map(re.escape, sorted(self._by_text))) if self._names else b""
        key = rb'"%b%b{0,999}"' % (these, PLAIN)
        return re.compile(rb"(?:%b%b,%b%b%b:%b)*" % (VALUE, BLANKS, BLANKS, key, BLANKS, BLANKS)).match


def load_object(data: bytes, names: Names) -> tuple[Mapping[Any, Any], list[Member] | None]:
    """The object that is the whole of `data`: its values, and None; or those of `names`, and where all of them stand.

    Raises NotJson, NotAnObject or RepeatedTooOften.
    """
    if len(data) <= TINY_BYTES or _is_small(data):
        text = data.decode("utf-8", "surrogateescape")
        start = 0 if text.startswith("{") else _blanks_end(text, int(data.startswith(_BYTE_ORDER_MARK)))
        try:
            values, end = _scan_once(text, start)
            if isinstance(values, dict) and (end == len(text) or _blanks_end(text, end) == len(text)):
                return values, None
        except (ValueError, RecursionError, StopIteration):
            pass  # the scanner says what is wrong
    members = read_members(data, names)
    last = {member.key: member for member in members}
    return {key: _value_of(data, member) for key, member in last.items()}, members


def _is_small(data: bytes) -> bool:
    """Whether `json` takes it in a few milliseconds and MB, and no deeper than `json_scan` on any version of Python."""
    if len(data) > MOST_SMALL_BYTES or not _has_few(data, MAX_DEPTH, b"[", b"{"):
        return False
    return len(data) <= SMALL_BYTES or _has_few(data, SMALL_BYTES // 2, b"[", b"{", b",")


def is_quick(data: bytes) -> bool:
    """Whether the text is read in so little time that nobody else notices: it is short, and made of few parts."""
    return len(data) <= MOST_QUICK_BYTES and _has_few(data, MOST_QUICK_PARTS, b"[", b"{", b",", b"\\")


def _has_few(data: bytes, most: int, *parts: bytes) -> bool:
    """Whether these stand in it so many times at most. A tenth of what `count` costs, where they are few."""
    for part in parts:
        most -= len(data) - len(data.replace(part, b"", most + 1))
        if most < 0:
            return False
    return True


def _blanks_end(text: str, at: int) -> int:
    blanks = _skip_blanks_of_text(text, at)
    assert blanks is not None
    return blanks.end()


def _value_of(data: bytes, member: Member) -> Any:
    if member.end - member.start > MOST_SMALL_BYTES or data[member.start] in b"[{":
        return NotBuilt
    return _decode(data[member.start : member.end].decode("utf-8", "surrogateescape"))[0]


def object_start(data: bytes) -> int:
    """Where the text proper begins."""
    return skip_blanks(data, len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0)


def read_members(data: bytes, names: Names) -> list[Member]:
    """The members with these names, in order and with those repeated, of the object that is the whole of `data`.

    Raises NotJson, NotAnObject or RepeatedTooOften.
    """
    start = object_start(data)
    scanner, members = Scanner(data), None
    if data[start : start + 1] == b"{":
        members, close = find_members(scanner, start, names)
        end = close + 1
    else:
        end = scanner.skip_value(start)
    end = skip_blanks(data, end)
    if end != len(data):
        raise NotJson("Extra data", data, end)
    if members is None:
        raise NotAnObject("it is JSON, but not an object")
    return members


def find_members(scanner: Scanner, at: int, names: Names) -> tuple[list[Member], int]:
    """The members with these names of the object whose bracket stands at `at`, and where its last bracket stands.

    Raises NotJson or RepeatedTooOften.
    """
    data = scanner.data
    members: list[Member] = []
    others = 0
    begin = at + 1
    at = skip_blanks(data, begin)
    if data[at : at + 1] == b"}":
        return members, at
    while True:
        if found := _match_member(data, at, at + WINDOW_BYTES):
            key, (start, end), stop = names.match(data, *found.span(1)), found.span(2), found.end() - 1
        else:
            key_end, start = skip_key(data, at)
            key, end = names.match(data, at + 1, key_end), -1
        others = others + 1 if key is None else 0
        if others > FEW:
            run_end = names.match_others(data, start, start + WINDOW_BYTES).end()  # type: ignore[union-attr]
            if run_end > start:
                start, end = skip_blanks(data, run_end), -1
            else:
                others = 0
        if end < 0:
            end = scanner.skip_value(start)
            stop = skip_blanks(data, end)
        if key is not None:
            members.append(Member(key, begin, start, end, stop))
            if len(members) > MAX_REPEATED:
                raise RepeatedTooOften(f"it repeats {key!r} too often")
        byte = data[stop : stop + 1]
        if byte == b"}":
            return members, stop
        if byte != b",":
            raise NotJson("Expecting ',' delimiter", data, stop)
        begin = stop + 1
        at = skip_blanks(data, begin)


def find_items(scanner: Scanner, at: int, indices: Collection[int]) -> tuple[list[Member], int, int]:
    """The items with these indices of the list whose bracket stands at `at`, how many it has, and where it ends.

    Raises NotJson.
    """
    data = scanner.data
    items: list[Member] = []
    waiting = sorted(indices, reverse=True)
    index, begin = 0, at + 1
    at = skip_blanks(data, begin)
    if data[at : at + 1] == b"]":
        return items, 0, at
    while True:
        wanted = waiting[-1] if waiting else -1
        for length in (256, 16):
            match_many = _match_many(length)
            while (wanted < 0 or index + length <= wanted) and (run := match_many(data, at, at + WINDOW_BYTES)):
                at, index = skip_blanks(data, run.end()), index + length
                begin = run.end(1) + 1
        end = scanner.skip_value(at)
        stop = skip_blanks(data, end)
        if index == wanted:
            items.append(Member(index, begin, at, end, stop))
            waiting.pop()
        index += 1
        byte = data[stop : stop + 1]
        if byte == b"]":
            return items, index, stop
        if byte != b",":
            raise NotJson("Expecting ',' delimiter", data, stop)
        begin = stop + 1
        at = skip_blanks(data, begin)


@lru_cache(maxsize=2)
def _match_many(length: int) -> Match:
    """So many items, each with its comma; the group ends where the last comma stands."""
    return re.compile(rb"(?:(%b%b),%b){%d}" % (VALUE, BLANKS, BLANKS, length)).match


def only_place(data: bytes, letters: str) -> tuple[int, int] | None:
    """Where the value of the top-level key `letters` stands in the text of an object that has it, if one look tells.

    It does for a text without escapes, where the key stands but once in the whole text: no other spelling of it can be
    there, since only the escape of a letter could make one. A tenth of the cost of `read_members`; for small texts.
    """
    key = b'"%b"' % letters.encode()
    at = data.find(key)
    if at < 0 or data.find(key, at + 1) >= 0 or _LETTER_ESCAPED in data or _LETTER_ESCAPED_TOO in data:
        return None
    found = _match_value(data, at + len(key))
    return None if found is None else found.span(1)
