"""A model's server for jobs: `python job_server.py HOST PORT NAME`, which tells who it is and how it is ended.

A program of its own, without dependencies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def handle_one(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = {"name": sys.argv[3], "node": os.environ.get("SLURMD_NODENAME"), "job": os.environ.get("SLURM_JOB_ID")}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    do_GET = do_POST = handle_one  # noqa: N815


def end(*_: object) -> None:
    print(f"{sys.argv[3]}: got SIGTERM, bye", flush=True)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
