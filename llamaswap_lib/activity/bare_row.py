"""The row of a request of whose answer nothing was read.

Pure, any thread. It says what the loop noted; where only the answer could tell, it says that nothing was reported.
"""

from __future__ import annotations

from .record import Record
from .row import Row


def bare_row(record: Record) -> Row:
    """What a record says by itself; never raises for one that the loop made."""
    queue, load = record.spent.queue, record.spent.load
    first_at = record.sample.first_at
    return Row(
        id=0,
        timestamp=record.timestamp,
        model=record.model,
        path=record.path,
        method=record.method,
        status=record.status or 502,
        content_type=record.content_type,
        ended=record.ended.value,
        error=record.error,
        selector=record.selector,
        priority=record.priority,
        session=record.session,
        key=record.key,
        remote_ip=record.remote_ip,
        is_local=record.is_local,
        duration_ms=milliseconds(record.seconds),
        cache_tokens=0,
        draft_tokens=0,
        draft_acc_tokens=0,
        input_tokens=0,
        output_tokens=0,
        prompt_per_second=0.0,
        tokens_per_second=0.0,
        seen_per_second=0.0,
        first_byte_ms=-1 if first_at is None else milliseconds(first_at),
        first_token_ms=-1,
        queue_ms=milliseconds(queue),
        load_ms=milliseconds(load),
        prompt_ms=-1,
        generation_ms=-1,
        ours_ms=0,
        behind=record.spent.behind,
        request_bytes=record.request_bytes,
        response_bytes=record.response_bytes,
        retries=record.retries,
    )


def milliseconds(seconds: float) -> int:
    """Of a duration, cut as in every other row; below 0, which a clock may make of it, is 0."""
    return max(0, int(seconds * 1000))
