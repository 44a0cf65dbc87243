"""Values that came from the environment: used as they are, shown as `[hidden]`.

Owns `Hidden` and its kin. They are equal to what they stand for and work like it wherever it is used; only what shows
them asks `visible`. Operations on them give plain values, so whoever changes such a text uses `changed`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MASK = "[hidden]"


class Hidden(str):
    """Text of which something came from the environment; `shown` is the same with `[hidden]` in its place."""

    shown: str

    def __new__(cls, text: str, shown: str) -> Hidden:
        self = super().__new__(cls, text)
        self.shown = shown
        return self


class HiddenInt(int):
    """A whole number that came from the environment."""

    shown = MASK


class HiddenFloat(float):
    """A number that came from the environment."""

    shown = MASK


def hidden(value: Any, shown: str) -> Any:
    """`value`, which is shown as `shown`; true, false and null are as they are."""
    if isinstance(value, str):
        return Hidden(value, shown)
    if isinstance(value, tuple):
        return tuple(hidden(item, MASK) for item in value)
    if value is None or isinstance(value, bool):
        return value
    return HiddenInt(value) if isinstance(value, int) else HiddenFloat(value)


def visible(value: Any) -> Any:
    """What may be shown of a value."""
    return getattr(value, "shown", value) if isinstance(value, (str, int, float)) else value


def changed(text: str, change: Callable[[str], str]) -> str:
    """`change(text)`, and what is shown of it changed alike."""
    return Hidden(change(text), change(text.shown)) if isinstance(text, Hidden) else change(text)
