"""Edits of whole files, each checked: what is read from the new text is what was there, and what was to be set."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llamaswap_lib.agents import json_text, toml_text, yaml_text

Edit = Callable[[str], str]  # from the old text, '' for none, to the new one; raises ValueError and TypeError
Value = tuple[Sequence[str], Any]  # a path of names, and what is to be there
NOT_SAFE = "what it says besides would change"


def json_edit(values: Sequence[Value], defaults: Sequence[Value] = ()) -> Edit:
    """Set values at paths of names; a default only where there is nothing at its path."""

    def edit(old: str) -> str:
        text = old if old.strip() else "{}\n"
        expected = json_text.read(text)
        for path, value in [*[(p, v) for p, v in defaults if not _has(expected, p)], *values]:
            text = json_text.with_value(text, path, value)
            _set(expected, path, value)
        return _checked(text, json_text.read(text) == expected)

    return edit


def yaml_keys(values: Mapping[str, str], defaults: Mapping[str, str]) -> Edit:
    """Set texts at the names of a mapping; a default only where the name is not there."""

    def edit(old: str) -> str:
        text, expected = old, yaml_text.read(old) or {}
        if not isinstance(expected, dict):
            raise TypeError("it holds something else")
        missing = {name: value for name, value in defaults.items() if name not in expected}
        for name, value in {**missing, **values}.items():
            if expected.get(name) != value:
                text = yaml_text.with_key(text, name, value)
                expected[name] = value
        return _checked(text, (yaml_text.read(text) or {}) == expected)

    return edit


def yaml_item(name: str, item: Mapping[str, Any], by: str, head: Mapping[str, str] | None = None) -> Edit:
    """Add an item to the list at a name, '' for a file that is a list; `by` is the key that tells items apart.

    `head`: what a file has to have besides, which is put into a new one.
    """

    def edit(old: str) -> str:
        begin = "".join(f"{key}: {value}\n" for key, value in (head or {}).items())
        text = old if yaml_text.read(old) is not None else old + begin
        expected: Any = yaml_text.read(text)
        expected = {} if name and expected is None else expected
        if not isinstance(expected, dict if name else list | None):
            raise TypeError("it holds something else")
        listed = (expected.get(name) if isinstance(expected, dict) else expected) or []
        if not isinstance(listed, list):
            raise TypeError(f"{name} is no list")
        if item in listed:
            return old
        if any(isinstance(it, Mapping) and it.get(by) == item[by] for it in listed):
            raise ValueError(f"it has another {item[by]!r}, which is to be renamed or removed first")
        text = yaml_text.with_item(text, name, item)
        wanted = [*listed, dict(item)]
        whole = {**expected, name: wanted} if isinstance(expected, dict) else wanted
        return _checked(text, yaml_text.read(text) == whole)

    return edit


def toml_tables(tables: Mapping[str, Mapping[str, Any]], comment: str) -> Edit:
    """Set keys in tables, '' for those before the first one; the comment begins a new file."""

    def edit(old: str) -> str:
        text = old if old.strip() else f"# {comment}\n"
        expected = toml_text.read(text) if old.strip() else None
        for table, values in tables.items():
            text = toml_text.with_keys(text, table, values)
            if expected is not None:
                path = table.split(".") if table else []
                for key, value in values.items():
                    _set(expected, [*path, key], value)
        return _checked(text, expected is None or toml_text.read(text) == expected)

    return edit


def _checked(text: str, is_right: bool) -> str:
    if not is_right:
        raise ValueError(NOT_SAFE)
    return text


def _has(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def _set(value: Any, path: Sequence[str], wanted: Any) -> None:
    for name in path[:-1]:
        value = value.setdefault(name, {}) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        raise TypeError(f"{path[-1]} has no place in it")
    value[path[-1]] = copy.deepcopy(wanted)
