"""`config-schema.json`: the JSON Schema by which editors check and complete a configuration.

Owns the frame; what a key may hold is said by its description in `schema.py`. Pure.
"""

from __future__ import annotations

import json

from llamaswap_lib.config.kinds import keys_of, schema_of
from llamaswap_lib.config.schema import TOP_LEVEL


def text() -> str:
    """The file as it is kept in the repository."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llamaswap configuration",
        **schema_of(known for cls in TOP_LEVEL for known in keys_of(cls)),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
