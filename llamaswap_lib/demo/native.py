"""Dialects beside OpenAI's completions: llama.cpp's own, OpenAI's responses, Anthropic's messages."""

from __future__ import annotations

from typing import Any

from llamaswap_lib.demo.dialects import Context, Result, content_text, event, messages_text, prompt_text, token_limit
from llamaswap_lib.demo.wire import Refusal


class Native:
    """/completion of llama.cpp: timings but no usage, and no [DONE]."""

    last_chunk = ""

    def __init__(self, body: dict[str, Any], context: Context) -> None:
        self.prompt = prompt_text(body)
        self.max_tokens = token_limit(body, "n_predict")
        self._model = context.model
        self._predicted = 0
        self._evaluated = 0

    def begin(self, prompt_count: int, cached_count: int) -> str:
        del cached_count
        self._evaluated = prompt_count
        return ""

    def token(self, piece: str) -> str:
        self._predicted += 1
        counts = {"tokens_predicted": self._predicted, "tokens_evaluated": self._evaluated}
        return event({"index": 0, "content": piece, "tokens": [], "stop": False, "id_slot": -1, **counts})

    def end(self, result: Result) -> str:
        return event({**self.whole(result), "content": ""})

    def whole(self, result: Result) -> dict[str, Any]:
        return {
            "index": 0,
            "content": result.text,
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self._model,
            "tokens_predicted": result.said_count,
            "tokens_evaluated": result.prompt_count,
            "prompt": self.prompt,
            "truncated": False,
            "stop_type": "limit" if result.finish == "length" else "eos",
            "stopping_word": "",
            "tokens_cached": result.prompt_count + result.said_count,
            "timings": result.timings,
        }


class Responses:
    """/v1/responses of OpenAI, as far as text goes."""

    last_chunk = ""

    def __init__(self, body: dict[str, Any], context: Context) -> None:
        self.prompt = _input_text(body)
        self.max_tokens = token_limit(body, "max_output_tokens")
        self._context = context
        self._id = f"resp_demo_{context.serial}"
        self._item_id = f"msg_demo_{context.serial}"

    def begin(self, prompt_count: int, cached_count: int) -> str:
        del prompt_count, cached_count
        response = {"id": self._id, "object": "response", "status": "in_progress"}
        item = {"content": [], "id": self._item_id, "role": "assistant", "status": "in_progress", "type": "message"}
        part = {"type": "output_text", "text": ""}
        return (
            _typed("response.created", response=response)
            + _typed("response.in_progress", response=response)
            + _typed("response.output_item.added", output_index=0, item=item)
            + _typed("response.content_part.added", output_index=0, content_index=0, item_id=self._item_id, part=part)
        )

    def token(self, piece: str) -> str:
        place = {"output_index": 0, "content_index": 0, "item_id": self._item_id}
        return _typed("response.output_text.delta", **place, delta=piece)

    def end(self, result: Result) -> str:
        place = {"output_index": 0, "content_index": 0, "item_id": self._item_id}
        item = self._item(result)
        return (
            _typed("response.output_text.done", **place, text=result.text)
            + _typed("response.content_part.done", **place, part=item["content"][0])
            + _typed("response.output_item.done", output_index=0, item=item)
            + _typed("response.completed", response=self.whole(result), timings=result.timings)
        )

    def whole(self, result: Result) -> dict[str, Any]:
        usage = {
            "input_tokens": result.prompt_count,
            "output_tokens": result.said_count,
            "total_tokens": result.prompt_count + result.said_count,
            "input_tokens_details": {"cached_tokens": result.cached_count},
        }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._context.created,
            "status": "completed",
            "model": self._context.model,
            "output": [self._item(result)],
            "usage": usage,
        }

    def _item(self, result: Result) -> dict[str, Any]:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": result.text}
        facts = {"type": "message", "status": "completed", "id": self._item_id, "role": "assistant"}
        return {**facts, "content": [part]}


class Messages:
    """/v1/messages of Anthropic, as far as text goes; cached tokens are not counted as input."""

    last_chunk = ""

    def __init__(self, body: dict[str, Any], context: Context) -> None:
        self.prompt = messages_text(body)
        self.max_tokens = token_limit(body, "max_tokens")
        self._facts = {"id": f"msg_demo_{context.serial}", "type": "message", "role": "assistant"}
        self._model = context.model

    def begin(self, prompt_count: int, cached_count: int) -> str:
        usage = {
            "cache_read_input_tokens": cached_count,
            "input_tokens": prompt_count - cached_count,
            "output_tokens": 0,
        }
        stop = {"stop_reason": None, "stop_sequence": None}
        message: dict[str, Any] = {**self._facts, "content": [], "model": self._model, **stop, "usage": usage}
        block = _typed("content_block_start", index=0, content_block={"type": "text", "text": ""})
        return _typed("message_start", message=message) + block

    def token(self, piece: str) -> str:
        return _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})

    def end(self, result: Result) -> str:
        delta = {"stop_reason": _stop_reason(result), "stop_sequence": None}
        return (
            _typed("content_block_stop", index=0)
            + _typed("message_delta", delta=delta, usage={"output_tokens": result.said_count})
            + _typed("message_stop")
        )

    def whole(self, result: Result) -> dict[str, Any]:
        usage = {
            "cache_read_input_tokens": result.cached_count,
            "input_tokens": result.prompt_count - result.cached_count,
            "output_tokens": result.said_count,
        }
        content = [{"type": "text", "text": result.text}]
        stop = {"stop_reason": _stop_reason(result), "stop_sequence": None}
        return {**self._facts, "content": content, "model": self._model, **stop, "usage": usage}


def _typed(kind: str, **fields: Any) -> str:
    return event({"type": kind, **fields}, kind)


def _stop_reason(result: Result) -> str:
    return "max_tokens" if result.finish == "length" else "end_turn"


def _input_text(body: dict[str, Any]) -> str:
    given = body.get("input")
    if isinstance(given, list):
        return "\n".join(content_text(item.get("content")) for item in given if isinstance(item, dict))
    if not isinstance(given, str):
        raise Refusal(400, "'input' is required")
    return given
