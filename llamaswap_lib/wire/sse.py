"""A chat completion that came whole, as the stream that was asked for.

Pure, any thread. Some servers know no streams, and answer with one JSON object. It holds all that a stream would have
said, so its client gets it as a stream of one chunk: a `message` becomes a `delta`, and everything else stays.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

DONE = b"data: [DONE]\n\n"


def as_stream(text: bytes) -> bytes:
    """The events that say what this chat completion says; b"" if it is none."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        if not _is_completion(value):
            return b""
        said = json.dumps(_as_chunk(value), separators=(",", ":"), allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError):
        return b""
    return b"data: " + said.encode() + b"\n\n" + DONE


def _is_completion(value: Any) -> bool:
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices)


def _as_chunk(completion: dict[str, Any]) -> dict[str, Any]:
    choices = [_as_delta(index, choice) for index, choice in enumerate(completion["choices"])]
    return {**completion, "object": "chat.completion.chunk", "choices": choices}


def _as_delta(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    delta = dict(choice["message"])
    calls = delta.get("tool_calls")
    if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
    rest = {key: value for key, value in choice.items() if key != "message"}
    return {"index": index, "delta": delta, **rest}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
