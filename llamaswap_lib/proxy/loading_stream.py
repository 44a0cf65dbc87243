"""`sendLoadingState`: a client that waits for a stream is told, in that stream, how far its model is.

The http thread of the client runs it while it waits for its lease; nobody else is held up, and a request that does not
wait costs nothing. Guarantees: the head goes out as soon as it is known that there is a wait, and no sooner: what fails
at once keeps its status; what is told is well-formed (chat completion chunks with `reasoning_content`), told when it
changes and at most once a second; where nothing changes, a comment keeps proxies from giving up. A client that hangs up
is noticed as in any other wait. Whatever fails once the stream has begun is an `error` event in it, and its proper end.
"""

from __future__ import annotations

import json
import select
import time
from typing import Any

from llamaswap_lib.config.schema import Model
from llamaswap_lib.errors import HttpError
from llamaswap_lib.proxy.continuation import Continuation
from llamaswap_lib.proxy.progress import LastLine
from llamaswap_lib.proxy.relay import Relay, next_upstream
from llamaswap_lib.proxy.upstream_request import NoAnswer
from llamaswap_lib.runtime.interfaces import TicketView, Upstream, Waiting
from llamaswap_lib.runtime.log_monitor import Subscription
from llamaswap_lib.server.answers import tell_log
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody
from llamaswap_lib.wire.chunked import LAST_CHUNK, chunk_of
from llamaswap_lib.wire.json_edit import Names, load_object

STREAM = Names(("stream",))
CHAT = "/v1/chat/completions"
OUTPUT_BYTES = 16_384  # of the process's output since the last look: enough for its last line
QUIET_LOOK = 0.05  # seconds: what is over by then is answered as if it had not waited
COMMENT = b": still waiting\n\n"


def is_told(exchange: Exchange) -> bool:
    """Whether `relay_telling` is the way to serve this exchange, where its model tells at all."""
    return exchange.path == CHAT and not exchange.head.upgrade


def relay_telling(exchange: Exchange, model: Model, path: str, query: str, body: OutgoingBody) -> None:
    """As `relay`, but if a stream was asked for and has to wait, it begins at once and tells what is waited for."""
    story = Story(exchange, model, body)
    try:
        lease = exchange.app.controller.lease(model.id, story.wait)
        with lease as upstream:
            try:
                story.go_on(upstream, path, query)
            except NoAnswer as no_answer:
                if exchange.has_answered and not no_answer.was_cut:
                    raise
                story.go_on(next_upstream(lease, no_answer), path, query)
    except HttpError as error:
        if not exchange.has_answered:
            raise
        story.fail(error)


class Story:
    """What one client is told while it waits, and has been told so far."""

    __slots__ = (
        "_body",
        "_created",
        "_exchange",
        "_last_line",
        "_model",
        "_spoke_at",
        "_started_at",
        "_state",
        "_ticket",
    )

    def __init__(self, exchange: Exchange, model: Model, body: OutgoingBody) -> None:
        self._exchange = exchange
        self._model = model
        self._body = body
        self._state = ""
        self._last_line = LastLine()
        self._started_at = self._spoke_at = exchange.app.clock()
        self._created = int(time.time())
        self._ticket = 0

    def wait(self, waiting: Waiting) -> None:
        """Block until the wait is over, and tell meanwhile; raises ClientGone."""
        app, watch, fd = self._exchange.app, self._exchange.watch, waiting.fileno()
        if not _asks_for_stream(self._body):
            while not watch.wait(fd, select.POLLIN):
                pass
            return
        self._ticket = waiting.ticket
        with app.logs.model(self._model.id).subscribe(history=False, capacity_bytes=OUTPUT_BYTES) as output:
            if self._is_over_soon(fd, output):
                return
            self._begin()
            while not watch.wait(fd, select.POLLIN, app.limits.telling_interval):
                self._tell_changes(output)

    def _is_over_soon(self, fd: int, output: Subscription) -> bool:
        """Block until we are seen to wait for a load (False), or need not wait any more.

        Who lost a run stands in no queue until that run is known to be dead; it may yet live, which is a plain error.
        """
        while not self._exchange.watch.wait(fd, select.POLLIN, QUIET_LOOK):
            if self._find_ticket():
                return False
            output.take()  # it is about an earlier run
        return True

    def go_on(self, upstream: Upstream, path: str, query: str) -> None:
        """Have the upstream serve the exchange, in the stream that has begun if one has."""
        kind = Relay
        if self._exchange.has_answered:
            self._tell_ready()
            kind = Continuation
        kind(self._exchange, self._model, upstream.run_id, upstream.proxy, self._body).run(path, query)

    def _tell_ready(self) -> None:
        seconds = self._exchange.app.clock() - self._started_at
        self._send(self._chunk(f"{self._model.id} is ready after {seconds:.1f} s\n\n"))

    def fail(self, error: HttpError) -> None:
        """Say what went wrong, and end the stream in good order."""
        tell_log(self._exchange, error)
        self._send(b"event: error\n" + _event(error.body()))
        if self._exchange.head.minor:
            self._exchange.send(LAST_CHUNK)

    def _begin(self) -> None:
        """Send the head, and which model is waited for."""
        exchange = self._exchange
        headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")]
        if exchange.head.minor:
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            exchange.closes = True
        self._state = self._describe(self._find_ticket())
        first = self._framed(self._chunk(f"{self._state}\n"))
        exchange.begin_own(200, headers, first)

    def _tell_changes(self, output: Subscription) -> None:
        ticket, text = self._find_ticket(), ""
        line = self._last_line.feed(output.take())
        if ticket is not None and (state := self._describe(ticket)) != self._state:
            self._state = state
            text = f"{state}\n"
        if line and (ticket is None or ticket.reason == "loading"):  # else it is about an earlier run
            text += f"{line}\n"
        if text:
            self._send(self._chunk(text))
        elif self._exchange.app.clock() - self._spoke_at >= self._exchange.app.limits.silence_timeout:
            self._send(COMMENT)

    def _find_ticket(self) -> TicketView | None:
        """Our place in the queue, None once we are through it."""
        tickets = self._exchange.app.controller.tickets()
        return next((ticket for ticket in tickets if ticket.ticket == self._ticket), None)

    def _describe(self, ticket: TicketView | None) -> str:
        if ticket is None or (ticket.reason == "loading" and ticket.place == 1):
            return f"Loading {self._model.id}"
        return f"Place {ticket.place} in the queue for {self._model.id}: {ticket.reason}"

    def _chunk(self, text: str) -> bytes:
        """`text` as a chat completion chunk; without a role, which the answer's own first chunk brings."""
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        value = {
            "id": f"chatcmpl-loading-{self._ticket}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model.id,
            "choices": [choice],
        }
        return _event(value)

    def _send(self, data: bytes) -> None:
        self._exchange.send(self._framed(data))
        self._spoke_at = self._exchange.app.clock()

    def _framed(self, data: bytes) -> bytes:
        return chunk_of(data) if self._exchange.head.minor else data


def _event(value: dict[str, Any]) -> bytes:
    """Without `ensure_ascii=False`: no line separator of Unicode may end the line for anybody."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _asks_for_stream(body: OutgoingBody) -> bool:
    """Whether the body as it is sent on asks for a stream."""
    try:
        return load_object(body.read(), STREAM)[0].get("stream") is True
    except ValueError:
        return False
