"""Values that came from the environment: used as they are, shown as `[hidden]`.

Owns `Hidden` and its subclasses. They are equal to the plain value and work like it everywhere; code that shows them
calls `visible`. Operations on them give plain values, so code that changes such a text uses `changed`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
    """`value`, which is shown as `shown`; what is no text, number or tuple of them is as it is."""
    if isinstance(value, str):
        return Hidden(value, shown)
    if isinstance(value, tuple):
        return tuple(hidden(item, MASK) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return HiddenInt(value) if isinstance(value, int) else HiddenFloat(value)


def visible(value: Any) -> Any:
    """What may be shown of a value."""
    return getattr(value, "shown", value) if isinstance(value, (str, int, float)) else value


def text_of(text: str, shown: str | None) -> str:
    """`text`, of which only `shown` may be shown; None for all of it."""
    return text if shown is None else Hidden(text, shown)


T = TypeVar("T")


def visible_keys(values: Mapping[str, T]) -> dict[str, T]:
    """The same values under keys that may be shown; where two of them would be alike, the later one has a number."""
    found: dict[str, T] = {}
    for key, value in values.items():
        shown = str(visible(key))
        number = 2
        while shown in found or (shown in values and isinstance(key, Hidden)):
            shown, number = f"{visible(key)} ({number})", number + 1
        found[shown] = value
    return found


def changed(text: str, change: Callable[[str], str]) -> str:
    """`change(text)`, and what is shown of it changed alike."""
    return Hidden(change(text), change(text.shown)) if isinstance(text, Hidden) else change(text)
