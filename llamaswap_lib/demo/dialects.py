"""The APIs that produce text, pure: what a request asks for, and how the answer to it looks, streamed or whole.

Shapes are those of llama-server. A dialect knows nothing of time or sockets; see `generation` for those.
`native` has llama.cpp's own dialect and the ones of other vendors.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

from llamaswap_lib.demo.wire import Refusal

FINGERPRINT = "demo"


class Result(NamedTuple):
    """What was generated, once it is over."""

    text: str
    finish: str  # stop or length
    prompt_count: int
    cached_count: int
    said_count: int
    prompt_ms: float
    predicted_ms: float

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "completion_tokens": self.said_count,
            "prompt_tokens": self.prompt_count,
            "total_tokens": self.prompt_count + self.said_count,
            "prompt_tokens_details": {"cached_tokens": self.cached_count},
        }

    @property
    def timings(self) -> dict[str, Any]:
        fresh = self.prompt_count - self.cached_count
        return {
            "cache_n": self.cached_count,
            "prompt_n": fresh,
            "prompt_ms": self.prompt_ms,
            "prompt_per_token_ms": self.prompt_ms / max(fresh, 1),
            "prompt_per_second": 1000 * fresh / self.prompt_ms,
            "predicted_n": self.said_count,
            "predicted_ms": self.predicted_ms,
            "predicted_per_token_ms": self.predicted_ms / max(self.said_count, 1),
            "predicted_per_second": 1000 * self.said_count / self.predicted_ms,
        }


class Context(NamedTuple):
    """What an answer says about its maker."""

    model: str
    serial: int
    created: int


class Dialect(Protocol):
    """One request for text, in one API."""

    prompt: str
    max_tokens: int | None
    last_chunk: str  # what ends the stream, after `end`

    def begin(self, prompt_count: int, cached_count: int) -> str:
        """The events before the first token."""

    def token(self, piece: str) -> str:
        """The event of one token."""

    def end(self, result: Result) -> str:
        """The events after the last token."""

    def whole(self, result: Result) -> dict[str, Any]:
        """The answer that is not streamed."""


class Chat:
    """/v1/chat/completions"""

    last_chunk = "data: [DONE]\n\n"

    def __init__(self, body: dict[str, Any], context: Context) -> None:
        self.prompt = messages_text(body)
        limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        self.max_tokens = token_limit(body, limit)
        options = body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._facts = {
            "created": context.created,
            "model": context.model,
            "system_fingerprint": FINGERPRINT,
            "id": f"chatcmpl-demo-{context.serial}",
        }
        self._around_piece = ["", ""]

    def begin(self, prompt_count: int, cached_count: int) -> str:
        del prompt_count, cached_count
        # a token is the hot path: all of its event but the piece is written once
        self._around_piece = self._chunk([_delta({"content": "\0"})]).split(r'"\u0000"')
        return self._chunk([_delta({"role": "assistant", "content": None})])

    def token(self, piece: str) -> str:
        return json.dumps(piece).join(self._around_piece)

    def end(self, result: Result) -> str:
        last = [_delta({}, result.finish)]
        if not self._wants_usage:
            return self._chunk(last, timings=result.timings)
        return self._chunk(last) + self._chunk([], usage=result.usage, timings=result.timings)

    def whole(self, result: Result) -> dict[str, Any]:
        message = {"role": "assistant", "content": result.text}
        choice = {"finish_reason": result.finish, "index": 0, "message": message}
        facts = {"choices": [choice], **self._facts, "object": "chat.completion"}
        return {**facts, "usage": result.usage, "timings": result.timings}

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> str:
        return event({"choices": choices, **self._facts, "object": "chat.completion.chunk", **more})


class Completion:
    """/v1/completions"""

    last_chunk = "data: [DONE]\n\n"

    def __init__(self, body: dict[str, Any], context: Context) -> None:
        self.prompt = prompt_text(body)
        self.max_tokens = token_limit(body, "max_tokens")
        self._facts = {
            "created": context.created,
            "model": context.model,
            "system_fingerprint": FINGERPRINT,
            "object": "text_completion",
            "id": f"chatcmpl-demo-{context.serial}",
        }
        self._around_piece = ["", ""]

    def begin(self, prompt_count: int, cached_count: int) -> str:
        del prompt_count, cached_count
        self._around_piece = self._chunk("\0").split(r'"\u0000"')
        return ""

    def token(self, piece: str) -> str:
        return json.dumps(piece).join(self._around_piece)

    def end(self, result: Result) -> str:
        return self._chunk("", result.finish, usage=result.usage, timings=result.timings)

    def whole(self, result: Result) -> dict[str, Any]:
        choice = {"text": result.text, "index": 0, "logprobs": None, "finish_reason": result.finish}
        return {"choices": [choice], **self._facts, "usage": result.usage, "timings": result.timings}

    def _chunk(self, text: str, finish: str | None = None, **more: Any) -> str:
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
        return event({"choices": [choice], **self._facts, **more})


def event(value: Any, name: str = "") -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value)}\n\n" if name else f"data: {json.dumps(value)}\n\n"


def token_limit(body: dict[str, Any], key: str) -> int | None:
    """How many tokens are wanted at most; negative and absent are no limit."""
    limit = body.get(key)
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise Refusal(400, f"'{key}' must be an integer")
    return limit if limit >= 0 else None


def messages_text(body: dict[str, Any]) -> str:
    """All that was said in `messages`, in order."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refusal(400, "'messages' is required")
    return "\n".join(content_text(m.get("content")) if isinstance(m, dict) else _no_message() for m in messages)


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return " ".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def prompt_text(body: dict[str, Any]) -> str:
    """`prompt`: a string, or a list of strings or token numbers."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return " ".join(str(part) for part in prompt)
    if not isinstance(prompt, str):
        raise Refusal(400, "'prompt' is required")
    return prompt


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"finish_reason": finish, "index": 0, "delta": delta}


def _no_message() -> str:
    raise Refusal(400, "'messages' must hold objects")
