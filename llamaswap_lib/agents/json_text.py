"""Changes values in the text of a JSON file, and nothing else in it: comments, order and spacing stay. Pure.

Comments and commas behind the last member are understood, as editors and agents have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_blank = re.compile(r"(?:[\s\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_scalar = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?\d[\d.eE+-]*|true|false|null')
INDENT = "  "


class NotJson(ValueError):
    """The text cannot be read; `position` in it."""

    def __init__(self, position: int) -> None:
        super().__init__(f"no JSON at character {position}")
        self.position = position


@dataclass(slots=True)
class _Node:
    """A value in the text, from `start` to before `end`; `members` where it is an object."""

    start: int
    value: Any
    end: int = 0
    members: dict[str, _Node] | None = None
    has_last_comma: bool = False


def read(text: str) -> Any:
    """The value of the text; raises NotJson."""
    return _parse(text).value


def with_value(text: str, path: Sequence[str], value: Any) -> str:
    """The text with the value at the path of names; objects that are not there yet are made.

    Raises NotJson, and TypeError where something on the way is no object.
    """
    root = _parse(text)
    node, names = root, list(path)
    while names:
        if node.members is None:
            raise TypeError(f"{path[len(path) - len(names) - 1] if len(names) < len(path) else 'it'} is no object")
        if names[0] not in node.members:
            return _inserted(text, node, names[0], _nested(names[1:], value))
        node = node.members[names.pop(0)]
    if node.value == value:
        return text
    return text[: node.start] + _written(value, _indent_at(text, node.start)) + text[node.end :]


def _nested(names: Sequence[str], value: Any) -> Any:
    for name in reversed(names):
        value = {name: value}
    return value


def _inserted(text: str, node: _Node, name: str, value: Any) -> str:
    """The text with one more member at the end of an object."""
    closing = node.end - 1
    outer = _indent_at(text, node.start)
    members = list((node.members or {}).values())
    inner = _indent_at(text, members[0].start) if members else outer + INDENT
    inner = inner if len(inner) > len(outer) else outer + INDENT
    member = f"{inner}{json.dumps(name, ensure_ascii=False)}: {_written(value, inner)}"
    begin = text[:closing].rstrip()
    gap = text[len(begin) : closing]
    if members and not node.has_last_comma:
        last = members[-1].end
        begin = f"{begin[:last]},{begin[last:]}"
    gap = gap if "\n" in gap else f"\n{outer}"
    return f"{begin}\n{member}{gap}{text[closing:]}"


def _written(value: Any, indent: str) -> str:
    return json.dumps(value, ensure_ascii=False, indent=len(INDENT)).replace("\n", f"\n{indent}")


def _indent_at(text: str, position: int) -> str:
    """The blanks with which the line of that place begins."""
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip())]


# -- reading --


def _parse(text: str) -> _Node:
    node = _value(text, _skip(text, 0))
    if _skip(text, node.end) != len(text):
        raise NotJson(node.end)
    return node


def _skip(text: str, position: int) -> int:
    match = _blank.match(text, position)
    return match.end() if match else position


def _value(text: str, position: int) -> _Node:
    opening = text[position : position + 1]
    if opening == "{":
        return _object(text, position)
    if opening == "[":
        return _array(text, position)
    match = _scalar.match(text, position)
    if match is None:
        raise NotJson(position)
    try:
        return _Node(position, json.loads(match[0]), match.end())
    except ValueError:
        raise NotJson(position) from None


def _object(text: str, start: int) -> _Node:
    node = _Node(start, {}, members={})
    members: dict[str, _Node] = {}
    position = _skip(text, start + 1)
    while text[position : position + 1] != "}":
        name = _value(text, position)
        position = _skip(text, name.end)
        if not isinstance(name.value, str) or text[position : position + 1] != ":" or name.value in members:
            raise NotJson(position)
        found = _value(text, _skip(text, position + 1))
        members[name.value] = found
        position, node.has_last_comma = _comma(text, found.end, "}")
    node.members, node.end = members, position + 1
    node.value = {name: found.value for name, found in members.items()}
    return node


def _array(text: str, start: int) -> _Node:
    node = _Node(start, [])
    position = _skip(text, start + 1)
    while text[position : position + 1] != "]":
        found = _value(text, position)
        node.value.append(found.value)
        position, _ = _comma(text, found.end, "]")
    node.end = position + 1
    return node


def _comma(text: str, position: int, closing: str) -> tuple[int, bool]:
    """Where the next value or the end is, and whether a comma stands before it."""
    position = _skip(text, position)
    if text[position : position + 1] == ",":
        return _skip(text, position + 1), True
    if text[position : position + 1] != closing:
        raise NotJson(position)
    return position, False
