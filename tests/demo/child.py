"""The demo as a child of a test: its output line by line, requests to it, and its end."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0
HELLO = {"messages": [{"role": "user", "content": "Hello there, my friend"}]}
ENDLESS = {**HELLO, "stream": True, "max_tokens": 90_000, "ignore_eos": True}


class DemoChild:
    """A running demo on a port of its own; leave it with `with`, which kills its whole group."""

    def __init__(self, *flags: str, command: tuple[str, ...] = ("-m", "llamaswap_lib.demo"), cwd: Path = ROOT) -> None:
        argv = (sys.executable, *command, "--port", "0", *flags)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=cwd, start_new_session=True)
        assert self.process.stdout is not None
        self._pipe = self.process.stdout.fileno()
        self._output = b""
        self.port = 0

    def __enter__(self) -> DemoChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_group()
        self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    # -- output and end --

    def says(self, start: str) -> str:
        """The next line of output that begins so; lines before it are skipped."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            line = self.read_to(b"\n").decode()
            if line.startswith(start):
                return line.rstrip("\n")
        raise AssertionError(f"says much, but not {start!r}")

    def read_to(self, end: bytes) -> bytes:
        """The output up to and including `end`."""
        while end not in self._output:
            assert self._read_some(), f"ended after {self._output[-500:]!r}, without {end!r}"
        head, _, self._output = self._output.partition(end)
        return head + end

    def read_bytes(self, count: int) -> bytes:
        while len(self._output) < count:
            assert self._read_some(), "ended too soon"
        data, self._output = self._output[:count], self._output[count:]
        return data

    def read_to_the_end(self) -> bytes:
        """All output until nobody holds the pipe any more."""
        while self._read_some():
            pass
        data, self._output = self._output, b""
        return data

    def is_pipe_open(self) -> bool:
        return not (select.select([self._pipe], [], [], 0)[0] and not os.read(self._pipe, 1))

    def _read_some(self) -> bool:
        assert select.select([self._pipe], [], [], DEADLINE)[0], f"silent after {self._output[-500:]!r}"
        data = os.read(self._pipe, 65536)
        self._output += data
        return bool(data)

    def listening(self) -> DemoChild:
        self.port = int(self.says("listening on ").rpartition(":")[2])
        return self

    def loaded(self) -> DemoChild:
        self.listening().says("model ")
        return self

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE)

    def kill_group(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # -- requests --

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def raw(self, data: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        client.sendall(data)
        return client

    def get(self, path: str) -> tuple[int, Any]:
        return self.request("GET", path)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        return self.request("POST", path, json.dumps(body).encode())

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer, on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def stream(self, path: str, body: dict[str, Any]) -> str:
        """A whole event stream."""
        connection = self.connect()
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}))
            response = connection.getresponse()
            assert response.headers["Content-Type"] == "text/event-stream"
            return response.read().decode()
        finally:
            connection.close()

    def open_stream(self, body: dict[str, Any] | None = None) -> socket.socket:
        """A client that has sent its request for a stream, and read nothing."""
        text = json.dumps(ENDLESS if body is None else body).encode()
        return self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    def stats_until(self, **wanted: int) -> dict[str, Any]:
        """GET /stats until it says what is wanted."""
        deadline = time.monotonic() + DEADLINE
        while True:
            _, stats = self.get("/stats")
            assert isinstance(stats, dict)
            if all(stats[name] == value for name, value in wanted.items()):
                return stats
            assert time.monotonic() < deadline, stats


def events(stream: str) -> list[Any]:
    """The data of each event; what is no JSON as text."""
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    return [json.loads(line) if line.startswith("{") else line for line in lines]


def read_all(client: socket.socket) -> bytes:
    """All until the other side closes, or resets."""
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data
