"""An engine with few machines, and a server on one of them: `python engine.py FOLDER SLOTS NAME`.

It waits until one of SLOTS is free, which are locks on files in FOLDER, then serves and says where. Until then it says
that it waits. A request with the word `hold` in it is answered once somebody writes into `go` in FOLDER, a FIFO. A
program of its own, without dependencies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = os.environ["LLAMASWAP_ANNOUNCE"]
LOCK = threading.Lock()
FOLDER, SLOTS, NAME = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if b"hold" in said:
            (FOLDER / "go").read_text()
        body = json.dumps({"name": NAME}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    do_GET = do_POST = handle_one  # noqa: N815


def take_slot() -> int:
    """The descriptor that holds it until the end of this process."""
    files = [os.open(FOLDER / f"slot-{number}", os.O_CREAT | os.O_RDWR, 0o600) for number in range(SLOTS)]
    for file in files:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
    print(f"LLAMASWAP_STATE={TOKEN} job of {NAME}, Resources", flush=True)
    taken: queue.Queue[int] = queue.Queue()
    is_done = threading.Event()
    for file in files:
        threading.Thread(target=await_slot, args=(file, taken, is_done), daemon=True).start()
    return taken.get()


def await_slot(file: int, taken: queue.Queue[int], is_done: threading.Event) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)
    with LOCK:
        if is_done.is_set():  # another one was free before
            fcntl.flock(file, fcntl.LOCK_UN)
        else:
            is_done.set()
            taken.put(file)


if __name__ == "__main__":
    slot = take_slot()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"LLAMASWAP_ADDRESS={TOKEN} http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
