"""`config-schema.json`: the JSON Schema by which editors check and complete a configuration.

Owns the translation of the descriptions in `schema.py`; nothing about a key is said here. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llamaswap_lib.config.kinds import (
    Anything,
    Choice,
    CommaList,
    Flag,
    Integer,
    Key,
    Kind,
    ListOf,
    MapOf,
    Seconds,
    Text,
    keys_of,
)
from llamaswap_lib.config.schema import TOP_LEVEL

MACRO = {"type": "string", "pattern": r"^\$\{[a-zA-Z0-9_.-]+\}$"}
DURATION = {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)"}
SCALAR = {"type": ["string", "number", "boolean", "null"]}


def text() -> str:
    """The file as it is kept in the repository."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    keys = [known for cls in TOP_LEVEL for known in keys_of(cls)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llamaswap configuration",
        **_object(keys),
    }


def _object(keys: list[Key]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": ["object", "null"], "properties": {known.name: _property(known) for known in keys}}
    required = [known.name for known in keys if known.required]
    return {**found, "required": required} if required else found


def _property(known: Key) -> dict[str, Any]:
    found = {"description": known.doc, **_of(known.kind)}
    default = _default(known)
    return found if default is None else {**found, "default": default}


def _default(known: Key) -> Any:
    if isinstance(known.default, Mapping) or known.required:
        return None
    if isinstance(known.kind, Seconds) and known.default is not None:
        whole = int(known.default)
        return f"{whole}s" if known.kind.unit else whole
    if isinstance(known.kind, CommaList):
        return ", ".join(known.default)
    return list(known.default) if isinstance(known.default, tuple) else known.default


def _of(kind: Kind) -> dict[str, Any]:
    """What a value of this kind may be; a macro may stand for any scalar."""
    if isinstance(kind, (Text, CommaList)):
        return SCALAR
    if isinstance(kind, Anything):
        return {}
    if isinstance(kind, Choice):
        words = [form for word in kind.words for form in ((word, word.upper()) if kind.lenient and word else (word,))]
        return {"anyOf": [{"enum": [*words, None]}, MACRO]}
    if isinstance(kind, Flag):
        return {"anyOf": [{"type": ["boolean", "null"]}, MACRO]}
    if isinstance(kind, (Integer, Seconds)):
        return {"anyOf": _numbers(kind)}
    if isinstance(kind, ListOf):
        return {"type": ["array", "null"], "items": _of(kind.item)}
    if isinstance(kind, MapOf):
        return {"type": ["object", "null"], "additionalProperties": _of(kind.item)}
    return _object(list(keys_of(kind.cls)))


def _numbers(kind: Integer | Seconds) -> list[dict[str, Any]]:
    if isinstance(kind, Seconds) and kind.unit:
        return [DURATION, MACRO, {"type": "null"}]
    least = {} if kind.minimum is None else {"minimum": kind.minimum}
    return [{"type": "integer", **least}, MACRO, {"type": "null"}, *([DURATION] if isinstance(kind, Seconds) else [])]
