"""A model's server for tests, and a program beside it, that hold memory: `python holder.py PORT MB`.

As a server it answers every request with 200, `GET /hold/MB` once it holds so much in all. With port 0 it is no server:
it reads sizes from stdin, a line each, and says `ok` when it holds that much.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

held = [b""]


def hold(megabytes: int) -> None:
    held[0] = b""
    held[0] = b"\1" * (megabytes << 20)


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        if self.path.startswith("/hold/"):
            hold(int(self.path.removeprefix("/hold/")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


Handler.do_GET = Handler.answer  # type: ignore[attr-defined]


if __name__ == "__main__":
    port, size = map(int, sys.argv[1:3])
    hold(size)
    if port:
        ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
    for line in sys.stdin:
        hold(int(line))
        print("ok", flush=True)
