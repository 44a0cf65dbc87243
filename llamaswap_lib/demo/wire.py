"""HTTP/1.1 of the demo, pure: bytes to requests, answers to bytes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1 << 30
LAST_CHUNK = b"0\r\n\r\n"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
KINDS = {404: "not_found_error", 503: "unavailable_error", 500: "server_error"}


class Refusal(Exception):
    """What the client is told: a status and an error body in OpenAI's shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def answer(self) -> bytes:
        """The whole answer; like llama-server's it ends the connection."""
        error = {"message": str(self), "type": KINDS.get(self.status, "invalid_request_error"), "code": self.status}
        return answer({"error": error}, status=self.status, keep_alive=False)


class Request(NamedTuple):
    """One request with its whole body."""

    method: str
    target: str
    minor: int
    headers: tuple[tuple[str, str], ...]  # names as sent
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def get(self, name: str) -> str:
        """The first value of a header, "" without one; the name in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def keep_alive(self) -> bool:
        connection = self.get("connection").lower()
        return "close" not in connection and (self.minor == 1 or "keep-alive" in connection)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, or a refusal."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refusal(400, "the body is no JSON object")
        return value


def parse_head(data: bytes) -> Request:
    """A request without its body, from a head including its empty line."""
    try:
        lines = data[:-4].decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ")
        pairs = [line.partition(":") for line in lines[1:]]
    except ValueError as error:
        raise Refusal(400, "malformed request line") from error
    if version not in ("HTTP/1.0", "HTTP/1.1") or not all(colon for _, colon, _ in pairs):
        raise Refusal(400, "malformed head")
    headers = tuple((name, value.strip()) for name, _, value in pairs)
    return Request(method, target, int(version[-1]), headers, b"")


def body_length(head: Request) -> int:
    """Of a body that is not chunked."""
    text = head.get("content-length") or "0"
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, "malformed Content-Length")
    if len(text) > 12 or int(text) > MAX_BODY_BYTES:
        raise Refusal(413, "the body is too large")
    return int(text)


class ChunkedBody:
    """A chunked request body as it comes in."""

    def __init__(self) -> None:
        self.body = bytearray()
        self._size: int | None = None  # of the chunk that has begun

    def feed(self, data: bytearray) -> bool:
        """Take from the front of `data` what belongs to it; True when that was the end."""
        while True:
            if self._size is None and not self._begin_chunk(data):
                return False
            if self._size == 0:
                return self._skip_trailer(data)
            size = self._size or 0
            if len(data) < size + 2:
                return False
            self.body += data[:size]
            del data[: size + 2]
            self._size = None

    def _begin_chunk(self, data: bytearray) -> bool:
        end = data.find(b"\r\n")
        if end < 0:
            return False
        digits = bytes(data[:end]).partition(b";")[0].strip()
        if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
            raise Refusal(400, "malformed chunk size")
        self._size = int(digits, 16)
        if self._size > MAX_BODY_BYTES - len(self.body):
            raise Refusal(413, "the body is too large")
        del data[: end + 2]
        return True

    def _skip_trailer(self, data: bytearray) -> bool:
        while (end := data.find(b"\r\n")) > 0:
            del data[: end + 2]
        if end == 0:
            del data[:2]
        return end == 0


def answer(
    value: Any, *, status: int = 200, content_type: str = "application/json; charset=utf-8", keep_alive: bool = True
) -> bytes:
    """Head and body; `value` is text, or anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    body = text.encode()
    close = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nServer: llamaswap demo\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{close}\r\n"
    )
    return head.encode("latin-1") + body


def stream_head(keep_alive: bool) -> bytes:
    """The head of a chunked event stream."""
    close = b"" if keep_alive else b"Connection: close\r\n"
    return (
        b"HTTP/1.1 200 OK\r\nServer: llamaswap demo\r\nX-Accel-Buffering: no\r\n"
        b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n" + close + b"\r\n"
    )


def chunk(data: str) -> bytes:
    """One chunk of a chunked body."""
    encoded = data.encode()
    return b"%x\r\n%b\r\n" % (len(encoded), encoded)
