"""A model's server that says where it listens: `python announcing.py FIFO NAME`, told by lines in FIFO what to do.

`listen` opens a server on a port that the system chooses, `announce` prints its address with the token of this run,
`state TEXT` what it waits for, `say TEXT` prints a line, `close` ends the server that was opened first, and `post URL`
tells the address to llamaswap by a request. A program of its own, without dependencies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = os.environ["LLAMASWAP_ANNOUNCE"]


class Server(ThreadingHTTPServer):
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        assert isinstance(self.server, Server)
        body = json.dumps({"port": self.server.server_port, "name": sys.argv[2], "argv": sys.argv[3:]}).encode()
        if self.path != "/health":
            print(f"prompt: {said}", flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    do_GET = do_POST = handle_one  # noqa: N815


def obey(servers: list[Server], order: str, text: str) -> None:
    if order == "listen":
        servers.append(Server(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
    elif order == "say":
        print(text, flush=True)
    elif order == "state":
        print(f"LLAMASWAP_STATE={TOKEN} {text}", flush=True)
    elif order == "close":
        servers[0].shutdown()
        servers.pop(0).server_close()
    else:
        address = f"http://127.0.0.1:{servers[-1].server_port}"
        if order == "announce":
            print(f"LLAMASWAP_ADDRESS={TOKEN} {address}", flush=True)
        else:
            data = json.dumps({"address": address}).encode()
            urllib.request.urlopen(f"{text}/api/announce/{TOKEN}", data).close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    servers: list[Server] = []
    while True:
        with open(sys.argv[1]) as orders:  # noqa: PTH123 - a FIFO: each writer has its turn
            for line in orders:
                obey(servers, *line.rstrip("\n").partition(" ")[::2])
