"""Adds to the text of a YAML file, and changes nothing else in it: comments, order and spacing stay. Pure.

The caller checks the result by `read`, for not every way to write YAML is foreseen here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

INDENT = "  "


class NotYaml(ValueError):
    """The text cannot be read, or is written in a way that is not added to."""


def read(text: str) -> Any:
    """The value of the text, None of an empty one; raises NotYaml."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise NotYaml("no YAML") from None


def with_key(text: str, name: str, value: str) -> str:
    """The text of a mapping with a value of text at a name; raises NotYaml."""
    node = _top(text, yaml.MappingNode)
    for key, found in node.value if node is not None else ():
        if key.value == name:
            if not isinstance(found, yaml.ScalarNode):
                raise NotYaml(f"{name} is no plain value")
            begin, end = found.start_mark.index, found.end_mark.index
            return text[:begin] + json.dumps(value, ensure_ascii=False) + text[end:]
    return f"{_ended(text)}{name}: {json.dumps(value, ensure_ascii=False)}\n"


def with_item(text: str, name: str, item: Mapping[str, Any]) -> str:
    """The text with one more item in the list at a name, '' for a text that is a list; raises NotYaml."""
    if not name:
        return _with_item(text, _top(text, yaml.SequenceNode), item)
    node = _top(text, yaml.MappingNode)
    found = next((value for key, value in (node.value if node is not None else ()) if key.value == name), None)
    if found is None:
        return f"{_ended(text)}{name}:\n{item_lines(item, INDENT)}"
    if not isinstance(found, yaml.SequenceNode):
        raise NotYaml(f"{name} is no list")
    return _with_item(text, found, item)


def item_lines(item: Mapping[str, Any], indent: str = "") -> str:
    """An item of a list, in lines."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in item.items()]
    return "".join(f"{indent}{'- ' if not number else INDENT}{line}\n" for number, line in enumerate(lines))


def _with_item(text: str, node: yaml.SequenceNode | None, item: Mapping[str, Any]) -> str:
    if node is None:
        return _ended(text) + item_lines(item)
    if not node.value:
        begin, end = node.start_mark.index, node.end_mark.index
        indent = INDENT if node.start_mark.column else ""
        line_end = "\n" if node.start_mark.column else ""
        return text[:begin].rstrip(" ") + line_end + item_lines(item, indent).rstrip("\n") + text[end:]
    if node.flow_style:
        raise NotYaml("the list is written in brackets")
    lines = text.splitlines(keepends=True)
    last = _last_line(lines, node)
    if not lines[last].endswith("\n"):
        lines[last] += "\n"
    return "".join([*lines[: last + 1], item_lines(item, " " * node.start_mark.column), *lines[last + 1 :]])


def _last_line(lines: list[str], node: yaml.Node) -> int:
    """The number of the last line in which the node has something."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    line = node.end_mark.line - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)
    while not lines[line].strip():
        line -= 1
    return int(line)


def _top(text: str, kind: type[yaml.Node]) -> Any:
    """The node of the whole text, None of an empty one."""
    try:
        node = yaml.compose(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise NotYaml("no YAML") from None
    if node is None or isinstance(node, kind):
        return node
    raise NotYaml("it holds something else")


def _ended(text: str) -> str:
    """With the end of its last line."""
    return text if not text or text.endswith("\n") else f"{text}\n"
