"""A model's server that calls the first tool it is offered, once: `python tool_server.py PORT`.

It stands in for a model that can call tools, which the demo models cannot: chat completions and messages, streamed or
whole.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ARGUMENTS = {"city": "Oslo"}
DONE = "this is tools"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("application/json", b'{"status": "ok"}')

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = message if self.path.startswith("/v1/messages") else completion
        kind, text = answer(asked, tool_of(asked))
        self._answer(kind, text.encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def tool_of(asked: dict[str, Any]) -> str | None:
    """The tool to call: none where its result is there already."""
    last = asked["messages"][-1]
    if not asked.get("tools") or last["role"] == "tool" or "tool_result" in json.dumps(last["content"]):
        return None
    tool = asked["tools"][0]
    return str(tool.get("function", tool)["name"])


def events(*items: tuple[str, dict[str, Any]]) -> str:
    """Server-sent events; a name of '' is none."""
    return "".join((f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n" for name, data in items)


def completion(asked: dict[str, Any], tool: str | None) -> tuple[str, str]:
    """/v1/chat/completions"""
    head = {"id": "c1", "created": 1, "model": asked["model"]}
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps(ARGUMENTS)}}
    said: dict[str, Any] = {"role": "assistant", "content": None if tool else DONE}
    finish = "tool_calls" if tool else "stop"
    if not asked.get("stream"):
        choice = {"index": 0, "message": {**said, **({"tool_calls": [call]} if tool else {})}, "finish_reason": finish}
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        return "application/json", json.dumps(whole)
    head["object"] = "chat.completion.chunk"
    delta = {**said, **({"tool_calls": [{"index": 0, **call}]} if tool else {})}
    first = {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    usage = {**head, "choices": [], "usage": USAGE}
    return "text/event-stream", events(("", first), ("", last), ("", usage)) + "data: [DONE]\n\n"


def message(asked: dict[str, Any], tool: str | None) -> tuple[str, str]:
    """/v1/messages"""
    call = {"type": "tool_use", "id": "toolu_1", "name": tool}
    content = {**call, "input": ARGUMENTS} if tool else {"type": "text", "text": DONE}
    reason = "tool_use" if tool else "end_turn"
    usage = {"input_tokens": 1, "output_tokens": 1}
    whole = {"id": "m1", "type": "message", "role": "assistant", "model": asked["model"], "content": [content],
             "stop_reason": reason, "stop_sequence": None, "usage": usage}  # fmt: skip
    if not asked.get("stream"):
        return "application/json", json.dumps(whole)
    begun = {**call, "input": {}} if tool else {"type": "text", "text": ""}
    arguments = {"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}
    told = [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": arguments if tool else {"type": "text_delta", "text": DONE},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return "text/event-stream", events(*((str(event["type"]), event) for event in told))


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
