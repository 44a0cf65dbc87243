"""The row of a request: what its answer reports of tokens and speeds, its error, and where its time went.

Pure; the activity writer's thread calls it. Guarantees: raises nothing whatever an answer holds; a number is the one
that the upstream reported, or it counts as not reported; the time is bounded however long the answer is. The parts
`queue_ms`, `load_ms`, `prompt_ms`, `generation_ms`, `upstream_ms` and `ours_ms` add up to `duration_ms`, where those
that are unknown (-1) count as nothing.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from llamaswap_lib.activity.event_stream import end_of_first_token, reports, with_plain_lines
from llamaswap_lib.activity.json_ends import members_at_end, members_at_start, members_from_usage
from llamaswap_lib.activity.payload import Payload, payload_of
from llamaswap_lib.activity.readings import NOTHING, Readings, Reported, report_of
from llamaswap_lib.activity.record import Ended, Record, Sample
from llamaswap_lib.activity.row import Row, storable

MOST_ERROR_CHARACTERS = 500
OK = 200
NO_ANSWER = 502  # the status of a row whose request ended before the head of an answer was sent
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STREAM = "text/event-stream"
_COMPLETE = Ended.COMPLETE  # it takes a while to look for it there
_decode = json.JSONDecoder().raw_decode


def row_of(record: Record) -> Row:
    """Its row, without a number of its own."""
    (
        timestamp, seconds, model, path, method, status, ended, content_type, _, _, error, sample, spent,
        request_bytes, response_bytes, sent_at, head_at, retries, selector, priority, is_local, session, key,
        remote_ip, *_,
    ) = record  # fmt: skip
    if status == OK:
        report, first_token = _read_success(record) if sample.size_bytes else (NOTHING, None)
        if error:
            error = storable(error[:MOST_ERROR_CHARACTERS])
    else:
        report, first_token, status = NOTHING, None, status or NO_ANSWER
        error = _read_failure(record, status)
    says_nothing, tokens_in, tokens_out, cached, drafted, accepted, prompt_speed, speed, *took = report
    prompt_ms, generation_ms = took
    queue, load, behind = spent
    if not (model + path + content_type + selector + session + behind).isascii():
        texts = model, path, content_type, selector, session, behind
        model, path, content_type, selector, session, behind = map(storable, texts)
    first_at, last_at = sample.first_at, sample.last_at
    duration_ms = seconds * 1000
    if prompt_ms > 0 or generation_ms > 0:
        duration_ms = max(duration_ms, max(0.0, prompt_ms) + max(0.0, generation_ms))
    duration = int(duration_ms) if duration_ms > 0 else 0
    at_upstream = 0.0
    if sent_at is not None:
        if last_at is None:
            at_upstream = ((seconds if head_at is None else head_at) - sent_at) * 1000
        else:
            at_upstream = (last_at - sent_at) * 1000
            if prompt_ms < 0 and generation_ms < 0 and status == OK:
                says_none = not says_nothing and not tokens_out
                prompt_ms, generation_ms = _seen_parts(sent_at, first_token, last_at, says_none=says_none)
    queue, load, prompt_ms, generation_ms, upstream, ours = _parts(
        duration, queue * 1000, load * 1000, prompt_ms, generation_ms, at_upstream
    )
    return tuple.__new__(Row, (  # with a call of Row it takes twice as long
        0, timestamp, model, path, method, status, content_type, ended._value_, error,
        selector, priority, session, key, remote_ip, is_local,
        duration, cached, drafted, accepted, tokens_in, tokens_out, prompt_speed, speed,
        0.0 if first_token is None else _seen_speed(tokens_out, first_token, last_at),
        -1 if first_at is None else int(first_at * 1000) if first_at > 0 else 0,
        -1 if first_token is None else int(first_token * 1000) if first_token > 0 else 0,
        queue, load, prompt_ms, generation_ms, ours, behind, request_bytes, response_bytes, retries, upstream,
    ))  # fmt: skip


def timing_text(row: Row) -> str:
    """Where the time of a request went, for people, on one line."""
    behind = f" (behind {row.behind})" if row.behind else ""
    parts = [f"queue {row.queue_ms} ms{behind}", f"load {row.load_ms}"]
    named = (("prompt", row.prompt_ms), ("first token", row.first_token_ms), ("generation", row.generation_ms))
    parts += [f"{name} {milliseconds}" for name, milliseconds in named if milliseconds >= 0]
    if row.upstream_ms:
        parts.append(f"upstream {row.upstream_ms}")
    return ", ".join([*parts, f"ours {row.ours_ms}"])


# -- what an answer says --


def _read_success(record: Record) -> tuple[Reported, float | None]:
    """What it reports, and when its first token came, in seconds after the start; None: not known."""
    sample, coding, is_chunked = record.sample, record.content_encoding, record.is_chunked
    if record.ended is _COMPLETE and not (is_chunked or coding) and len(sample.head) == sample.size_bytes:
        answer = members_from_usage(sample.head)  # what is most usual first
        if answer is not None:
            return report_of(answer), None
    payload = payload_of(sample, coding, is_chunked=is_chunked)
    if not payload.head and not payload.tail:
        return NOTHING, None
    if _STREAM in record.content_type.lower():
        return _read_stream(record, payload)
    is_infill = record.path.endswith("/infill")
    answer = _json_of(payload, is_complete=record.ended is Ended.COMPLETE, is_infill=is_infill)
    if isinstance(answer, dict):
        return report_of(answer), None
    readings = Readings()
    if is_infill and answer and isinstance(answer[-1], dict):
        readings.take_timings(answer[-1].get("timings"))
    return readings.report(), None


def _read_stream(record: Record, payload: Payload) -> tuple[Reported, float | None]:
    head, tail = with_plain_lines(payload.head), with_plain_lines(payload.tail)
    readings = Readings()
    is_complete, in_response = record.ended is Ended.COMPLETE, record.path.endswith("/responses")
    for event in reports(head, tail, is_complete=is_complete, in_response=in_response):
        readings.take_event(event)
    end = end_of_first_token(head)
    offset = payload.offset_in_sample(end - 1) if end > 0 else -1
    return readings.report(), _arrival(record.sample, offset)


def _arrival(sample: Sample, offset: int) -> float | None:
    """When the byte at `offset` came, in seconds after the start; None: not known.

    Of the last piece that has a stamp it is not known where it ends, unless it is the last one of all.
    """
    if offset < 0:
        return None
    stamps = sample.stamps
    for number in range(len(stamps) - 1, -1, -1):
        start, seconds = stamps[number]
        if start <= offset:
            is_last = number == len(stamps) - 1
            return None if is_last and seconds != sample.last_at else seconds
    return None


def _json_of(payload: Payload, *, is_complete: bool, is_infill: bool) -> Any:
    """The answer as JSON, or what is known of it: an object, a list, or None."""
    head = payload.head.decode("utf-8", "replace")
    if payload.is_whole:
        text = head.strip(" \t\r\n")
        if not text.startswith(("{", "[")):
            return None
        try:
            answer, end = _decode(text)
        except (ValueError, RecursionError):
            end = -1
        return answer if end == len(text) else members_at_start(head)
    members = members_at_start(head)
    if payload.tail and is_complete:
        tail = payload.tail.decode("utf-8", "replace").rstrip(" \t\r\n")
        if tail.endswith("]") and is_infill:
            members = {"timings": members_at_end(tail[:-1]).get("timings")}
        elif head.lstrip(" \t\r\n").startswith("{"):
            members.update(members_at_end(tail))
    return members


# -- errors --


def _read_failure(record: Record, status: int) -> str:
    """The error, which is all that counts of an answer other than 200."""
    text = record.error.strip()
    if not text and record.sample.head:
        payload = payload_of(record.sample, record.content_encoding, is_chunked=record.is_chunked)
        text = _error_in(_json_of(payload, is_complete=False, is_infill=False))
    text = text or f"{status} {_PHRASES.get(status, '')}".strip()
    return storable(text[:MOST_ERROR_CHARACTERS])


def _error_in(answer: Any) -> str:
    if not isinstance(answer, dict):
        return ""
    error = answer.get("error")
    inner = error.get("message") if isinstance(error, dict) else None
    for text in (inner, error, answer.get("message"), answer.get("detail")):
        if isinstance(text, str) and (text := text.strip()):
            return text
    return ""


# -- times --


def _parts(
    duration_ms: int, queue_ms: float, load_ms: float, prompt_ms: float, generation_ms: float, at_upstream_ms: float
) -> tuple[int, int, int, int, int, int]:
    """Queue, load, prompt, generation, upstream, ours: whole milliseconds, which add up to the duration."""
    prompt = generation = -1
    queue = load = 0
    left = duration_ms
    if queue_ms > 0:
        queue = min(left, int(queue_ms))
        left -= queue
    if load_ms > 0:
        load = min(left, int(load_ms))
        left -= load
    if at_upstream_ms < 0:
        at_upstream_ms = 0.0
    if prompt_ms >= 0:
        prompt = int(prompt_ms) if prompt_ms < left else left
        left -= prompt
        at_upstream_ms -= prompt_ms
    if generation_ms >= 0:
        generation = int(generation_ms) if generation_ms < left else left
        left -= generation
        at_upstream_ms -= generation_ms
    upstream = int(at_upstream_ms) if at_upstream_ms > 0 else 0
    upstream = min(upstream, left)
    return queue, load, prompt, generation, upstream, left - upstream


def _seen_parts(sent_at: float, first_token: float | None, last_at: float, *, says_none: bool) -> tuple[float, float]:
    """Milliseconds of the prompt and of the generation, as we saw them; -1: not known.

    Where the upstream reports nothing, all that it took is its prompt's up to the first token, and its generation's
    from there on; where there is no first token, it is all its generation's, or its prompt's if it says that it
    generated nothing (`says_none`).
    """
    if first_token is not None:
        return max(0.0, first_token - sent_at) * 1000, max(0.0, last_at - first_token) * 1000
    all_of_it = (last_at - sent_at) * 1000 if last_at > sent_at else 0.0
    return (all_of_it, -1) if says_none else (-1, all_of_it)


def _seen_speed(output_tokens: int, first_token: float, last_at: float | None) -> float:
    """Tokens a second after the first one; 0: not known."""
    if last_at is None or last_at <= first_token or output_tokens < 2:
        return 0.0
    return (output_tokens - 1) / (last_at - first_token)
