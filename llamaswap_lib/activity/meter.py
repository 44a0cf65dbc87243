"""The row of a request: what its answer reports of tokens and speeds, its error, and where its time went.

Pure; the activity writer's thread calls it. Guarantees: raises nothing whatever an answer holds; a number is the one
that the upstream reported, or it counts as not reported; the time is bounded however long the answer is. The parts
`queue_ms`, `load_ms`, `prompt_ms`, `generation_ms`, `upstream_ms` and `ours_ms` add up to `duration_ms`, where those
that are unknown (-1) count as nothing.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, NamedTuple

from llamaswap_lib.activity.event_stream import end_of_first_token, reports, with_plain_lines
from llamaswap_lib.activity.json_ends import members_at_end, members_at_start
from llamaswap_lib.activity.payload import Payload, payload_of
from llamaswap_lib.activity.readings import NOTHING, Readings, Reported
from llamaswap_lib.activity.record import NOT_SPENT, Ended, Record, Sample
from llamaswap_lib.activity.row import Row, storable

MOST_ERROR_CHARACTERS = 500
NO_ANSWER = 502  # the status of a row whose request ended before the head of an answer was sent
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STREAM = "text/event-stream"
_load_json = json.JSONDecoder().decode


class _Answer(NamedTuple):
    """What was read out of an answer. `first_token` is in seconds after the start, None where it is not known."""

    report: Reported = NOTHING
    error: str = ""
    first_token: float | None = None


def row_of(record: Record) -> Row:
    """Its row, without a number of its own."""
    status = record.status or NO_ANSWER
    answer = _read_success(record) if record.status == 200 else _read_failure(record, status)
    report = answer.report
    times = _Times(record, answer)
    if report.says_nothing:
        tokens: tuple[int, int, int, int, int, float, float] = (0, 0, 0, 0, 0, 0.0, 0.0)
    else:
        _, tokens_in, tokens_out, cached, drafted, accepted, prompt_speed, speed, _, _ = report
        tokens = cached, drafted, accepted, tokens_in, tokens_out, prompt_speed, speed
    texts = record.model, record.path, record.content_type, record.selector, record.session, record.spent.behind
    if not "".join(texts).isascii():
        texts = tuple(map(storable, texts))  # type: ignore[assignment]
    model, path, content_type, selector, session, behind = texts
    return Row(
        0,
        record.timestamp,
        model,
        path,
        record.method,
        status,
        content_type,
        record.ended.value,
        answer.error,
        selector,
        record.priority,
        session,
        record.key,
        record.remote_ip,
        record.is_local,
        times.duration,
        *tokens,
        _seen_speed(report, answer.first_token, record.sample.last_at),
        _milliseconds(record.sample.first_at),
        _milliseconds(answer.first_token),
        times.queue,
        times.load,
        times.prompt,
        times.generation,
        times.ours,
        behind,
        record.request_bytes,
        record.response_bytes,
        record.retries,
        times.upstream,
    )


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


def _read_success(record: Record) -> _Answer:
    payload = payload_of(record.sample, record.content_encoding, is_chunked=record.is_chunked)
    error = storable(record.error[:MOST_ERROR_CHARACTERS])
    if not payload.head and not payload.tail:
        return _Answer(error=error)
    if _STREAM in record.content_type.lower():
        return _read_stream(record, payload, error)
    readings = Readings()
    is_infill = record.path.endswith("/infill")
    answer = _json_of(payload, is_complete=record.ended is Ended.COMPLETE, is_infill=is_infill)
    if isinstance(answer, dict):
        readings.take_answer(answer)
    elif is_infill and answer and isinstance(answer[-1], dict):
        readings.take_timings(answer[-1].get("timings"))
    return _Answer(readings.report(), error)


def _read_stream(record: Record, payload: Payload, error: str) -> _Answer:
    head, tail = with_plain_lines(payload.head), with_plain_lines(payload.tail)
    readings = Readings()
    is_complete, in_response = record.ended is Ended.COMPLETE, record.path.endswith("/responses")
    for event in reports(head, tail, is_complete=is_complete, in_response=in_response):
        readings.take_event(event)
    end = end_of_first_token(head)
    offset = payload.offset_in_sample(end - 1) if end > 0 else -1
    return _Answer(readings.report(), error, _arrival(record.sample, offset))


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
        if not head.lstrip(" \t\r\n").startswith(("{", "[")):
            return None
        try:
            return _load_json(head)
        except (ValueError, RecursionError):
            return members_at_start(head)
    members = members_at_start(head)
    if payload.tail and is_complete:
        tail = payload.tail.decode("utf-8", "replace").rstrip(" \t\r\n")
        if tail.endswith("]") and is_infill:
            members = {"timings": members_at_end(tail[:-1]).get("timings")}
        elif head.lstrip(" \t\r\n").startswith("{"):
            members.update(members_at_end(tail))
    return members


# -- errors --


def _read_failure(record: Record, status: int) -> _Answer:
    """Of an answer other than 200 only its error counts."""
    text = record.error.strip()
    if not text and record.sample.head:
        payload = payload_of(record.sample, record.content_encoding, is_chunked=record.is_chunked)
        text = _error_in(_json_of(payload, is_complete=False, is_infill=False))
    text = text or f"{status} {_PHRASES.get(status, '')}".strip()
    return _Answer(error=storable(text[:MOST_ERROR_CHARACTERS]))


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


class _Times:
    """Where the time went, in whole milliseconds that add up to the duration.

    What the upstream reports counts before what we saw, as far as the duration goes. Where it reports nothing, all that
    it took is its prompt's up to the first token, and its generation's from there on; where there is no first token, it
    is all its generation's, or its prompt's if it says that it generated nothing.
    """

    __slots__ = ("duration", "generation", "load", "ours", "prompt", "queue", "upstream")

    def __init__(self, record: Record, answer: _Answer) -> None:
        report, sample, spent = answer.report, record.sample, record.spent
        reported_ms = max(0.0, report.prompt_ms) + max(0.0, report.generation_ms)
        self.duration = left = int(max(0.0, record.seconds * 1000, reported_ms))
        self.queue = self.load = 0
        if spent is not NOT_SPENT:
            self.queue = min(left, int(max(0.0, spent.queue * 1000)))
            left -= self.queue
            self.load = min(left, int(max(0.0, spent.load * 1000)))
            left -= self.load
        prompt, generation = report.prompt_ms, report.generation_ms
        at_upstream = 0.0
        if record.sent_at is not None:
            last_at = next(at for at in (sample.last_at, record.head_at, record.seconds) if at is not None)
            at_upstream = max(0.0, last_at - record.sent_at) * 1000
            if prompt < 0 and generation < 0 and record.status == 200 and sample.last_at is not None:
                prompt, generation = _seen_parts(record.sent_at, answer, sample.last_at)
        self.prompt = min(left, int(prompt)) if prompt >= 0 else -1
        left -= max(0, self.prompt)
        self.generation = min(left, int(generation)) if generation >= 0 else -1
        left -= max(0, self.generation)
        self.upstream = min(left, max(0, int(at_upstream - max(0.0, prompt) - max(0.0, generation))))
        self.ours = left - self.upstream


def _seen_parts(sent_at: float, answer: _Answer, last_at: float) -> tuple[float, float]:
    """Milliseconds of the prompt and of the generation, as we saw them; -1: not known."""
    if answer.first_token is not None:
        return max(0.0, answer.first_token - sent_at) * 1000, max(0.0, last_at - answer.first_token) * 1000
    all_of_it = max(0.0, last_at - sent_at) * 1000
    generates_nothing = not answer.report.says_nothing and not answer.report.output_tokens
    return (all_of_it, -1) if generates_nothing else (-1, all_of_it)


def _seen_speed(report: Reported, first_token: float | None, last_at: float | None) -> float:
    """Tokens a second after the first one; 0: not known."""
    if first_token is None or last_at is None or last_at <= first_token or report.output_tokens < 2:
        return 0.0
    return (report.output_tokens - 1) / (last_at - first_token)


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else int(max(0.0, seconds) * 1000)
