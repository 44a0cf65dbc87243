"""`sendLoadingState`: a client that waits for a stream is told, in that stream, how far its model is.

A handler thread tells it while it waits for the lease; a request that does not wait costs nothing. What the upstream
then says goes on in that stream, on the loop: its events byte for byte, in a framing that continues ours; a chat
completion that came whole as a stream of one chunk; any other answer that is no stream of events is an error.
Guarantees: the head goes out as soon as a process is seen to load, however short that is, or a wait of another kind
has lasted for `telling_delay`, and no sooner: what fails at once keeps its status; what is told is well-formed (chat
completion chunks with `reasoning_content`), told when it changes and at most once a second; where nothing changes, a
comment keeps proxies from giving up. A client that hangs up is noticed as in
any other wait. Whatever fails once the stream has begun is an `error` event in it, and its proper end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from llamaswap_lib.config.schema import Model
from llamaswap_lib.core.snapshot import TicketView
from llamaswap_lib.errors import BadGateway, HttpError
from llamaswap_lib.printable import bounded
from llamaswap_lib.proxy.progress import LastLine
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.runtime.control.controller import Controller
from llamaswap_lib.runtime.control.entrance import Waiter
from llamaswap_lib.runtime.logs.monitor import LogMonitor, Subscription
from llamaswap_lib.server.answers import tell_log
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.request_body import OutgoingBody
from llamaswap_lib.wire.body_framing import Body, ClosedBody, body_of, ends_clear
from llamaswap_lib.wire.chunked import LAST_CHUNK, BadChunk, chunk_of
from llamaswap_lib.wire.heads import BodyKind, Framing, ResponseHead
from llamaswap_lib.wire.json_edit import Names, load_object
from llamaswap_lib.wire.sse import as_stream

STREAM = Names(("stream",))
CHAT = "/v1/chat/completions"
OUTPUT_BYTES = 16_384  # of the process's output since the last look: enough for its last line
FIRST_LOOK = 0.00625  # seconds, until it is looked whether a process loads; each time twice as long
MAX_ERROR_BYTES = 65_536
MAX_WHOLE_BYTES = 8_388_608  # of a chat completion: more than any model says in one
MAX_SHOWN = 500
NO_STREAM = "answered with JSON where a stream was asked for"
COMMENT = b": still waiting\n\n"


def is_told(exchange: Exchange) -> bool:
    """Whether a client that waits is told so in this exchange, where its model tells at all."""
    return exchange.path == CHAT and not exchange.head.upgrade


class LoadingStream:
    """What one client is told while it waits, and has been told so far."""

    has_gone_on = False  # with the upstream's own words, within which nothing can be told

    def __init__(
        self,
        controller: Controller,
        monitor_of: Callable[[str], LogMonitor],
        exchange: Exchange,
        model: Model,
        body: OutgoingBody,
    ) -> None:
        """`monitor_of` has what a model prints."""
        self._controller = controller
        self._monitor_of = monitor_of
        self._exchange = exchange
        self._model = model
        self._body = body
        self._clock = exchange.client.loop.clock
        self._state = ""
        self._last_line = LastLine()
        self._started_at = self._spoke_at = self._clock()
        self._created = int(time.time())
        self._ticket = 0

    # -- handler thread --

    def wait(self, waiting: Waiter) -> None:
        """Block until the wait is over, and tell meanwhile; raises ClientGone."""
        self._exchange.trace.ticket = waiting.ticket
        limits, watch, fd = self._exchange.settings.limits, self._exchange.watch, waiting.fileno()
        if not _asks_for_stream(self._body):
            watch.wait(fd)
            return
        self._ticket = waiting.ticket
        with self._monitor_of(self._model.id).subscribe(history=False, capacity_bytes=OUTPUT_BYTES) as output:
            if self._is_over_soon(fd, output):
                return
            if not self._exchange.has_answered:
                self._begin()
            while not watch.wait(fd, timeout=limits.telling_interval):
                self._tell_changes(output)

    def _is_over_soon(self, fd: int, output: Subscription) -> bool:
        """Block until we are seen to wait for a load (False), or need not wait any more.

        Who lost a run stands in no queue until that run is known to be dead; it may yet live, which is a plain error.
        """
        pause, delay = FIRST_LOOK, self._exchange.settings.limits.telling_delay
        while not self._exchange.watch.wait(fd, timeout=pause):
            pause = min(2 * pause, delay)
            if self._find_ticket() and (pause == delay or self._is_loading()):
                return False
            output.take()  # it is about an earlier run
        return True

    def _is_loading(self) -> bool:
        """Whether there is a process that is not ready: one that cannot be started is an error, and no load."""
        runs = self._controller.details()
        return any(each.run.model == self._model.id and each.run.state == "starting" and each.pid for each in runs)

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
        exchange.trace.is_told = True
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
        elif self._clock() - self._spoke_at >= self._exchange.settings.limits.silence_timeout:
            self._send(COMMENT)

    def _find_ticket(self) -> TicketView | None:
        """Our place in the queue, None once we are through it."""
        tickets = self._controller.tickets()
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
        self._spoke_at = self._clock()

    # -- loop thread --

    async def go_on(self, relay: Relay, path: str, query: str) -> None:
        """Have the upstream's answer go on in the stream, which has begun.

        Raises HttpError before the first of its events, and ClientGone.
        """
        seconds = self._clock() - self._started_at
        await self._exchange.write(self._framed(self._chunk(f"{self._model.id} is ready after {seconds:.1f} s\n\n")))
        head, rest = await relay.ask(path, query, is_plain=True)  # a compressed one could not go on behind clear text
        try:
            may_stay = await self._deliver(relay, head, rest)
        except BaseException:
            relay.abort()
            raise
        relay.pool.give(relay.connection, may_stay=may_stay and relay.is_reusable)

    async def fail(self, error: HttpError) -> None:
        """Say what went wrong, and end the stream in good order."""
        tell_log(self._exchange, error)
        await self._exchange.write(self._framed(b"event: error\n" + _event(error.body())))
        if self._exchange.head.minor:
            await self._exchange.write(LAST_CHUNK)

    async def _deliver(self, relay: Relay, head: ResponseHead, rest: bytes) -> bool:
        exchange, framing = self._exchange, head.body("POST")
        if fault := _fault(head):
            most_bytes = MAX_WHOLE_BYTES if fault == NO_STREAM else MAX_ERROR_BYTES
            said = await _read_some(relay, body_of(framing, decoded=True, lenient=True), rest, most_bytes)
            if fault != NO_STREAM or not (events := as_stream(said)):
                raise _refused(f"the server of {self._model.id} {fault}", said)
            exchange.trace.observe(head, events, is_chunked=False)
            await relay.write(chunk_of(events) + LAST_CHUNK if exchange.head.minor else events)
            return False
        opening, body, closing = _continued(framing, is_chunked=bool(exchange.head.minor))
        try:
            first = body.take(rest) if rest else b""
        except BadChunk as bad:
            raise relay.broken(str(bad)) from None
        is_chunked = bool(exchange.head.minor) and framing.kind is not BodyKind.LENGTH
        exchange.trace.observe(head, first, is_chunked=is_chunked)
        self.has_gone_on = True
        await relay.write(opening + first)
        # What shows us where it broke off shows a client of HTTP/1.0 nothing.
        if not body.done and not await relay.move(body, is_events=True, cuts_with_reset=not exchange.head.minor):
            return False
        await relay.write(closing)
        return head.keep_alive and ends_clear(body)

    # -- either --

    def _framed(self, data: bytes) -> bytes:
        return chunk_of(data) if self._exchange.head.minor else data


class UpstreamRefused(BadGateway):
    """The upstream answered with an error; its own words, where they are an `error` object."""

    def __init__(self, message: str, own: Any = None) -> None:
        super().__init__(message)
        self.own = own
        self.is_ours = not isinstance(own, dict)

    def body(self) -> dict[str, Any]:
        return super().body() if self.is_ours else {"error": self.own}


async def _read_some(relay: Relay, body: Body, rest: bytes, most_bytes: int) -> bytes:
    """A body that is for us, or the beginning of it; of one that breaks off what there is."""
    said = bytearray()
    try:
        while True:
            said += body.take(rest) if rest else b""
            if body.done or len(said) > most_bytes:
                break
            rest = await relay.receive()
            if not rest:
                break
    except (OSError, BadChunk):
        pass
    finally:
        relay.client.set_deadline(None)
    return bytes(said)


def _refused(message: str, said: bytes) -> UpstreamRefused:
    """What the upstream says in place of a stream."""
    try:
        return UpstreamRefused(message, json.loads(said)["error"])
    except (ValueError, TypeError, LookupError, RecursionError):
        words = " ".join(said.decode("utf-8", "replace").split())[:MAX_SHOWN]
        return UpstreamRefused(f"{message}: {words}" if words else message)


def _event(value: dict[str, Any]) -> bytes:
    """Without `ensure_ascii=False`: no line separator of Unicode may end the line for anybody."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _asks_for_stream(body: OutgoingBody) -> bool:
    """Whether the body as it is sent on asks for a stream."""
    try:
        return load_object(body.read(), STREAM)[0].get("stream") is True
    except ValueError:
        return False


def _fault(head: ResponseHead) -> str:
    """Why this answer cannot go on in a stream of events, '' if it can."""
    if head.status != 200:
        return f"answered {head.status} {bounded(head.reason, MAX_SHOWN)}".rstrip()
    encoding = head.first.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        return f"answered in the encoding {bounded(encoding, MAX_SHOWN)}"
    if "json" in head.first.get("content-type", "").lower():
        return NO_STREAM
    return ""


def _continued(framing: Framing, *, is_chunked: bool) -> tuple[bytes, Body, bytes]:
    """What goes before the body in a stream that is chunked, or ends by close; the follower; and what goes behind."""
    if not is_chunked or framing.kind is BodyKind.CHUNKED:
        return b"", body_of(framing, decoded=not is_chunked, lenient=True), b""
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return b"", ClosedBody(chunking=True), LAST_CHUNK
    if not framing.length:
        return b"", body_of(framing), LAST_CHUNK
    return b"%x\r\n" % framing.length, body_of(framing), b"\r\n" + LAST_CHUNK  # one chunk, as long as the body
