"""A server that gets stuck: `python stuck_server.py one|many [SECONDS] PORT`, with one thread for all or one for each
connection; it listens after so many seconds.

A request says in its JSON body what becomes of it: `{"sleep": S}` keeps its thread for so many seconds and is then
answered; `{"until": FILE}` and `{"burn": FILE}` keep it until there is the file, idle or busy; `{"drip": N}` is
answered with N pieces, one each 0.2 s, and with `"open": true` the end of the connection ends them; `{"fill": BYTES}`
is answered at once, with that much. SIGUSR1 hangs all threads for ever, as a driver does that never returns.
`/checks` tells how often `/health` was answered while another request was inside.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WAIT_FOR = threading.Event()  # nobody ever sets it
HANGS = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    inside = checks = 0

    def do_GET(self) -> None:
        self._hang_if_told()
        if self.path == "/checks":
            self._answer(str(Handler.checks).encode())
            return
        Handler.checks += Handler.inside > 0
        self._answer(b"ok")

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.inside += 1
        try:
            self._serve(told)
        finally:
            Handler.inside -= 1

    def _serve(self, told: dict[str, Any]) -> None:
        self._hang_if_told()
        HANGS.wait(told.get("sleep", 0))
        while "until" in told and not Path(told["until"]).exists():
            HANGS.wait(0.02)
        while "burn" in told and not Path(told["burn"]).exists():
            pass
        self._hang_if_told()
        if "drip" in told:
            self._drip(int(told["drip"]), is_open=bool(told.get("open")))
        else:
            self._answer(b"x" * int(told.get("fill", 2)))

    def _drip(self, count: int, *, is_open: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if is_open else b"Transfer-Encoding: chunked\r\n") + b"\r\n")
        for _ in range(count):
            HANGS.wait(0.2)
            self._hang_if_told()
            self.wfile.write(b"drip" if is_open else b"4\r\ndrip\r\n")
        self.wfile.write(b"" if is_open else b"0\r\n\r\n")
        self.close_connection = is_open or self.close_connection

    def _hang_if_told(self) -> None:
        if HANGS.is_set():
            WAIT_FOR.wait()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = "one" in sys.argv  # its one thread is to be there for the next one

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: HANGS.set())
    kind = HTTPServer if sys.argv[1] == "one" else ThreadingHTTPServer
    HANGS.wait(float(sys.argv[2]) if len(sys.argv) > 3 else 0)
    kind(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
