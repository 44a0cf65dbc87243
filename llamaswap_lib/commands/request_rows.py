"""A request as a line of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.in_flight import Request
from llamaswap_lib.client.terminal import Cell, Column, Style

ROUTE = "/api/metrics/activity"
COLUMNS = (
    Column("ID", is_number=True, goes=4),
    Column("TIME", is_number=True),
    Column("MODEL", may_shrink=True),
    Column("STATUS"),
    Column("DURATION", is_number=True),
    Column("FIRST", is_number=True, goes=6),
    Column("IN", is_number=True, goes=5),
    Column("OUT", is_number=True, goes=3),
    Column("TOK/S", is_number=True, goes=2),
    Column("QUEUE", is_number=True, goes=7),
    Column("ENDED", may_shrink=True, goes=1),
)
ENDED_STYLES = {"complete": Style.QUIET, "client_left": Style.BUSY, "cancelled": Style.BUSY}
Row = Mapping[str, Any]


def cells_of(row: Row) -> list[str | Cell]:
    """Of a request that has ended."""
    tokens, timing = row.get("tokens") or {}, row.get("timing") or {}
    status, ended, error = row.get("resp_status_code") or 0, row.get("ended") or "", row.get("error_msg")
    style = Style.PLAIN if status < 400 else Style.BUSY if status < 500 else Style.BAD
    speed = tokens.get("tokens_per_second", 0)
    return [
        str(row["id"]), words.local_time(row["timestamp"]), row.get("model") or "",
        Cell(str(status or words.UNKNOWN), style),
        words.milliseconds(row.get("duration_ms")), words.milliseconds(timing.get("first_token_ms")),
        _tokens(tokens.get("input_tokens")), _tokens(tokens.get("output_tokens")),
        words.number(speed if speed > 0 else (row.get("seen_per_second") or 0) or None),
        words.milliseconds((timing.get("queue_ms") or 0) + (timing.get("load_ms") or 0)) if timing else words.UNKNOWN,
        Cell(f"{ended}: {error}" if error else ended, ENDED_STYLES.get(ended, Style.BAD)),
    ]  # fmt: skip


def cells_in_progress(request: Request, age: float, waiting: Row | None) -> list[str | Cell]:
    """Of one that has not; `waiting` is its row in the queue."""
    unknown: list[str | Cell] = [words.UNKNOWN] * 5
    state = f"in progress: {progress(request, waiting)}"
    return [
        words.UNKNOWN, words.local_time(request["timestamp"]), request["model"], Cell("...", Style.BUSY),
        words.duration(age), *unknown, Cell(state, Style.BUSY),
    ]  # fmt: skip


def progress(request: Request, waiting: Row | None) -> str:
    """How far it is."""
    if waiting is not None:
        return f"waits ({waiting['reason']})"
    size = request.get("resp_bytes")
    return words.size(size) if size else "no answer yet"


def _tokens(count: int | None) -> str:
    return words.UNKNOWN if not count or count < 0 else words.number(count)
