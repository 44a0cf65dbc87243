"""Rows and records as tests need them: one of each with everything in it, to be changed where it matters."""

from __future__ import annotations

from llamaswap_lib.activity.bare_row import bare_row
from llamaswap_lib.activity.record import Ended, Record, Sample
from llamaswap_lib.activity.row import Row

DEADLINE = 60.0  # of every wait in these tests; none should come near it
BEGIN = 1_700_000_000.0

RECORD = Record(
    timestamp=BEGIN,
    seconds=1.5,
    model="m",
    path="/v1/chat/completions",
    method="POST",
    status=200,
    ended=Ended.COMPLETE,
    content_type="application/json",
    sample=Sample(head=b'{"answer": 1}', size_bytes=13),
    priority="0",
    request_fields="content-type: application/json\r\nAuthorization: Bearer secret\r\nx-one: 1\r\n",
    response_fields="Content-Type: application/json\r\nSet-Cookie: secret\r\n",
    request_body=b'{"model": "m"}',
    captures=True,
)
ROW = bare_row(RECORD)


def row(**changed: object) -> Row:
    """One with these values."""
    return ROW._replace(**changed)  # type: ignore[arg-type]


def record(**changed: object) -> Record:
    """One with these values."""
    return RECORD._replace(**changed)  # type: ignore[arg-type]
