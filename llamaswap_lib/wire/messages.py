"""How an event of `/api/events` is written. Pure, any thread."""

from __future__ import annotations

import json


def message(kind: str, data: object) -> bytes:
    """One event, its data as JSON in a string; ASCII, so that nobody takes a character for the end of a line."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event:message\ndata:{json.dumps({'type': kind, 'data': text}, separators=(',', ':'))}\n\n".encode()
