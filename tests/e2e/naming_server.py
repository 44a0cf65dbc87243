"""A model's server for tests: `python naming_server.py PORT NAME`. Every byte that it answers says whose it is.

A POST with the JSON body {"model", "nonce", "pieces", "pause", "fill", "stream"} is answered with one JSON object that
names the model and the nonce, or with a stream of `pieces` events that do, `pause` seconds apart. `fill` is how often
the answer repeats the nonce; `sha256` is that of the body that came. An `Upgrade` to `lines` sends each line back with
the name in front. A request for another model is 400. `/health` answers `ok`. A program of its own, without
dependencies.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = sys.argv[2] if len(sys.argv) > 2 else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.headers["Upgrade"] == "lines":
            self._echo_lines()
        else:
            self._answer(200, b"ok")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        if asked["model"] != NAME:
            self._answer(400, f"{asked['model']} is not {NAME}".encode())
        elif asked.get("stream"):
            self._stream(asked)
        else:
            threading.Event().wait(asked["pause"])
            told = {"model": NAME, "nonce": asked["nonce"], "sha256": hashlib.sha256(body).hexdigest()}
            self._answer(200, json.dumps({**told, "fill": asked["nonce"] * asked["fill"]}).encode())

    def _stream(self, asked: dict[str, str | int | float]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(asked["pieces"])):
            piece = f"data: {NAME} {asked['nonce']} {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            threading.Event().wait(float(asked["pause"]))
        self.wfile.write(b"0\r\n\r\n")

    def _echo_lines(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "lines")
        self.end_headers()
        self.close_connection = True
        while line := self.rfile.readline():
            self.wfile.write(NAME.encode() + b" " + line)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # llamaswap hung up, as it does when its client leaves


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
