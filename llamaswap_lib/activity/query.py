"""What may be asked about rows, as it stands in the query of a URL: read and checked.

Pure, any thread. A parameter that is empty counts as not there, one that nobody knows is left alone. Raises BadRequest,
which names the parameter and says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

from llamaswap_lib.errors import BadRequest
from llamaswap_lib.printable import bounded
from llamaswap_lib.wire.rfc3339 import SECOND, moment_text, parse_moment

from .record import Ended

MOST_LIMIT, DEFAULT_LIMIT = 999, 25
MOST_PAGE = 10**9
MOST_VALUES = 200  # of one parameter
MOST_ID = 2**63 - 1
_MOST_SHOWN = 60  # characters of a wrong value

# Name of the parameter's value -> column
SORTS = {
    "id": "id",
    "time": "timestamp",
    "model": "model",
    "req_path": "path",
    "resp_status_code": "status",
    "resp_content_type": "content_type",
    "cached": "cache_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_second",
    "gen_speed": "tokens_per_second",
    "duration": "duration_ms",
}

_T = TypeVar("_T")


class Statuses(NamedTuple):
    """A range of status codes, both ends in it; or with `is_excluded` all but those."""

    lowest: int
    highest: int
    is_excluded: bool


class Filter(NamedTuple):
    """Which rows are meant; what is empty or None says nothing. Several of one kind: any of them."""

    models: tuple[str, ...] = ()
    statuses: tuple[Statuses, ...] = ()  # any of those that are not excluded, and none of those that are
    paths: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    text: str = ""  # in model, path or error, in whatever case
    min_duration_ms: float | None = None
    start: float | None = None  # seconds since 1970, both ends in it
    end: float | None = None
    min_id: int | None = None
    max_id: int | None = None

    def without(self, kind: str) -> Filter:
        """The same, but that it says nothing of this kind, of which there may be several."""
        return Filter(**{**self._asdict(), kind: ()})


class Query(NamedTuple):
    """Which rows, and how many of them in which order."""

    filter: Filter = Filter()
    page: int = 1
    limit: int = DEFAULT_LIMIT
    sort: str = "id"  # a column
    is_descending: bool = True
    format: str = "json"


class Parameters:
    """The parameters of one query string."""

    def __init__(self, query: str) -> None:
        """`query` with or without its question mark."""
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query.removeprefix("?")):
            self._values.setdefault(name, []).append(value)

    def all(self, name: str) -> tuple[str, ...]:
        """Every one; raises BadRequest for too many."""
        values = tuple(self._values.get(name, ()))
        if len(values) > MOST_VALUES:
            raise BadRequest(f"{name}: expected {MOST_VALUES} values at most, got {len(values)}")
        return values

    def text(self, name: str) -> str:
        """The first one; '' for none."""
        return self._values.get(name, [""])[0]

    def one(self, name: str, read: Callable[[str], _T | None], expected: str) -> _T | None:
        """What `read` makes of it; None if it is not there. Raises BadRequest where that makes None of it."""
        text = self.text(name)
        return _read(name, text, read, expected) if text else None

    def many(self, name: str, read: Callable[[str], _T | None], expected: str) -> tuple[_T, ...]:
        """The same for one that may be repeated."""
        return tuple(_read(name, text, read, expected) for text in self.all(name))

    def integer(self, name: str, lowest: int, highest: int) -> int | None:
        expected = f"an integer from {lowest} to {highest}" if highest < MOST_PAGE else f"an integer >= {lowest}"
        return self.one(name, lambda text: _integer(text, lowest, highest), expected)


def _read(name: str, text: str, read: Callable[[str], _T | None], expected: str) -> _T:
    value = read(text)
    if value is None:
        raise BadRequest(f"{name}: expected {expected}, got {bounded(repr(text), _MOST_SHOWN)}")
    return value


def read_filter(given: Parameters) -> Filter:
    """Which rows the parameters mean; raises BadRequest."""
    moment = "a moment in RFC 3339 such as 2026-01-31T12:00:00Z"
    found = Filter(
        models=given.all("model"),
        statuses=given.many("status", _statuses, "a status such as 200, 4xx or !200"),
        paths=given.all("path"),
        sessions=given.all("session"),
        keys=given.all("key"),
        endings=given.many("ended", _ending, f"one of {', '.join(ending.value for ending in Ended)}"),
        text=given.text("q"),
        min_duration_ms=given.one("min_duration", _milliseconds, "a duration such as 500ms, 2s or 1m30s"),
        start=given.one("start", moment_of, moment),
        end=given.one("end", moment_of, moment),
        min_id=given.integer("min_id", 1, MOST_ID),
        max_id=given.integer("max_id", 1, MOST_ID),
    )
    if found.min_id is not None and found.max_id is not None and found.min_id > found.max_id:
        raise BadRequest("min_id: expected one that is <= max_id")
    if found.start is not None and found.end is not None and found.start > found.end:
        raise BadRequest("start: expected a moment that is not after end")
    return found


def read_query(query: str) -> Query:
    """What a query string asks for; raises BadRequest."""
    given = Parameters(query)
    order = given.one("order", _one_of("asc", "desc"), "asc or desc") or "desc"
    sort = given.one("sort", SORTS.get, f"one of {', '.join(SORTS)}") or "id"
    form = given.one("format", _one_of("json", "csv", "jsonl"), "json, csv or jsonl") or "json"
    if form != "json" and sort != "id":
        raise BadRequest(f"sort: expected id for the format {form}, or none")
    return Query(
        read_filter(given),
        given.integer("page", 1, MOST_PAGE) or 1,
        given.integer("limit", 1, MOST_LIMIT) or DEFAULT_LIMIT,
        sort,
        order == "desc",
        form,
    )


# -- single values; None for what is none --


def _one_of(*words: str) -> Callable[[str], str | None]:
    return lambda text: text if text in words else None


def _ending(text: str) -> str | None:
    return text if text in {ending.value for ending in Ended} else None


def _integer(text: str, lowest: int, highest: int) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if lowest <= number <= highest else None


def _statuses(text: str) -> Statuses | None:
    match = re.fullmatch(r"(!?)(?:([1-9][0-9]{2})|([1-9])[xX]{2})", text)
    if match is None:
        return None
    lowest, highest = (int(match[2]),) * 2 if match[2] else (int(match[3]) * 100, int(match[3]) * 100 + 99)
    return Statuses(lowest, highest, bool(match[1]))


_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_is_duration = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+").fullmatch
_parts_of_duration = re.compile(r"([0-9.]+)(ms|s|m|h|d)").findall


def seconds_of(text: str) -> float | None:
    """Of a duration such as 1m30s, or a number of seconds."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    if not _is_duration(text):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _parts_of_duration(text))


def _milliseconds(text: str) -> float | None:
    seconds = seconds_of(text)
    return None if seconds is None else seconds * 1000


def moment_of(text: str) -> float | None:
    """Seconds since 1970 of a moment in RFC 3339."""
    try:
        return parse_moment(text) / SECOND
    except ValueError:
        return None


def text_of(moment: float) -> str:
    """Seconds since 1970 in RFC 3339, in UTC, with milliseconds; of what cannot be a moment, the first one."""
    try:
        return moment_text(moment * 1000)
    except (ValueError, OverflowError, OSError):
        return moment_text(0)


def any_of(column: str, values: Sequence[object]) -> str:
    """The condition that a column has one of the values, which are bound."""
    return f"{column} IN ({', '.join('?' * len(values))})"
