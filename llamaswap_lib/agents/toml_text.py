"""Sets keys in the text of a TOML file, and changes nothing else in it. Pure. Reading it takes Python 3.11."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

_header = re.compile(r"\s*\[")


class NotToml(ValueError):
    """The text cannot be read."""


def read(text: str) -> Any:
    """The value of the text; raises NotToml, also where this Python cannot read TOML."""
    try:
        tomllib = import_module("tomllib")
    except ImportError:
        raise NotToml("Python 3.10 cannot read TOML") from None
    try:
        return tomllib.loads(text)
    except ValueError:
        raise NotToml("no TOML") from None


def with_keys(text: str, table: str, values: Mapping[str, Any]) -> str:
    """The text with these keys in a table, '' for those before the first one. Values that span lines are not found."""
    lines = text.splitlines()
    begin, end = _section(lines, table)
    if begin is None:
        lines += [*([""] if lines else []), f"[{table}]"]
        begin = end = len(lines)
    for key, value in values.items():
        written = f"{key} = {literal(value)}"
        own = re.compile(rf"\s*{re.escape(key)}\s*=")
        place = next((number for number in range(begin, end) if own.match(lines[number])), None)
        if place is None:
            while end > begin and not lines[end - 1].strip():
                end -= 1
            lines.insert(end, written)
            end += 1
        else:
            lines[place] = written
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """A text, number or switch as TOML has it."""
    return json.dumps(value, ensure_ascii=False)


def _section(lines: list[str], table: str) -> tuple[int | None, int]:
    """The first line of a table's keys, and the one behind the last; None where there is no such table."""
    heads = [number for number, line in enumerate(lines) if _header.match(line)]
    ends = [*heads, len(lines)]
    if not table:
        return 0, ends[0]
    for place, head in enumerate(heads):
        if lines[head].partition("#")[0].strip() == f"[{table}]":
            return head + 1, ends[place + 1]
    return None, len(lines)
