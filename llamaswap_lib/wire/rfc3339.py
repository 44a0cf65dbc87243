"""Moments as RFC 3339 writes them; the one place where that is done. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
SECOND = 10**9  # nanoseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EXPECTED = "expected a moment like 2026-01-31T12:00:00Z"


def parse_moment(text: str) -> int:
    """Nanoseconds since 1970; raises ValueError for what is no moment. What is finer than a nanosecond is cut off.

    A leap second counts as the first second of the next minute. In a query a plus that was not encoded has become a
    blank, so a blank in front of an offset is read as a plus.
    """
    found = _MOMENT.fullmatch(re.sub(r" (?=\d\d:\d\d\Z)", "+", text))
    if found is None:
        raise ValueError(_EXPECTED)
    date, clock, fraction, sign, hours, minutes = found.groups()
    is_leap = clock.endswith(":60")
    try:
        whole = datetime.fromisoformat(f"{date}T{clock[:-2]}{59 if is_leap else clock[-2:]}+00:00")
    except ValueError as error:
        raise ValueError(_EXPECTED) from error
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError(_EXPECTED)
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60 * (-1 if sign == "-" else 1)
    passed = whole - _EPOCH
    seconds = passed.days * 86_400 + passed.seconds + is_leap - offset
    return seconds * SECOND + int((fraction or "")[:9].ljust(9, "0"))


def moment_text(milliseconds: float) -> str:
    """A moment in UTC, given in milliseconds since 1970, which are rounded."""
    seconds, part = divmod(round(milliseconds), 1000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{part:03}Z"
