"""The clients of churn: one of llama.cpp, and one that is another kind of client with every request.

Each checks its answers: that they are whole, and that they are those to its own request.
"""

from __future__ import annotations

import http.client
import json
import random
import select
import socket
from hashlib import sha256

from tests.e2e.churn import Answered
from tests.e2e.program import HELLO
from tests.e2e.talk import Cut, Wire, events

TIMEOUT = 120.0
CHAT = "/v1/chat/completions"


class LlamaClient:
    """Chats of random lengths on one kept-alive connection, streamed or not."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.close()

    def ask(self, number: int, model: str, choice: random.Random) -> Answered:
        tokens, is_stream = choice.randrange(1, 24), choice.random() < 0.5
        body = {"model": model, **HELLO, "max_tokens": tokens, "ignore_eos": True, "stream": is_stream}
        headers = {"Content-Type": "application/json", "User-Agent": f"churn-{number}"}
        self._connection.request("POST", CHAT, json.dumps(body), headers)
        answer = self._connection.getresponse()
        try:
            data = answer.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            return Answered("cut")
        if answer.status != 200:
            return refused(answer.status, data)
        check_tokens(data, is_stream, tokens)
        check_silence(self._connection.sock)
        return Answered("ok")


class AnyClient:
    """Each request by another kind of client: see `_KINDS`. They share a connection where both leave it open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: Wire | None = None

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def ask(self, number: int, model: str, choice: random.Random) -> Answered:
        if self._wire is None:
            self._wire = Wire(self._port)
            self._wire.sock.settimeout(TIMEOUT)
        asking = _Asking(self._wire, number, model, choice)
        try:
            return choice.choice(_KINDS)(asking)
        except (Cut, ConnectionResetError, BrokenPipeError):
            return Answered("cut")


class _Asking:
    """One request of one client."""

    def __init__(self, wire: Wire, number: int, model: str, choice: random.Random) -> None:
        self._wire = wire
        self._number = number
        self._model = model
        self._choice = choice
        self._nonce = f"n{number}-{choice.getrandbits(64):016x}"

    # -- kinds of clients --

    def plain(self) -> Answered:
        return self._whole(self._body())

    def with_a_large_body(self) -> Answered:
        return self._whole(self._body(pad="p" * self._choice.randrange(1 << 20, 3 << 20)))

    def with_a_body_in_chunks(self) -> Answered:
        body = self._body(pad="p" * self._choice.randrange(100_000))
        self._wire.send(self._head("Transfer-Encoding: chunked\r\n"))
        for start in range(0, len(body), 20_000):
            piece = body[start : start + 20_000]
            self._wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._wire.send(b"0\r\n\r\n")
        return self._read_whole(body)

    def on_a_connection_that_closes(self) -> Answered:
        answered = self._whole(self._body(), "Connection: close\r\n")
        if answered.kind == "ok":
            assert self._wire.rest() == b""
            return Answered("left")
        return answered

    def with_a_large_answer_read_slowly(self) -> Answered:
        self._wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        return self._whole(self._body(fill=20_000))

    def streaming(self) -> Answered:
        pieces = self._choice.randrange(1, 20)
        self._send(self._body(pieces=pieces, pause=0.01, stream=True))
        return self._read_stream(pieces)

    def leaving_at_once(self) -> Answered:
        self._send(self._body(pause=0.5))
        return Answered("left")

    def leaving_in_the_middle(self) -> Answered:
        self._send(self._body(pieces=50, pause=0.02, stream=True))
        head = self._wire.head()
        if " 200 " not in head:
            return self._read_error(head)
        self._wire.chunk()
        self._wire.reset()
        return Answered("left")

    def upgrading(self) -> Answered:
        head = f"GET /upstream/{self._model}/lines HTTP/1.1\r\nHost: x\r\nUser-Agent: churn-{self._number}\r\n"
        self._wire.send(f"{head}Connection: Upgrade\r\nUpgrade: lines\r\n\r\n".encode())
        answer = self._wire.head()
        if " 101 " not in answer:
            return self._read_error(answer)
        for line in range(self._choice.randrange(1, 10)):
            sent = f"{self._nonce} {line}\n".encode()
            self._wire.send(sent)
            expected = self._model.encode() + b" " + sent
            assert self._wire.exactly(len(expected)) == expected
        return Answered("left")

    # -- asking --

    def _body(self, *, pause: float = 0.0, fill: int = 1, **more: object) -> bytes:
        value = {"model": self._model, "nonce": self._nonce, "pieces": 0, "pause": pause, "fill": fill, **more}
        return json.dumps(value).encode()

    def _head(self, fields: str) -> bytes:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nUser-Agent: churn-{self._number}\r\n"
        return f"{head}Content-Type: application/json\r\n{fields}\r\n".encode()

    def _send(self, body: bytes, fields: str = "") -> None:
        self._wire.send(self._head(f"Content-Length: {len(body)}\r\n{fields}") + body)

    def _whole(self, body: bytes, fields: str = "") -> Answered:
        self._send(body, fields)
        return self._read_whole(body)

    # -- reading --

    def _read_whole(self, body: bytes) -> Answered:
        status, data = self._wire.answer()
        if status != 200:
            return refused(status, data)
        told = json.loads(data)
        assert (told["model"], told["nonce"]) == (self._model, self._nonce), "another request's answer"
        assert told["sha256"] == sha256(body).hexdigest(), "the body came changed"
        assert told["fill"].count(self._nonce) * len(self._nonce) == len(told["fill"]), "another's bytes in between"
        check_silence(self._wire.sock)
        return Answered("ok")

    def _read_stream(self, pieces: int) -> Answered:
        head = self._wire.head()
        if " 200 " not in head:
            return self._read_error(head)
        data = b"".join(self._wire.chunks())
        assert data == b"".join(f"data: {self._model} {self._nonce} {n}\n\n".encode() for n in range(pieces))
        check_silence(self._wire.sock)
        return Answered("ok")

    def _read_error(self, head: str) -> Answered:
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        return refused(int(head.split(" ", 2)[1]), self._wire.exactly(int(length.partition(":")[2])))


_KINDS = (
    *(_Asking.plain, _Asking.with_a_large_body, _Asking.with_a_body_in_chunks, _Asking.on_a_connection_that_closes),
    *(_Asking.with_a_large_answer_read_slowly, _Asking.streaming, _Asking.leaving_at_once),
    *(_Asking.leaving_in_the_middle, _Asking.upgrading),
)


def refused(status: int, body: bytes) -> Answered:
    """An error of ours, as JSON."""
    error = json.loads(body)["error"]
    return Answered(str(status), error["message"], error.get("retry_in") is not None)


def check_tokens(data: bytes, is_stream: bool, tokens: int) -> None:
    """The answer is whole, and that to this request: it has as many tokens as were asked for."""
    if is_stream:
        told = events(data)
        assert told[-1] == "[DONE]"
        assert told[-2]["timings"]["predicted_n"] == tokens
    else:
        assert json.loads(data)["usage"]["completion_tokens"] == tokens


def check_silence(sock: socket.socket | None) -> None:
    """Nothing comes behind the answer but the end of the connection."""
    if sock is not None and select.select([sock], [], [], 0)[0]:
        assert sock.recv(1) == b"", "an answer to nothing"
