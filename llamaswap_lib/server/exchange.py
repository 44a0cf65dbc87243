"""One request and its answer.

An exchange is the loop's, but while it has borrowed a handler thread; what stands under `# -- handler thread --` is for
that one. Guarantees: at most one answer; head and body leave in one call; whether the connection is kept is decided
when the head goes out, and told. After the head there is no error page: `cut` ends the connection. A client that cannot
be written to is `ClientGone`.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote, unquote

from llamaswap_lib.errors import ClientGone, HttpError
from llamaswap_lib.net.loop import Loop
from llamaswap_lib.printable import bounded, in_quotes
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.server.handler import Job, Waiting, Watch
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.server.trace import UNTRACED, Trace
from llamaswap_lib.wire.cors_headers import allow
from llamaswap_lib.wire.headers import serialize_response
from llamaswap_lib.wire.heads import WITHOUT_BODY, RequestHead
from llamaswap_lib.wire.target import as_location, split_target

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
REASONS = {status.value: status.phrase for status in HTTPStatus}
IN_HEADER = "!#$&'()*+,/:;=?@[] "  # what stands in our own header as it is, beside letters and digits
Headers = Iterable[tuple[str, str]]
MOST_METHOD_BYTES, MOST_PATH_BYTES, MOST_MESSAGE_BYTES = 32, 512, 4_096  # in the log

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a request goes by from its beginning to its end. A reload makes others, for those that begin after it."""

    serve: Callable[[Exchange], Awaitable[None]]  # answers an exchange; raises HttpError and ClientGone
    limits: Limits
    log: Logger
    via: str  # our entry of the Via header (RFC 9110, 7.6.3)


class Requests(Protocol):
    """What comes on the connection: a `RequestReader`."""

    started: float  # when the request in progress began, by the loop's clock

    def small_body(self, most_bytes: int) -> bytes | None:
        """The whole body of the request if it is here, and not larger; None if it has to be read."""

    async def read_body(self, head: RequestHead, most_bytes: int) -> RequestBody:
        """The body of the request in progress, once; raises HttpError and ClientGone."""

    def take_ahead(self) -> bytes:
        """What has come behind the request that was read, taken out."""


class Client(Protocol):
    """The connection that the request came on."""

    client_ip: str
    loop: Loop
    stream: socket.socket
    mask: int  # what the poller is asked about it
    job: Job | None  # what a handler thread does for the exchange now
    resume: Callable[[Any], object]  # the life of the connection, which waits
    on_room: Callable[[int], object]  # called when the client takes more, while it is stalled

    @property
    def requests(self) -> Requests: ...

    def set_deadline(self, seconds: float | None) -> None:
        """Be resumed with DUE then; None: not."""

    is_gone: bool  # the client has left

    def fail(self, error: Exception) -> None:
        """Something of ours, or of our machine, broke while its exchange was served: it is raised where that waits."""

    def check_client(self) -> None:
        """Raise ClientGone if the client has left."""

    def stall(self) -> None:
        """The client takes nothing: `on_room` is called when it does, and the life resumed with DUE if it does not."""

    def end_stall(self) -> None: ...
    def awaiting_answer(self) -> AbstractContextManager[None]:
        """Meanwhile a client that ends its direction has not left."""

    def note_stall(self) -> None:
        """Only that others know of it."""

    def note_room(self) -> None: ...

    def send_now(self, data: bytes) -> int:
        """How many bytes of it the client took at once; raises ClientGone."""

    async def send(self, data: bytes | memoryview) -> None: ...
    async def room(self) -> None: ...
    async def in_thread(self, function: Callable[[], _T]) -> _T: ...

    def may_stay(self) -> bool:
        """Whether another request may follow the one in progress."""

    def cancel(self) -> None: ...
    def linger(self) -> None: ...
    def reset_on_close(self) -> None: ...
    def follow(self, *, follows: bool) -> None: ...


class HeadMemo:
    """What was found out about a head: it holds for the next request of the connection too, if that has the same one.

    Every byte of the head is the same then, but for the digits of its Content-Length.
    """

    def __init__(self, settings: Settings, generation: int, head: RequestHead) -> None:
        self.settings = settings  # that it holds for
        self.generation = generation  # of the cache of heads
        self.path, self.query = split_target(head.target)  # as sent; the query with its question mark
        self.reader = head.first.get("origin", "")  # the origin whose pages may read the answer, '' for none
        self.serve: Callable[[Exchange], Awaitable[None]] | None = None  # what answers, once that is known
        self.caller: object = None  # who asks, as far as the head tells, once that is known
        self.log_texts: tuple[str, str] | None = None  # of the access log
        self.sent_on_for: object = None  # to whom, and as what, the head was sent on
        self.sent_on = b"", b""  # how: what stands before and behind the length of the body


class Exchange:
    """One request, its client, and how far the answer is."""

    # What most requests leave as it is costs them nothing.
    selector = ""  # that chose the model
    model = ""  # that it came to
    fallback = ""  # the model that is asked in place of the one that the request is for
    status = 0  # of the answer, once its head is made
    whole = b""  # a whole answer that is made, and not sent yet
    reply = b""  # the same of our own, also when it is sent
    sent_bytes = 0  # of the answer's body, its chunked framing counted
    trace: Trace = UNTRACED  # another one for a request to a model
    failure: HttpError | None = None  # what went wrong
    has_lost_client = False  # it left, or was made to, before it had all of its answer
    is_passthrough = False  # who may read the answer of a server is for that server alone to say

    def __init__(self, settings: Settings, head: RequestHead, client: Client, memo: HeadMemo) -> None:
        self.settings = settings
        self.head = head
        self.client = client
        self.memo = memo
        self.path, self.query = memo.path, memo.query
        self.closes = not head.keep_alive
        self.reader = memo.reader

    def replace_head(self, head: RequestHead) -> None:
        """Go on with another one, about which nothing was found out."""
        self.head = head
        self.memo = HeadMemo(self.settings, 0, head)

    @property
    def has_answered(self) -> bool:
        return self.status != 0

    def warn(self, message: str, below: Sequence[str] = ()) -> None:
        """Leave a warning in the log, with the request and the model that it is about; `below` it, others' words."""
        method = in_quotes(self.head.method, MOST_METHOD_BYTES)
        path = in_quotes(decoded_path(self.path), MOST_PATH_BYTES)
        model = f" for {self.model}" if self.model else ""
        self.settings.log.warn(f'"{method} {path}"{model}: {bounded(message, MOST_MESSAGE_BYTES)}', below)

    # -- a whole answer of our own, sent when the endpoint has returned: either thread --

    def answer(self, status: int, body: bytes = b"", content_type: str = "", headers: Headers = ()) -> None:
        if status in WITHOUT_BODY:
            fields = [*headers]
        else:
            fields = [("Content-Type", content_type)] if content_type else []
            fields += [*headers, ("Content-Length", str(len(body)))]
        if self.head.method == "HEAD":
            body = b""
        fields.append(("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())))
        self.reply = self.whole = self.opening(status, self._own_lines(status, fields), body)
        self.sent_bytes = len(body)

    def answer_json(self, value: Any, status: int = 200, headers: Headers = ()) -> None:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self.answer(status, text.encode("utf-8", "backslashreplace"), JSON, headers)  # half a character: \ud800

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

    def _own_lines(self, status: int, fields: Headers) -> str:
        return serialize_response(status, REASONS.get(status, ""), [*fields, *allow(self.reader)])

    def opening(self, status: int, lines: str, body: bytes) -> bytes:
        """The head of an answer and what there is of its body, to be sent next.

        `lines`: the status line and the fields, the framing among them, but not Connection; they are not checked.
        """
        if not self.client.may_stay():
            self.closes = True
        if self.fallback:  # as in a path: a name may have any character
            lines += f"X-Llamaswap-Fallback: {quote(self.fallback, safe=IN_HEADER)}\r\n"
        if self.closes:
            lines += "Connection: close\r\n"
        elif not self.head.minor:
            lines += "Connection: keep-alive\r\n"
        self.status = status
        return f"{lines}\r\n".encode("latin-1") + body

    def note_unseen(self) -> None:
        """The client had left before the head of its answer could be sent: for it there is none."""
        self.closes, self.status, self.sent_bytes = True, 0, 0

    def cut(self, *, reset: bool) -> None:
        """Break the answer off; where only its connection's end ends it, the client needs a reset to see that."""
        self.closes = True
        if reset:
            self.client.reset_on_close()

    # -- handler thread --

    @property
    def watch(self) -> Watch:
        """To wait for something else while the client stays."""
        return self._job.watch

    def wait_for(self, waiting: Waiting) -> None:
        """Block until it is over; raises ClientGone."""
        self.trace.ticket = waiting.ticket
        self.watch.wait_for(waiting)

    @property
    def _job(self) -> Job:
        job = self.client.job
        assert job is not None, "no handler thread serves the exchange"
        return job

    def read_body(self, most_bytes: int | None = None) -> RequestBody:
        """The whole body of the request, `most_bytes` at most; blocks; raises HttpError or ClientGone.

        Its reader closes it.
        """
        return self.on_loop(lambda: self.receive_body(most_bytes))

    def on_loop(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Have the loop run the coroutine that `make` makes; blocks; what it returns, and raises what it raises."""
        return cast(_T, self._job.on_loop(make))

    def begin_own(self, status: int, fields: Headers, body: bytes = b"") -> None:
        """Send the head of an answer of our own, and what there is of its body; `fields` have its framing. Blocks."""
        opening = self.opening(status, self._own_lines(status, fields), body)
        self.on_loop(lambda: self.write_first(opening, len(body)))

    def send(self, data: bytes) -> None:
        """Send bytes of the body, its framing included; blocks; raises ClientGone, also if the client takes nothing."""
        self.on_loop(lambda: self.write(data))

    def follow(self, *, follows: bool) -> None:
        """Its client follows something that never ends by itself, or not any more: it may be cut off for others."""
        self.client.loop.call(lambda: self.client.follow(follows=follows))

    # -- loop thread --

    async def receive_body(self, most_bytes: int | None = None) -> RequestBody:
        """The whole body of the request, `most_bytes` at most; raises HttpError or ClientGone."""
        try:
            return await self.client.requests.read_body(
                self.head, self.settings.limits.max_body_bytes if most_bytes is None else most_bytes
            )
        except BaseException:
            self.closes = True  # where the next request begins is not known
            raise

    async def write_first(self, opening: bytes, body_bytes: int) -> None:
        """Send what `opening` gave, with so many bytes of the body; raises ClientGone."""
        self.sent_bytes = 0
        try:
            taken_bytes = self.client.send_now(opening)
        except ClientGone:
            self.note_unseen()
            raise
        if taken_bytes < len(opening):
            await self.client.send(memoryview(opening)[taken_bytes:])
        self.sent_bytes = body_bytes

    async def write(self, data: bytes) -> None:
        """Send bytes of the body, its framing included; raises ClientGone, also if the client takes nothing."""
        await self.client.send(data)
        self.sent_bytes += len(data)

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Have a handler thread call it; raises what it raises, and ClientGone where no thread was borrowed yet."""
        return await self.client.in_thread(function)


def decoded_path(path: str) -> str:
    """A path without percent-encoding, for people and for look-ups."""
    return unquote(path, errors="replace") if "%" in path else path
