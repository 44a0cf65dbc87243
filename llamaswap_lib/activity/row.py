"""A row of activity: what is known of one request, as it is stored.

Pure. Times are in milliseconds, sizes in bytes, -1 stands for what was not reported, as in the contract
(docs/reference.md). `COLUMNS` are the fields in their order, which is that of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_type_hints


class Row(NamedTuple):
    """One request. `id` is 0 until it is stored."""

    id: int
    timestamp: float  # seconds since 1970
    model: str
    path: str
    method: str
    status: int
    content_type: str
    ended: str
    error: str
    selector: str
    priority: str | None
    session: str
    key: str
    remote_ip: str
    is_local: bool
    duration_ms: int
    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float
    seen_per_second: float  # tokens a second as we saw them come; 0 where that cannot be told
    first_byte_ms: int  # from the start to the first byte of the answer's body; -1 for none
    first_token_ms: int  # to the first event that holds a token; -1 for none
    queue_ms: int
    load_ms: int
    prompt_ms: int  # reading the prompt, as the upstream says, or else from sending to the first token; -1 unknown
    generation_ms: int  # -1 unknown
    ours_ms: int  # what is left of the duration: our own part
    behind: str  # the model that it waited for
    request_bytes: int
    response_bytes: int
    retries: int
    upstream_ms: int = 0  # what it took beyond prompt and generation: its own queue, or a client that reads slowly


COLUMNS = Row._fields
_UNKNOWN: Mapping[object, Any] = {int: -1, float: 0.0, str: "", str | None: None, bool: False}
_BLANK = Row(**{name: _UNKNOWN[kind] for name, kind in get_type_hints(Row).items()})


def row_of_values(values: Mapping[str, Any]) -> Row:
    """A row of another version of this program: columns that only that has are left out, others are not known."""
    return _BLANK._replace(**{name: values[name] for name in COLUMNS if name in values})


def rows_of_table(columns: Sequence[str], table: Sequence[Sequence[Any]]) -> list[Row]:
    """The same for many, whose values stand in the order of the columns."""
    if (*columns,) == COLUMNS:
        return [Row._make(values) for values in table]
    return [row_of_values(dict(zip(columns, values, strict=True))) for values in table]


def numbered(row: Row, number: int) -> Row:
    """The same with this id; `_replace` takes three times as long."""
    return tuple.__new__(Row, (number, *row[1:]))


def storable(text: str) -> str:
    """The text as it is stored: half a character, which JSON may bring and which has no bytes, becomes \\ud800."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
