"""A model's server that answers as the question says, for what a demo model does not do: `talking_server.py PORT`.

The last words of the question are the order: `thinks`, `tags`, `escapes`, `breaks`, `whole`, `fails`, `told`, `slow`.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[1;1Hup\x08\x08 and\r\n\tfamily \U0001f468‍\U0001f469 caf\xe9\xa0"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = asked["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        order = text.split()[-1] if text.split() else "told"
        if order == "whole":
            self._send(200, {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]})
        elif order == "fails":
            self._send(400, {"error": {"message": "the context is too small"}})
        elif order == "strict" or (order == "story" and "ignore_eos" in asked):
            self._send(422, {"error": {"message": "unknown field"}})
        else:
            self._stream(order, asked)

    def _stream(self, order: str, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if order == "thinks":
            self._deltas({"reasoning_content": "Let me "}, {"reasoning_content": "see."}, {"content": "\n\nYes."})
        elif order == "tags":
            self._deltas({"content": "<thi"}, {"content": "nk>\nhm</th"}, {"content": "ink>\n\nNo."})
        elif order == "escapes":
            self._deltas({"content": ESCAPES})
        elif order == "slow":
            self._deltas({"content": "one "}, {"content": "two "})
            threading.Event().wait(60)
        else:
            self._deltas({"content": json.dumps(asked)})
        if order == "breaks":
            self.close_connection = True
            return
        self._write(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        self.wfile.write(b"0\r\n\r\n")

    def _deltas(self, *deltas: dict[str, str]) -> None:
        for delta in deltas:
            self._write(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode())

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
