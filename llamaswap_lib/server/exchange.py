"""One request and its answer, as an endpoint sees them.

One thread at a time, the client's http thread or, while that sleeps, the pump. Guarantees: at most one answer; head and
body leave in one call; whether the connection is kept is decided when the head goes out, and told. After the head there
is no error page: `cut` ends the connection. A client that cannot be written to is `ClientGone`.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from llamaswap_lib.app import App
from llamaswap_lib.errors import ClientGone
from llamaswap_lib.net.sockets import reset_on_close
from llamaswap_lib.printable import bounded, in_quotes
from llamaswap_lib.runtime.hangup import POLL_RDHUP, HangUpWatch
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.server.request_reader import Intake
from llamaswap_lib.wire.cors_headers import allow
from llamaswap_lib.wire.headers import serialize_response
from llamaswap_lib.wire.heads import RequestHead, has_no_body
from llamaswap_lib.wire.target import as_location, split_target

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
REASONS = {status.value: status.phrase for status in HTTPStatus}
Headers = Iterable[tuple[str, str]]
MOST_METHOD_BYTES, MOST_PATH_BYTES, MOST_MESSAGE_BYTES = 32, 512, 4_096  # in the log


class Exchange:
    """One request, its client, and how far the answer is."""

    __slots__ = (
        "_intake",
        "_may_stay",
        "app",
        "client_ip",
        "closes",
        "head",
        "is_passthrough",
        "model",
        "path",
        "query",
        "reader",
        "selector",
        "sent_bytes",
        "sock",
        "status",
        "watch",
    )

    def __init__(
        self,
        app: App,
        head: RequestHead,
        sock: socket.socket,
        intake: Intake,
        watch: HangUpWatch,
        client_ip: str,
        may_stay: Callable[[], bool],
    ) -> None:
        self.app = app
        self.head = head
        self.sock = sock
        self.watch = watch  # to wait for something else while the client stays
        self.client_ip = client_ip
        self.path, self.query = split_target(head.target)  # as sent; the query with its question mark
        self.status = 0  # of the answer, once its head has gone out
        self.sent_bytes = 0  # of the answer's body, its chunked framing counted
        self.closes = not head.keep_alive
        self.selector = ""  # that chose the model
        self.model = ""  # that it came to
        self.reader = head.first.get("origin", "")  # the origin whose pages may read the answer, '' for none
        self.is_passthrough = False  # who may read the answer of a server is for that server alone to say
        self._intake = intake
        self._may_stay = may_stay

    @property
    def has_answered(self) -> bool:
        return self.status != 0

    def read_body(self, most_bytes: int | None = None) -> RequestBody:
        """The whole body of the request, `most_bytes` at most; raises HttpError or ClientGone. Its reader closes it."""
        try:
            return self._intake.read_body(most_bytes)
        except BaseException:
            self.closes = True  # where the next request begins is not known
            raise

    def warn(self, message: str, below: Sequence[str] = ()) -> None:
        """Leave a warning in the log, with the request and the model that it is about; `below` it, others' words."""
        method = in_quotes(self.head.method, MOST_METHOD_BYTES)
        path = in_quotes(decoded_path(self.path), MOST_PATH_BYTES)
        model = f" for {self.model}" if self.model else ""
        self.app.logs.log.warn(f'"{method} {path}"{model}: {bounded(message, MOST_MESSAGE_BYTES)}', below)

    # -- answering --

    def answer(self, status: int, body: bytes = b"", content_type: str = "", headers: Headers = ()) -> None:
        """Send a whole answer of our own."""
        if has_no_body(status):
            fields = [*headers]
        else:
            fields = [("Content-Type", content_type)] if content_type else []
            fields += [*headers, ("Content-Length", str(len(body)))]
        if self.head.method == "HEAD":
            body = b""
        fields.append(("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())))
        self.begin_own(status, fields, body)

    def begin_own(self, status: int, fields: Headers, body: bytes = b"") -> None:
        """Send the head of an answer of our own, and what there is of its body; `fields` have its framing."""
        lines = serialize_response(status, REASONS.get(status, ""), [*fields, *allow(self.reader)])
        self.begin(status, lines, body)

    def answer_json(self, value: Any, status: int = 200, headers: Headers = ()) -> None:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self.answer(status, body, JSON, headers)

    def answer_text(self, text: str, status: int = 200, headers: Headers = ()) -> None:
        self.answer(status, text.encode(), TEXT, headers)

    def redirect(self, status: int, location: str) -> None:
        """Send the client elsewhere on this host: to a path, perhaps with a query."""
        location = as_location(location)
        if self.head.method not in ("GET", "HEAD"):
            self.answer(status, headers=[("Location", location)])
            return
        href = location.replace("&", "&amp;").replace('"', "&#34;").replace("<", "&lt;").replace(">", "&gt;")
        body = f'<a href="{href}">{REASONS[status]}</a>.\n\n'.encode()
        self.answer(status, body, HTML, [("Location", location)])

    def begin(self, status: int, lines: str, body: bytes = b"") -> None:
        """Send a head of these lines, and what there is of the body, in one call.

        `lines`: the status line and the fields, the framing among them, but not Connection; they are not checked.
        """
        self._send_first(self.opening(status, lines, body))
        self.sent_bytes = len(body)

    def opening(self, status: int, lines: str, body: bytes) -> bytes:
        """What `begin` sends; whoever else sends it counts the bytes of the body itself."""
        if not self._may_stay():
            self.closes = True
        if self.closes:
            lines += "Connection: close\r\n"
        elif not self.head.minor:
            lines += "Connection: keep-alive\r\n"
        self.status = status
        return f"{lines}\r\n".encode("latin-1") + body

    def _send_first(self, data: bytes) -> None:
        """The same of a head and what follows it: for a client that has left before it there is no answer."""
        try:
            sent_bytes = self._send_now(data)
        except OSError:
            self.note_unseen()
            raise ClientGone from None
        if sent_bytes < len(data):
            self.send(data[sent_bytes:])

    def note_unseen(self) -> None:
        """The client had left before the head of its answer could be sent."""
        self.closes, self.status, self.sent_bytes = True, 0, 0

    def send(self, data: bytes) -> None:
        """Send bytes of the body, its framing included; blocks; raises ClientGone, also if the client takes nothing."""
        try:
            if (sent_bytes := self._send_now(data)) < len(data):
                self._send_slowly(memoryview(data)[sent_bytes:])
        except OSError:
            self.closes = True
            raise ClientGone from None
        self.sent_bytes += len(data)

    def await_room(self) -> None:
        """Block until the client takes more, or has left; raises ClientGone if it takes nothing for too long."""
        room = self._room()
        if not room.poll(0):
            try:
                self._stall(room)
            except OSError:
                self.closes = True
                raise ClientGone from None

    def _send_now(self, data: bytes | memoryview) -> int:
        """Send what the client takes at once; how many bytes that are."""
        try:
            return self.sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def _send_slowly(self, rest: memoryview) -> None:
        room = self._room()
        while rest:
            self._stall(room)
            rest = rest[self._send_now(rest) :]

    def _stall(self, room: select.poll) -> None:
        """Wait for the client to take something, while it may be cut off for others; raises OSError if it does not."""
        readers = self.app.pump.slow_readers
        readers.note_stall(self.sock)
        has_room = room.poll(self.app.limits.write_timeout * 1000)
        if not readers.note_end(self.sock) or not has_room:
            raise TimeoutError("the client takes nothing")

    def _room(self) -> select.poll:
        """Tells when the client takes more, or has left."""
        room = select.poll()
        room.register(self.sock, select.POLLOUT | POLL_RDHUP)
        return room

    def switch(self, lines: str) -> bytes:
        """Send the head of a 101: from here on the connection is not HTTP any more. What the client sent ahead."""
        self.closes = True
        self.status = 101
        ahead = self._intake.take_ahead()
        self._send_first(f"{lines}\r\n".encode("latin-1"))
        self.sent_bytes = 0
        return ahead

    def linger(self) -> None:
        """Let the client see our last word when its connection ends, though it still sends."""
        self._intake.is_unfinished = True

    def cut(self, *, reset: bool) -> None:
        """Break the answer off; where only its connection's end ends it, the client needs a reset to see that."""
        self.closes = True
        if reset:
            reset_on_close(self.sock)


def decoded_path(path: str) -> str:
    """A path without percent-encoding, for people and for look-ups."""
    return unquote(path, errors="replace") if "%" in path else path
