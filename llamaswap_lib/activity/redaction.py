"""Headers as they may be kept and shown: the first value of each, and no secret. Pure."""

from __future__ import annotations

from collections.abc import Iterable

REDACTED = "[REDACTED]"
_SECRET = frozenset(("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"))


def redacted(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first value of each header, by its name as it was first written."""
    shown: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in pairs:
        lowered = name.lower()
        if lowered not in seen:
            seen.add(lowered)
            shown[name] = REDACTED if lowered in _SECRET else value
    return shown
