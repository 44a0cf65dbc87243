"""A server of a test's own, which answers each connection with the same bytes, or by its path."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from llamaswap_lib.client.connection import Server
from llamaswap_lib.client.shapes import Each, Maybe

TIMEOUT = 30.0
TLS_HANDSHAKE = b"\x16"


Answer = bytes | Mapping[str, bytes]  # by path; any other is 404
NO_PAGE = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\n404 page not found"


class Answering:
    """`heads` are those of the requests that came."""

    def __init__(self, answer: Answer, is_cut: bool, context: ssl.SSLContext | None) -> None:
        self._answer, self._is_cut, self._context = answer, is_cut, context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._socket.getsockname()[1]}"
        self.server = Server(self.url)
        self.heads: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # it is closed
                return
            with connection, suppress(OSError):  # its client may leave
                if self._context is None:
                    self._answer_one(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as encrypted:
                        self._answer_one(encrypted)

    def _answer_one(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        head = b""
        while b"\r\n\r\n" not in head and not head.startswith(TLS_HANDSHAKE) and (piece := connection.recv(65_536)):
            head += piece
        self.heads.append(head.decode("latin-1"))
        path = [*head.split(), b"", b""][1].decode("latin-1")
        by_path = {path: self._answer} if isinstance(self._answer, bytes) else self._answer
        connection.sendall(by_path.get(path) or by_path.get(path.partition("?")[0], NO_PAGE))
        if self._is_cut:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(TIMEOUT)


@contextmanager
def answering(answer: Answer, *, is_cut: bool = False, context: ssl.SSLContext | None = None) -> Iterator[Answering]:
    """`is_cut`: it ends each connection with a reset; `context` is for TLS."""
    server = Answering(answer, is_cut, context)
    try:
        yield server
    finally:
        server.close()


def reply(body: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole answer."""
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    return head.encode() + data


def emptiest(shape: Any, *, is_null: bool) -> Any:
    """A value of that shape (`client/shapes.py`): what may be null is that, or is missing where it may be missing."""
    if isinstance(shape, Maybe):
        return None
    if isinstance(shape, list):
        return [emptiest(shape[0], is_null=is_null)]
    if isinstance(shape, Each):
        return {"m": emptiest(shape.shape, is_null=is_null)}
    if isinstance(shape, type):
        return {str: "m", float: 1, bool: True}.get(shape)
    kept = {name: it for name, it in shape.items() if is_null or not isinstance(it, Maybe)}
    return {name: emptiest(it, is_null=is_null) for name, it in kept.items()}
