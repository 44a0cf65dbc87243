"""A model's server for tests of the playground: `python talker.py PORT`. What it says depends on the last message.

`think` reasons and then writes Markdown, `tags` does so between <think> tags, `hostile` says what harms a page that
is careless, `slow` goes on until its client leaves, `fail` is 500 until it is asked for the third time, `break` breaks
off, `tool` calls one; anything else is echoed, with what else was sent. There are pictures, sounds and voices, too. A
program of its own, without dependencies.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SAMPLES = 800
WAV = (
    *(b"RIFF", (36 + SAMPLES).to_bytes(4, "little"), b"WAVEfmt ", (16).to_bytes(4, "little"), b"\1\0\1\0"),
    *((8000).to_bytes(4, "little"), (8000).to_bytes(4, "little"), b"\1\0\x08\0data", SAMPLES.to_bytes(4, "little")),
    b"\x80" * SAMPLES,
)
MARKDOWN = "## Result\n\n| a | b |\n|---|--:|\n| x | 1 |\n\n```python\nprint('hi')\n```\n\n- [x] done\n\n**end**"
HOSTILE = (
    *("<script>window.bad = 1</script><img src=x onerror='window.bad = 1'>", "\n\n[a](javascript:window.bad=1) "),
    *(
        "![b](https://example.org/track.png)\n\n",
        "\u202eturned\u2066\n\n",
        "[" * 100_000,
        "\n\n",
        "`" * 100_000,
        "\n\n",
    ),
    *(">" * 10_000, " deep\n\n", "- " * 10_000, "deep\n\n", "\n".join(" " * 2 * depth + "- a" for depth in range(700))),
    *("\n\n", "x" * 1_000_000, "\n\n", "\x1b[31mred\x1b[0m " * 20_000, "\n\n```js\n", "/*" * 100_000),
)
PAUSE = 0.02  # seconds between two pieces of `slow`
TIMES = 2  # that `fail` fails
FAILED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path.startswith("/v1/audio/voices"):
            self._json({"voices": ["alice", "bob"]})
        elif self.path.startswith("/sdapi/v1/loras"):
            self._json([{"name": "ink", "path": "ink.safetensors"}])
        else:
            self._json({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/audio/transcriptions":
            self._json({"text": f"heard {len(body) > SAMPLES}"})
            return
        asked = json.loads(body)
        if self.path == "/v1/images/generations":
            self._json({"data": [{"b64_json": DOT}] * asked["n"]})
        elif self.path == "/sdapi/v1/txt2img":
            self._json({"images": [DOT], "info": json.dumps(asked)})
        elif self.path == "/v1/audio/speech":
            self._answer(200, b"".join(WAV), "audio/wav")
        elif self.path == "/v1/chat/completions":
            self._chat(asked)
        else:
            self._json({"error": {"message": "no such route"}}, 404)

    def _chat(self, asked: dict[str, Any]) -> None:
        last = asked["messages"][-1]["content"]
        word = last if isinstance(last, str) else last[0]["text"]
        if word == "fail" and len(FAILED) < TIMES:
            FAILED.append(word)
            self._json({"error": {"message": "out of memory on <b>GPU 0</b>"}}, 500)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for delta in self._deltas(word, asked):
            self._event({"choices": [{"index": 0, "delta": delta}]})
        if word != "break":
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")

    def _deltas(self, word: str, asked: dict[str, Any]) -> Any:
        if word == "think":
            yield from ({"reasoning_content": piece} for piece in ("Let me ", "see."))
            yield from ({"content": MARKDOWN[at : at + 5]} for at in range(0, len(MARKDOWN), 5))
        elif word == "tags":
            yield from ({"content": piece} for piece in ("<thi", "nk>\nin ", "secret</th", "ink>\n\nin ", "public"))
        elif word == "hostile":
            yield from ({"content": piece} for piece in HOSTILE)
        elif word == "slow":
            pause = threading.Event()
            while not pause.wait(PAUSE):
                yield {"content": "word "}
        elif word == "break":
            yield {"content": "half an "}
        elif word == "tool":
            yield {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "weather", "arguments": '{"city":'}}]}
            yield {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]}
        else:
            yield {"content": "heard "}
            yield {"content": "`" + json.dumps(asked) + "`"}

    def _event(self, data: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not each request."""


if __name__ == "__main__":
    assert base64.b64decode(DOT)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
