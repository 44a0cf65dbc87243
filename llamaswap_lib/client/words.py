"""How figures are written for people: sizes, times, counts. Pure, but for the clock on the wall."""

from __future__ import annotations

import datetime

_UNITS = ("B", "KB", "MB", "GB", "TB")
UNKNOWN = "-"
_TEN, _HUNDRED, _THOUSAND = 10, 100, 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def size(count: float | None) -> str:
    """Bytes, in powers of 1024 as drivers and llama.cpp count memory: `812 MB`, `4.2 GB`; `-` if not known."""
    if count is None:
        return UNKNOWN
    unit = 0
    while round(count) >= _THOUSAND and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and round(count, 1) < _TEN else f"{count:.0f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 min`, `2 h 5 min`, `4 d`; `-` if not known."""
    if seconds is None:
        return UNKNOWN
    if round(seconds, 1) < _TEN:
        return f"{seconds:.1f} s"
    if round(seconds) < _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    if minutes < _HOUR // _MINUTE:
        return f"{minutes} min"
    if minutes < _DAY // _MINUTE:
        hours, rest = divmod(minutes, _HOUR // _MINUTE)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{seconds / _DAY:.0f} d"


def brief(seconds: float | None) -> str:
    """The same for what is often over within a second: `48 ms`, `3.2 s`; `-` if not known."""
    return duration(seconds) if seconds is None or seconds >= 1 else f"{seconds * 1000:.0f} ms"


def milliseconds(value: float | None) -> str:
    """A part of a request's time, in milliseconds: `12 ms`, `3.4 s`; `-` if not known, or negative."""
    return UNKNOWN if value is None or value < 0 else brief(value / 1000)


def local_time(timestamp: str, *, is_whole: bool = False) -> str:
    """A moment in RFC 3339 by the clock here; with its date unless that is today's, or if `is_whole`."""
    try:
        moment = datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return timestamp
    if is_whole:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    is_today = moment.date() == datetime.datetime.now(moment.tzinfo).date()
    return f"{moment:%H:%M:%S}" if is_today else f"{moment:%m-%d %H:%M:%S}"


def number(value: float | None) -> str:
    """A count or a speed, with three figures at least: `7`, `12.4`, `1,234`; `-` if not known."""
    if value is None:
        return UNKNOWN
    if value == int(value) or round(value, 1) >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if round(value, 2) >= _TEN else f"{value:.2f}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 model`, `3 models`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
