"""A resolved configuration, written so that it can be read by people and loaded again.

Owns the way back from `Config` to keys, with secrets masked, and a small writer of YAML whose scalars mean the same to
our loader and to any other. Loading what it writes (unmasked) gives an equal configuration. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llamaswap_lib.core.eviction.dsl import Both, Either, Expression, MatrixSet, Member, Reference
from llamaswap_lib.typed_yaml.kinds import Seconds, show_section
from llamaswap_lib.typed_yaml.secrets import MASK, Hidden, visible, visible_keys

from .routing_keys import Group, Matrix, MemoryKeys, Routing
from .schema import Config

DSL_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
PLAIN = re.compile(r"[A-Za-z_/][\w/ .+-]*\Z", re.ASCII)
NOT_PLAIN = re.compile(r"(?i)(true|false|null|yes|no|on|off|y|n|.* )\Z")
MAX_WAIT = Seconds()


def shown(config: Config, *, mask: bool = True) -> dict[str, Any]:
    """The keys of a file that says what `config` holds; those at their default are left out."""
    keys = show_section(config, Config(), mask=mask)
    routing = _routing(config.routing, mask)
    keys["routing"] = _visible(routing) if mask else routing
    return keys


def _visible(value: Any) -> Any:
    """The same without what came from the environment."""
    if isinstance(value, dict):
        return visible_keys({name: _visible(item) for name, item in value.items()})
    return [_visible(item) for item in value] if isinstance(value, list) else visible(value)


def to_yaml(keys: Mapping[str, Any]) -> str:
    """The same as YAML."""
    return "".join(f"{line}\n" for line in _lines(keys, "")) if keys else "{}\n"


# -- routing --


def _routing(routing: Routing, mask: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if routing.matrix is not None:
        settings["matrix"] = _matrix(routing.matrix, mask)
    elif routing.groups:
        settings["groups"] = {group.name: _group(group) for group in routing.groups}
    if routing.memory != MemoryKeys():
        settings["memory"] = show_section(routing.memory, MemoryKeys(), mask=mask)
    router = {"use": routing.policy or routing.router, "settings": settings}
    fifo = {"priority": dict(routing.fifo_priority), "maxWait": MAX_WAIT.show(routing.max_wait, mask=False)}
    return {"router": router, "scheduler": {"use": "fifo", "settings": {"fifo": fifo}}}


def _group(group: Group) -> dict[str, Any]:
    flags = {"swap": group.swap, "exclusive": group.exclusive, "persistent": group.persistent}
    return {**flags, "members": list(group.members)}


def _matrix(matrix: Matrix, mask: bool) -> dict[str, Any]:
    members = dict.fromkeys(model for one in matrix.sets for model in _members(one.expression))
    taken = {*members, *matrix.evict_costs}
    free = (name for name in (f"v{n}" for n in range(1, len(members) + len(taken) + 2)) if name not in taken)
    short = {
        model: next(free) for model in members if not DSL_NAME.match(model) or (mask and isinstance(model, Hidden))
    }
    texts = {
        one.name: one.text if MASK in one.text and mask else _text(one.expression, matrix.sets, short)
        for one in matrix.sets
    }
    variables = {name: model for model, name in short.items()}
    return {"vars": variables, "sets": texts, "evict_costs": dict(matrix.evict_costs)}


def _members(expression: Expression) -> Iterator[str]:
    if isinstance(expression, Member):
        yield expression.model
    elif not isinstance(expression, Reference):
        for part in expression.parts:
            yield from _members(part)


def _text(expression: Expression, sets: tuple[MatrixSet, ...], short: Mapping[str, str]) -> str:
    if isinstance(expression, Member):
        return short.get(expression.model, expression.model)
    if isinstance(expression, Reference):
        return f"+{sets[expression.index].name}"
    mark = " & " if isinstance(expression, Both) else " | "
    parts = ((part, _text(part, sets, short)) for part in expression.parts)
    return mark.join(f"({text})" if isinstance(part, (Both, Either)) else text for part, text in parts)


# -- YAML --


def _lines(value: Any, indent: str) -> Iterator[str]:
    """The lines of a mapping or list that is not empty."""
    entries = [(f"{_scalar(name)}:", item) for name, item in value.items()] if isinstance(value, Mapping) else None
    for head, item in entries if entries is not None else [("-", item) for item in value]:
        if isinstance(item, (Mapping, list, tuple)) and item:
            yield f"{indent}{head}"
            yield from _lines(item, indent + "  ")
        elif isinstance(item, str) and _is_block(item):
            yield f"{indent}{head} {'|' if item.endswith(chr(10)) else '|-'}"
            yield from (f"{indent}  {line}" if line else "" for line in item.removesuffix("\n").split("\n"))
        else:
            yield f"{indent}{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value if PLAIN.match(value) and not NOT_PLAIN.match(value) else _double_quoted(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _double_quoted(text: str) -> str:
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char == "\n":
        return "\\n"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _is_block(text: str) -> bool:
    """Whether the text reads best, and safely, as a block of lines."""
    body = text.removesuffix("\n")
    lines = body.split("\n")
    printable = all(char.isprintable() or char == "\n" for char in text)
    return (
        len(lines) > 1
        and printable
        and bool(lines[-1])
        and lines[0][:1] not in ("", " ")
        and not any(line.isspace() for line in lines)
    )
