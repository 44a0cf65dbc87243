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
from llamaswap_lib.activity.json_ends import members_at_end, members_at_start
from llamaswap_lib.activity.payload import Payload, payload_of
from llamaswap_lib.activity.readings import NOTHING, Readings, Reported
from llamaswap_lib.activity.record import NOT_SPENT, Ended, Record, Sample
from llamaswap_lib.activity.row import Row, storable

MOST_ERROR_CHARACTERS = 500
OK = 200
NO_ANSWER = 502  # the status of a row whose request ended before the head of an answer was sent
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STREAM = "text/event-stream"
_decode = json.JSONDecoder().raw_decode


def row_of(record: Record) -> Row:
    """Its row, without a number of its own."""
    status, sample = record.status, record.sample
    report, first_token, error = NOTHING, None, ""
    if status == OK:
        if sample.size_bytes:
            report, first_token = _read_success(record)
        if record.error:
            error = storable(record.error[:MOST_ERROR_CHARACTERS])
    else:
        status = status or NO_ANSWER
        error = _read_failure(record, status)
    _, tokens_in, tokens_out, cached, drafted, accepted, prompt_speed, speed, _, _ = report
    texts = record.model, record.path, record.content_type, record.selector, record.session, record.spent.behind
    if not "".join(texts).isascii():
        texts = tuple(map(storable, texts))  # type: ignore[assignment]
    model, path, content_type, selector, session, behind = texts
    duration, queue, load, prompt, generation, upstream, ours = _times(record, report, first_token)
    return Row(
        0, record.timestamp, model, path, record.method, status, content_type, record.ended.value, error,
        selector, record.priority, session, record.key, record.remote_ip, record.is_local,
        duration, cached, drafted, accepted, tokens_in, tokens_out, prompt_speed, speed,
        _seen_speed(tokens_out, first_token, sample.last_at),
        _milliseconds(sample.first_at), _milliseconds(first_token), queue, load, prompt, generation, ours, behind,
        record.request_bytes, record.response_bytes, record.retries, upstream,
    )  # fmt: skip


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
    payload = payload_of(record.sample, record.content_encoding, is_chunked=record.is_chunked)
    if not payload.head and not payload.tail:
        return NOTHING, None
    if _STREAM in record.content_type.lower():
        return _read_stream(record, payload)
    readings = Readings()
    is_infill = record.path.endswith("/infill")
    answer = _json_of(payload, is_complete=record.ended is Ended.COMPLETE, is_infill=is_infill)
    if isinstance(answer, dict):
        readings.take_answer(answer)
    elif is_infill and answer and isinstance(answer[-1], dict):
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


def _times(record: Record, report: Reported, first_token: float | None) -> tuple[int, int, int, int, int, int, int]:
    """Duration, queue, load, prompt, generation, upstream, ours: whole milliseconds, the others add up to the first.

    What the upstream reports counts before what we saw, as far as the duration goes. Where it reports nothing, all that
    it took is its prompt's up to the first token, and its generation's from there on; where there is no first token, it
    is all its generation's, or its prompt's if it says that it generated nothing.
    """
    sample, spent, sent_at = record.sample, record.spent, record.sent_at
    prompt_ms, generation_ms = report.prompt_ms, report.generation_ms
    duration = int(max(0.0, record.seconds * 1000, max(0.0, prompt_ms) + max(0.0, generation_ms)))
    left, queue, load, at_upstream = duration, 0, 0, 0.0
    if spent is not NOT_SPENT:
        queue = min(left, int(max(0.0, spent.queue * 1000)))
        left -= queue
        load = min(left, int(max(0.0, spent.load * 1000)))
        left -= load
    if sent_at is not None:
        last_at = sample.last_at
        if last_at is None:
            last_at = record.seconds if record.head_at is None else record.head_at
        elif prompt_ms < 0 and generation_ms < 0 and record.status == OK:
            prompt_ms, generation_ms = _seen_parts(sent_at, report, first_token, last_at)
        at_upstream = max(0.0, last_at - sent_at) * 1000
    prompt = generation = -1
    if prompt_ms >= 0:
        prompt = min(left, int(prompt_ms))
        left -= prompt
        at_upstream -= prompt_ms
    if generation_ms >= 0:
        generation = min(left, int(generation_ms))
        left -= generation
        at_upstream -= generation_ms
    upstream = min(left, max(0, int(at_upstream)))
    return duration, queue, load, prompt, generation, upstream, left - upstream


def _seen_parts(sent_at: float, report: Reported, first_token: float | None, last_at: float) -> tuple[float, float]:
    """Milliseconds of the prompt and of the generation, as we saw them; -1: not known."""
    if first_token is not None:
        return max(0.0, first_token - sent_at) * 1000, max(0.0, last_at - first_token) * 1000
    all_of_it = max(0.0, last_at - sent_at) * 1000
    generates_nothing = not report.says_nothing and not report.output_tokens
    return (all_of_it, -1) if generates_nothing else (-1, all_of_it)


def _seen_speed(output_tokens: int, first_token: float | None, last_at: float | None) -> float:
    """Tokens a second after the first one; 0: not known."""
    if first_token is None or last_at is None or last_at <= first_token or output_tokens < 2:
        return 0.0
    return (output_tokens - 1) / (last_at - first_token)


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else int(max(0.0, seconds) * 1000)
