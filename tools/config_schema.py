"""`config-schema.json`, the JSON Schema by which editors check and complete a configuration, and the same for the page.

Owns the frame; what a key may hold is said by its description in `schema.py`. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from llamaswap_lib.config.schema import TOP_LEVEL
from llamaswap_lib.typed_yaml.kinds import keys_of, schema_of


def text() -> str:
    """The file as it is kept in the repository."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"


def module() -> str:
    """The keys for the completion in the web page: `{"about"?, "values"?, "keys"?, "any"?}` for each of them.

    `keys` are those of an object by name, `any` is what all its other members are, or the items of a list.
    """
    keys = json.dumps(_keys(_schema()), indent=1, ensure_ascii=False)
    return (
        "/** The keys of the configuration, for completion. Made by `python -m tools.generate`. */\n\n"
        "/** @typedef {{ about?: string, values?: string[], keys?: Record<string, Known>, any?: Known }} Known */\n\n"
        f"/** @type {{Known}} */\n// prettier-ignore\nexport const KEYS = {keys};\n"
    )


def _schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llamaswap configuration",
        **schema_of(known for cls in TOP_LEVEL for known in keys_of(cls)),
    }


def _keys(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What completion needs of a part of the schema."""
    found: dict[str, Any] = {}
    if about := schema.get("description"):
        found["about"] = about
    alternatives = [each for name in ("anyOf", "oneOf") for each in schema.get(name, ())]
    parts = [schema, *alternatives]
    values = [value for part in parts for value in part.get("enum", ()) if isinstance(value, str)]
    values = [value for value in values if value.lower() == value or value.lower() not in values]
    if not values and "boolean" in _types(schema) and "string" not in _types(schema):
        values = ["true", "false"]
    keys = {name: _keys(each) for part in parts for name, each in part.get("properties", {}).items()}
    others = [part[name] for part in parts for name in ("additionalProperties", "items") if _is_schema(part.get(name))]
    if values:
        found["values"] = values
    if keys:
        found["keys"] = keys
    if others and (every := {key: value for other in others for key, value in _keys(other).items() if key != "about"}):
        found["any"] = every
    return found


def _types(schema: Mapping[str, Any]) -> Collection[str]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else types


def _is_schema(value: object) -> bool:
    return isinstance(value, dict)
