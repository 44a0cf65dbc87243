"""Rows as they are told: in the JSON that clients of llama-swap read, and in lines of CSV or JSON.

Pure but for `pieces_of`, which reads from the store, in a handler thread. Guarantees: an export is read and given out
in pieces, so that its size costs no memory; it has every row that was there when it began and is still there when its
turn comes, each once.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from .bare_row import bare_row
from .database import select_rows
from .queries import conditions_of
from .query import Query, text_of
from .record import Ended, Record
from .row import Row
from .store import Store

PIECE_ROWS = 100  # what is done with them holds the interpreter for less than 5 ms: requests wait for it meanwhile
PIECE_PAUSE = 0.0005  # seconds, in which others have it
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell begins that a spreadsheet executes

HasCapture = Callable[[int], bool]
_T = TypeVar("_T")


def in_pieces(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """PIECE_ROWS of them at a time, with a pause between."""
    for begin in range(0, len(values), PIECE_ROWS):
        if begin:
            time.sleep(PIECE_PAUSE)
        yield values[begin : begin + PIECE_ROWS]


def json_of(answer: Mapping[str, Any]) -> bytes:
    """An object in JSON whose `data` is a list that may be long."""
    pieces = [_dumped(piece)[1:-1] for piece in in_pieces(answer["data"])]
    rest = _dumped({name: value for name, value in answer.items() if name != "data"})
    return f'{{"data":[{",".join(pieces)}],{rest[1:]}'.encode("utf-8", "surrogatepass")


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def described(row: Row, *, has_capture: bool) -> dict[str, Any]:
    """A row for JSON."""
    found: dict[str, Any] = {
        "id": row.id,
        "timestamp": text_of(row.timestamp),
        "model": row.model,
        "req_path": row.path,
        "resp_content_type": row.content_type,
        "resp_status_code": row.status,
        "tokens": {
            "cache_tokens": row.cache_tokens,
            "draft_tokens": row.draft_tokens,
            "draft_acc_tokens": row.draft_acc_tokens,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "prompt_per_second": row.prompt_per_second,
            "tokens_per_second": row.tokens_per_second,
        },
        "duration_ms": row.duration_ms,
        "has_capture": has_capture,
        "method": row.method,
        "ended": row.ended,
        "session": row.session,
        "key": row.key,
        "remote_ip": row.remote_ip,
        "seen_per_second": row.seen_per_second,
        "timing": {
            "first_byte_ms": row.first_byte_ms,
            "first_token_ms": row.first_token_ms,
            "queue_ms": row.queue_ms,
            "load_ms": row.load_ms,
            "prompt_ms": row.prompt_ms,
            "generation_ms": row.generation_ms,
            "upstream_ms": row.upstream_ms,
            "ours_ms": row.ours_ms,
            "behind": row.behind,
        },
        "request_bytes": row.request_bytes,
        "response_bytes": row.response_bytes,
        "retries": row.retries,
    }
    metadata = {} if row.priority is None else {"fifo_priority": row.priority}
    if row.selector:
        metadata["selector"] = row.selector
    if metadata:
        found["metadata"] = metadata
    if row.error:
        found["error_msg"] = row.error
    return found


def pieces_of(store: Store, query: Query, has_capture: HasCapture) -> Iterator[bytes]:
    """The rows of a query in its format, `page` and `limit` left aside; raises ServiceUnavailable."""
    lines = _csv_lines if query.format == "csv" else _json_lines
    filter_ = query.filter
    with store.reading() as connection:
        (newest,) = connection.execute("SELECT ifnull(max(id), 0) FROM requests").fetchone()
    if query.format == "csv":
        yield f"{_HEADER}\r\n".encode()
    filter_ = filter_._replace(max_id=newest if filter_.max_id is None else min(newest, filter_.max_id))
    while True:
        way = "DESC" if query.is_descending else "ASC"
        with store.reading() as connection:
            where = conditions_of(connection, filter_)
            if not where.can_match:
                return
            rows = select_rows(connection, f"{where.sql} ORDER BY requests.id {way} LIMIT {PIECE_ROWS}", where.values)
        if not rows:
            return
        yield lines([described(row, has_capture=has_capture(row.id)) for row in rows]).encode("utf-8", "replace")
        if len(rows) < PIECE_ROWS:
            return
        last = rows[-1].id
        filter_ = filter_._replace(max_id=last - 1) if query.is_descending else filter_._replace(min_id=last + 1)


def _json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(f"{_dumped(row)}\n" for row in rows)


def _csv_lines(rows: Sequence[dict[str, Any]]) -> str:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerows([_cell(value) for value in _flat(row).values()] for row in rows)
    return written.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Without mappings in it, and with the same columns for every row."""
    metadata, tokens, timing = row.pop("metadata", {}), row.pop("tokens"), row.pop("timing")
    more = {"error_msg": row.pop("error_msg", ""), "fifo_priority": metadata.get("fifo_priority", "")}
    return {**row, **tokens, **timing, **more, "selector": metadata.get("selector", "")}


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front; a priority below 0 is none."""
    is_formula = isinstance(value, str) and value.startswith(_FORMULA) and not value.removeprefix("-").isdigit()
    return f"'{value}" if is_formula else value


_NO_ROW = bare_row(Record(0.0, 0.0, "", "", "", 0, Ended.COMPLETE))
_HEADER = ",".join(_flat(described(_NO_ROW, has_capture=False)))
