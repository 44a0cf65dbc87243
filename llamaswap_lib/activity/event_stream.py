"""A stream of server-sent events, of which the beginning and the end are there: which of its events say something.

Pure, any thread. Guarantees: raises nothing whatever the bytes are; an event of which a part is missing is left out,
but for what stands at the top of its end (`json_ends`). Only events that may say something are parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llamaswap_lib.activity.json_ends import members_at_end

MOST_EVENTS = 400  # that are looked at for the first token
_END = b"\n\n"
_find_report = re.compile(rb'"(?:usage|timings|metrics)"[ \t]*:[ \t]*(?:\ndata:[ \t]*)?\{').search
# What holds a token: of chat completions, of Anthropic's messages.
_IN_DELTA = (
    *("content", "reasoning_content", "reasoning", "tool_calls", "function_call", "refusal", "audio"),
    *("text", "thinking", "partial_json"),
)


def with_plain_lines(data: bytes) -> bytes:
    """The same, as long as it was, with every line ended by LF."""
    return data.replace(b"\r", b"\n") if b"\r" in data else data


def reports(head: bytes, tail: bytes, *, is_complete: bool, in_response: bool) -> Iterator[dict[str, Any]]:
    """The events that may report usage, timings or metrics, in their order. `tail` is b"" where `head` is all.

    `is_complete`: the stream has come to its end. `in_response`: see `members_at_end`.
    """
    yield from _reports(head)
    if tail:
        end = tail.find(_END)
        if end >= 0 or is_complete:
            end = len(tail) if end < 0 else end
            yield from _cut_report(tail[:end], in_response=in_response)
            yield from _reports(tail[end:])


def _reports(part: bytes) -> Iterator[dict[str, Any]]:
    at = 0
    while found := _find_report(part, at):
        before = part.rfind(_END, at, found.start())
        end = part.find(_END, found.end())
        at = len(part) if end < 0 else end
        event = _parse(part[max(before, 0) : at])
        if event is not None:
            yield event


def _cut_report(event: bytes, *, in_response: bool) -> Iterator[dict[str, Any]]:
    """The end of an event."""
    if not _find_report(event):
        return
    lines = event.find(b"\ndata:")
    if lines >= 0:  # it was cut in front of what it says
        whole = _parse(event[lines:])
        if whole is not None:
            yield whole
        return
    yield members_at_end(event.decode("utf-8", "replace"), in_response=in_response)


def _parse(event: bytes) -> dict[str, Any] | None:
    lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    try:
        value = json.loads(b"\n".join(lines).decode("utf-8", "replace"))
    except (ValueError, RecursionError):  # it is cut, or no JSON
        return None
    return value if isinstance(value, dict) else None


def end_of_first_token(head: bytes) -> int:
    """The offset behind the first event that holds a token; -1: there is none in `head`."""
    at = 0
    for _ in range(MOST_EVENTS):
        end = head.find(_END, at)
        if end < 0:
            break
        event = _parse(head[at:end])
        if event is not None and _holds_token(event):
            return end
        at = end + 1
    return -1


def _holds_token(event: dict[str, Any]) -> bool:
    """Whether anything that was generated is in it, be it content, reasoning or a call of a tool."""
    delta = event.get("delta")  # of responses a text, of messages an object
    if delta:
        return isinstance(delta, str) or _holds_any(delta)
    choices = event.get("choices")
    if isinstance(choices, list):
        return any(_holds_any(choice) or _holds_any(choice.get("delta")) for choice in choices if _is_object(choice))
    content = event.get("content")  # of /completion and /infill
    return isinstance(content, str) and content != ""


def _holds_any(delta: object) -> bool:
    return isinstance(delta, dict) and any(delta.get(name) for name in _IN_DELTA)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
