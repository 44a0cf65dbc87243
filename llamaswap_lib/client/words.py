"""How figures are written for people: sizes, times, counts. Pure."""

from __future__ import annotations

_UNITS = ("B", "KB", "MB", "GB", "TB")
UNKNOWN = "-"
_TEN, _HUNDRED = 10, 100
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def size(count: float | None) -> str:
    """Bytes, in powers of 1024 as drivers and llama.cpp count memory: `812 MB`, `4.2 GB`; `-` if not known."""
    if count is None:
        return UNKNOWN
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < _TEN else f"{count:.0f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min`, `2 h 5 min`, `4 d`; `-` if not known."""
    if seconds is None:
        return UNKNOWN
    if seconds < _TEN:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < _DAY:
        hours, rest = divmod(int(seconds), _HOUR)
        return f"{hours} h {rest // _MINUTE} min" if rest >= _MINUTE else f"{hours} h"
    return f"{seconds / _DAY:.0f} d"


def number(value: float | None) -> str:
    """A count or a speed, with three figures at least: `7`, `12.4`, `1,234`; `-` if not known."""
    if value is None:
        return UNKNOWN
    if value == int(value) or value >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TEN else f"{value:.2f}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 model`, `3 models`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
