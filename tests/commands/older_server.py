"""A server that has few of our routes, as an earlier version or llama-swap: what runs, models, and a log."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUNNING = {"running": [{"model": "m", "state": "ready", "cmd": "serve", "proxy": "http://localhost:1", "ttl": 0}]}
HISTORY = b"one\ntwo\n\xe2\x80\x94 12 bytes dropped \xe2\x80\x94\nthree\nunfin"


class OlderServer(ThreadingHTTPServer):
    """`later` is what its log says once `goes_on` is set; the log ends with the server."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.goes_on, self.ends = threading.Event(), threading.Event()
        self.later = b"ished\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OlderServer

    def do_GET(self) -> None:
        if self.path.startswith("/logs/stream"):
            self._log()
        elif self.path == "/running":
            self._answer(200, json.dumps(RUNNING))
        else:
            self._answer(404, "404 page not found")

    def _log(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(HISTORY)
        while not self.server.ends.is_set():
            if self.server.goes_on.wait(0.05):
                self._chunk(self.server.later)
                self.server.ends.wait()
        self.close_connection = True
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def older_server() -> Iterator[OlderServer]:
    server = OlderServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.ends.set()
        server.shutdown()
        server.server_close()
        thread.join()
