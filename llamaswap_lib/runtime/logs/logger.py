"""The server's own lines of log, and their time stamps in the layouts that Go names.

Any thread. A line, with what stands below it, is one write. Everything of a time stamp but the fraction is rendered
once a second and remembered, so a stamp costs well under a microsecond. Local time, English names whatever the locale,
as in Go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llamaswap_lib.printable import printable, printable_message

DEBUG, INFO, WARN, ERROR = range(4)
BELOW = "    | "  # before lines that are not our own
TAB = "\t"
LEVELS = {"debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Logger:
    """The server's own lines: `[time ][LEVEL] message`, each in one write with the lines that stand below it."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        level: str = "info",
        time_format: str = "",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """An unknown `level` counts as info, an unknown `time_format` as none; `clock` gives nanoseconds."""
        self._write = write
        self._clock = clock
        self.change(level, time_format)

    # -- any thread --

    def change(self, level: str, time_format: str) -> None:
        """Use other settings from now on; unknown values count as at the start."""
        self._threshold = LEVELS.get(level.lower(), INFO)
        self._stamp = time_stamp(time_format)

    @property
    def has_debug(self) -> bool:
        """Whether lines of that level are written: some take time to make."""
        return self._threshold <= DEBUG

    def debug(self, message: str) -> None:
        if self._threshold <= DEBUG:
            self._say("DEBUG", message)

    def info(self, message: str) -> None:
        if self._threshold <= INFO:
            self._say("INFO", message)

    def warn(self, message: str, below: Sequence[str] = ()) -> None:
        """`below`: lines that are not our own (output of a model), one below the other."""
        if self._threshold <= WARN:
            self._say("WARN", message, below)

    def error(self, message: str, below: Sequence[str] = ()) -> None:
        self._say("ERROR", message, below)

    def _say(self, level: str, message: str, below: Sequence[str] = ()) -> None:
        if not message.isprintable():
            message = printable_message(message)
        when = f"{self._stamp(self._clock())} " if self._stamp else ""
        lines = "".join([f"{BELOW}{printable(line, keep=TAB)}\n" for line in below]) if below else ""
        self._write(f"{when}[{level}] {message}\n{lines}".encode("utf-8", "backslashreplace"))


class Layout(NamedTuple):
    """What is before and after the fraction of a second; the placeholders are those of `_fields`."""

    head: str
    tail: str = ""
    fraction_digits: int = 0
    trim_zeros: bool = False


LAYOUTS = {
    "ansic": Layout("{ddd} {mmm} {_d} {clock} {year}"),
    "unixdate": Layout("{ddd} {mmm} {_d} {clock} {zone} {year}"),
    "rubydate": Layout("{ddd} {mmm} {dd} {clock} {offset} {year}"),
    "rfc822": Layout("{dd} {mmm} {yy} {minutes} {zone}"),
    "rfc822z": Layout("{dd} {mmm} {yy} {minutes} {offset}"),
    "rfc850": Layout("{day}, {dd}-{mmm}-{yy} {clock} {zone}"),
    "rfc1123": Layout("{ddd}, {dd} {mmm} {year} {clock} {zone}"),
    "rfc1123z": Layout("{ddd}, {dd} {mmm} {year} {clock} {offset}"),
    "rfc3339": Layout("{date}T{clock}{iso_offset}"),
    "rfc3339nano": Layout("{date}T{clock}", "{iso_offset}", 9, True),
    "kitchen": Layout("{kitchen}"),
    "stamp": Layout("{mmm} {_d} {clock}"),
    "stampmilli": Layout("{mmm} {_d} {clock}", "", 3),
    "stampmicro": Layout("{mmm} {_d} {clock}", "", 6),
    "stampnano": Layout("{mmm} {_d} {clock}", "", 9),
}


def time_stamp(name: str) -> Callable[[int], str] | None:
    """The stamp of that name, in any case: nanoseconds since the epoch -> text. None for "" and unknown names."""
    layout = LAYOUTS.get(name.lower())
    return None if layout is None else _Stamp(layout)


class _Stamp:
    __slots__ = ("_layout", "_rendered")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rendered = (-1, "", "")  # second, head, tail: replaced as a whole, so threads need no lock

    def __call__(self, now_ns: int) -> str:
        second, nanosecond = divmod(now_ns, 1_000_000_000)
        rendered = self._rendered
        if rendered[0] != second:
            fields = _fields(time.localtime(second))
            rendered = (second, self._layout.head.format_map(fields), self._layout.tail.format_map(fields))
            self._rendered = rendered
        if not self._layout.fraction_digits:
            return rendered[1]
        return f"{rendered[1]}{self._fraction(nanosecond)}{rendered[2]}"

    def _fraction(self, nanosecond: int) -> str:
        digits = f".{nanosecond:09d}"[: self._layout.fraction_digits + 1]
        return digits.rstrip("0").rstrip(".") if self._layout.trim_zeros else digits


def _fields(now: time.struct_time) -> dict[str, str]:
    sign = "-" if now.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(now.tm_gmtoff) // 60, 60)
    clock = f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"
    return {
        "year": f"{now.tm_year:04d}",
        "yy": f"{now.tm_year % 100:02d}",
        "mmm": MONTHS[now.tm_mon - 1],
        "day": DAYS[now.tm_wday],
        "ddd": DAYS[now.tm_wday][:3],
        "dd": f"{now.tm_mday:02d}",
        "_d": f"{now.tm_mday:2d}",
        "date": f"{now.tm_year:04d}-{now.tm_mon:02d}-{now.tm_mday:02d}",
        "clock": clock,
        "minutes": clock[:5],
        "kitchen": f"{(now.tm_hour - 1) % 12 + 1}:{now.tm_min:02d}{'PM' if now.tm_hour >= 12 else 'AM'}",
        "zone": now.tm_zone,
        "offset": f"{sign}{hours:02d}{minutes:02d}",
        "iso_offset": f"{sign}{hours:02d}:{minutes:02d}" if now.tm_gmtoff else "Z",
    }
