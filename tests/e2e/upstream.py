"""An upstream for tests: `python upstream.py PORT`. It echoes every request as JSON; below /odd it answers oddly.

With the header `X-Count` it tells the size and the checksum of a body of any size. The header `X-Answer` is the body
that it answers with (`\\n` stands for a line end); the body it got is then the answer's header `X-Body`. A program of
its own, without dependencies. With a file of key and certificate behind the port it speaks TLS.
"""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE_BYTES = 1 << 18
GZIPPED = gzip.compress(b"it was compressed")
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

# What /odd/NAME sends before it closes the connection.
ODD = {
    "nothing": b"",
    "no-http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half-a-head": HEAD + b"Content-Type: te",
    "two-lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhey",
    "length-and-chunked": HEAD + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "same-lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "line-feeds": CHUNKED.replace(b"\r\n", b"\n") + b"2 \nhi\n0\n\n",
    "short-body": HEAD + b"Content-Length: 100\r\n\r\nonly this",
    "bad-chunk": CHUNKED + b"5\r\nhello\r\n-1\r\nhello\r\n",
    "huge-chunk": CHUNKED + b"5\r\nhello\r\nffffffffffffffffff\r\nhello\r\n",
    "cut-chunks": CHUNKED + b"5\r\nhello\r\n5\r\nhel",
    "no-last-chunk": CHUNKED + b"5\r\nhello\r\n",
    "until-close": HEAD + b"Content-Type: text/plain\r\n\r\nall of it",
    "http-1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "large-head": HEAD + b"X-Large: " + b"x" * 300_000 + b"\r\nContent-Length: 2\r\n\r\nhi",
    "unasked-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "continue-first": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nhi",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "surplus": HEAD + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
    "gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED,
    "teapot": b"HTTP/1.1 418 I am a teapot\r\nX-Odd: yes\r\nContent-Length: 5\r\n\r\nshort",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    left = 0  # clients that left /ticks

    def handle_one(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers["X-Count"]:
            self._answer(json.dumps(self._count(length)).encode())
            return
        body = self.rfile.read(length)
        path = self.path.partition("?")[0]
        if answer := self.headers["X-Answer"]:
            self._answer(answer.replace("\\n", "\n").encode(), body.decode("latin-1"))
        elif path.startswith("/odd/"):
            self.wfile.write(ODD[path[5:]])
            self.close_connection = True
        elif path == "/silent":
            threading.Event().wait()
        elif path == "/ticks":
            self._tick()
        elif path == "/burst":
            self.wfile.write(CHUNKED + b"1f40\r\n" + b"x" * 8000 + b"\r\n")
            threading.Event().wait()
        elif path == "/goodbye":
            self._say_goodbye()
        elif path == "/left":
            self._answer(str(Handler.left).encode())
        elif path == "/drip":
            self._drip(int(self.path.partition("?")[2]))
        elif path == "/large":
            self._answer(b"x" * int(self.path.partition("?")[2]))
        else:
            told = {"method": self.command, "target": self.path, "headers": self.headers.items()}
            self._answer(json.dumps({**told, "body": body.decode("latin-1")}).encode())

    def _tick(self) -> None:
        """A stream without an end."""
        try:
            self.wfile.write(CHUNKED)
            while True:
                self.wfile.write(b"4\r\ntick\r\n")
                threading.Event().wait(0.005)
        except OSError:
            Handler.left += 1
            self.close_connection = True

    def _say_goodbye(self) -> None:
        """A body that TLS itself ends."""
        self.wfile.write(ODD["until-close"])
        self.close_connection = True
        try:
            self.connection.unwrap()
        except OSError:
            pass  # it did not wait for ours

    def _count(self, size: int) -> dict[str, int]:
        checksum = 0
        for start in range(0, size, PIECE_BYTES):
            checksum = zlib.crc32(self.rfile.read(min(PIECE_BYTES, size - start)), checksum)
        return {"size": size, "crc32": checksum}

    def _drip(self, count: int) -> None:
        """So many events and then silence, with nothing in the head that asks a proxy not to collect them."""
        self.wfile.write(CHUNKED)
        for number in range(count):
            self.wfile.write(b"c\r\ndata: %04d\n\n\r\n" % number)
        threading.Event().wait()

    def _answer(self, body: bytes, told: str = "") -> None:
        self.send_response(200)
        is_stream = body.startswith((b"data:", b"event:"))
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        if told:
            self.send_header("X-Body", told)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_PROPFIND = handle_one  # noqa: N815


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    if sys.argv[2:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
