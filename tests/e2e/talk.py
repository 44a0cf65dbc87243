"""Clients: whole requests through `http.client`, and a socket that shows every byte and the moment it came."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

TIMEOUT = 60.0  # of every wait for what must come


@dataclass(frozen=True)
class Reply:
    """One whole answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def message(self) -> str:
        """What an error says."""
        message = self.json()["error"]["message"]
        assert isinstance(message, str)
        return message


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> Reply:
    """One request on a connection of its own, over TLS if there is a `context`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    if context is not None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT, context=context)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Cut(Exception):
    """The connection ended in the middle of an answer."""


class Wire:
    """One connection, as bytes."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Leave with a reset in place of a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, method: str, path: str, value: object = None, extra: str = "") -> None:
        """Send a request, with a JSON body unless `value` is None; `extra` is more header lines."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}"
        if value is None:
            self.send(f"{head}\r\n".encode())
            return
        body = json.dumps(value).encode()
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.send(head.encode() + body)

    # -- reading --

    def status(self) -> int:
        """Of the next answer; its head is read."""
        return int(self.head().split(" ", 2)[1])

    def read_head_and_first_chunk(self) -> bytes:
        """Of a 200 that streams; the chunk."""
        head = self.head()
        assert head.startswith("HTTP/1.1 200 "), head
        return self.chunk()

    def head(self) -> str:
        return self._take_to(b"\r\n\r\n").decode("latin-1")

    def answer(self) -> tuple[int, bytes]:
        """Status and body of an answer with a Content-Length."""
        head = self.head()
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        return int(head.split(" ", 2)[1]), self.exactly(int(length.partition(":")[2]))

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; b"" is its proper end."""
        size = int(self._take_to(b"\r\n").partition(b";")[0], 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunks(self) -> Iterator[bytes]:
        """All chunks to the proper end."""
        while data := self.chunk():
            yield data

    def chunks_of_answer(self) -> Iterator[bytes]:
        """The same, with the head in front."""
        assert self.status() == 200
        yield from self.chunks()

    def read_to(self, text: bytes) -> bytes:
        """Of a chunked body: as many chunks as it takes until `text` was in them."""
        data = b""
        while text not in data:
            piece = self.chunk()
            assert piece, f"ended without {text!r}: {data[-500:]!r}"
            data += piece
        return data

    def rest(self) -> bytes:
        """Everything until the other side closes, or resets."""
        data, self._received = self._received, b""
        try:
            while piece := self.sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        data, self._received = self._received[:count], self._received[count:]
        return data

    def _take_to(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        data, _, self._received = self._received.partition(end)
        return data

    def _receive(self) -> None:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError as reset:
            raise Cut(f"reset after {self._received!r}") from reset
        if not data:
            raise Cut(f"closed after {self._received!r}")
        self._received += data


def events(stream: bytes) -> list[Any]:
    """The data of each event of a stream; what is no JSON as text."""
    lines = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) if line.startswith("{") else line for line in lines]
