"""The requests of one client as they come in: heads, bodies, and what was sent ahead.

Thread `loop` alone, as a part of the life of the connection; a handler thread is borrowed to write what is large to a
file. Owns the bytes that were received and not used yet, so pipelined requests are served in order. Guarantees: a head
has `head_timeout` in all; a body needs a byte within `body_timeout` and a low average rate beyond it; a slower client
is cut off with RequestTimeout; a client that sends many requests ahead does not keep others waiting. Memory is bounded
by a head, or by `memory_body_bytes`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

from llamaswap_lib.errors import ClientGone, HttpError
from llamaswap_lib.net.poller import IN, RDHUP
from llamaswap_lib.server.client_stream import READ_BYTES, ClientStream, Site
from llamaswap_lib.server.connection_state import MOVES, State
from llamaswap_lib.server.request_body import BodyReader, RequestBody
from llamaswap_lib.wire.cors_headers import ANYBODY
from llamaswap_lib.wire.head_cache import Recall
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import head_end, parse_request_head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Stands for a request whose head was refused: nothing of it is believed, and pages of any origin may read why.
UNREADABLE = RequestHead("-", "*", 1, "", None, False, False, False, "", frozenset(), {"origin": ANYBODY})
MOST_IN_A_ROW = 32  # requests sent ahead that are served before all others get their turn
_match_empty_lines = re.compile(rb"(?:\r\n)*").match


class RequestReader:
    """What comes from one client."""

    __slots__ = (
        *("_ahead_count", "_client", "_in_thread", "_received", "_site"),
        *("heads", "is_new", "refusal", "started", "unread"),
    )

    def __init__(
        self, client: ClientStream, site: Site, in_thread: Callable[[Callable[[], None]], Awaitable[None]]
    ) -> None:
        """`in_thread` has a handler thread call a function."""
        self._client = client
        self._site = site
        self._in_thread = in_thread
        self._received = b""  # and not used yet
        self._ahead_count = 0  # requests that were there when the one before them had been served
        self.unread: RequestHead | None = None  # the request whose body nobody has read yet
        self.refusal: HttpError | None = None  # of the last request, whose head is wrong
        self.heads = Recall(parse_request_head)
        self.is_new = True  # the first request has not come
        self.started = 0.0  # when the request in progress began, by the loop's clock

    @coroutine
    def read_head(self) -> Generator[None, Any, RequestHead | None]:  # noqa: C901 - as `_live`, which awaits it
        """The head of the next request; None if its client has left, or waits for too long. Raises ClientGone.

        UNREADABLE for one that is refused: `refusal` says why.
        """
        client, site, table = self._client, self._site, self._site.table
        if self.unread is not None:
            self._skip_unread(self.unread)
        data = self._received
        if data:
            self._ahead_count += 1
            if self._ahead_count % MOST_IN_A_ROW == 0:
                yield from client.let_others_go_first()
        elif not self.is_new:  # one whose first request was on its way when the end began is served
            if site.is_stopping:
                return None
            client.state, table.idle[client] = MOVES[client.state][State.IDLE], client.loop.clock()
            if site.on_idle is not None:
                client.loop.call(site.on_idle, client)
        if not data and client.mask != IN | RDHUP:
            client.watch_for(IN | RDHUP)
        while not data:  # the server ends it when it was idle for too long
            if client.tls is None or not client.tls.is_ready:
                yield
            try:
                data = client.stream.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            table.idle.pop(client, None)
            if not data:
                return None
            if client.tls is not None:
                client.pass_end_on(client.tls)
        self.is_new = False
        self.started = client.loop.clock()
        try:
            head, end = (None, -1) if data.startswith(b"\r") else self.heads.read(data)
            if head is None:
                data, end = yield from self._read_slow_head(data)
                self.heads.forget()
                head = parse_request_head(data[:end])
        except HttpError as refusal:
            self.refusal = refusal
            self.heads.forget()
            return UNREADABLE
        self._received = data[end:]
        self.unread = head if head.content_length or head.chunked else None
        return head

    async def _read_slow_head(self, data: bytes) -> tuple[bytes, int]:
        """What comes until a head is there, and where it ends."""
        self._client.state = MOVES[self._client.state][State.IN_HEAD]
        table = self._site.table
        if table.last_words:
            self._client.cut_off_now(table.last_words)
            raise ClientGone
        table.note_reading(self._client)
        if self._site.on_idle is not None:
            self._client.loop.call(self._site.on_idle, self._client)
        self._client.timer.set(self._site.limits.head_timeout)
        searched_bytes = 0
        self._client.begin_receiving()
        try:
            while True:
                if data.startswith(b"\r\n"):  # some clients send one after a body; RFC 9112 asks for patience
                    data, searched_bytes = _without_empty_lines(data), 0
                end = head_end(data, searched_bytes)
                if end >= 0:
                    return data, end
                searched_bytes, self._received = len(data), data
                data += await self._client.receive_rest(READ_BYTES, "the head")
        finally:
            self._client.timer.clear()
            table.note_read(self._client)

    def small_body(self, most_bytes: int) -> bytes | None:
        """The whole body of the request if it is here, and not larger; None if it has to be read."""
        head = self.unread
        if head is None:
            return b""
        length = head.content_length
        if length is None or length > len(self._received) or length > most_bytes:
            return None
        self.unread = None
        body, self._received = self._received[:length], self._received[length:]
        return body

    async def read_body(self, head: RequestHead, most_bytes: int) -> RequestBody:
        """The body of the request in progress, once; raises HttpError and ClientGone."""
        memory_bytes = self._site.limits.memory_body_bytes
        small = self.small_body(min(memory_bytes, most_bytes))
        if small is not None:
            return RequestBody(small)
        reader = BodyReader(head, most_bytes, memory_bytes)
        try:
            await self._read_slow_body(reader, says_continue=head.expect_continue and not self._received)
        except BaseException:
            reader.body.close()
            raise
        self.unread = None
        return reader.body

    async def _read_slow_body(self, reader: BodyReader, *, says_continue: bool) -> None:
        limits, table = self._site.limits, self._site.table
        if says_continue:
            await self._client.send(CONTINUE)
        started = self._client.loop.clock()
        received_bytes = len(self._received)
        self._received = reader.feed(self._received)
        self._client.begin_receiving()
        try:
            while not reader.is_done:
                if reader.is_due:
                    table.note_read(self._client)
                    self._client.timer.clear()
                    await self._in_thread(reader.put_aside)
                late = started + limits.body_timeout + received_bytes / limits.body_bytes_per_second
                self._client.timer.set(max(0.0, min(limits.body_timeout, late - self._client.loop.clock())))
                table.note_reading_on(self._client)
                piece = await self._client.receive_rest(reader.read_bytes, "the body")
                received_bytes += len(piece)
                self._received = reader.feed(piece)
        finally:
            self._client.timer.clear()
            table.note_read(self._client)
        if reader.is_large:
            await self._in_thread(reader.put_aside)

    def put_back(self, received: bytes) -> None:
        """A part of a head, before anything is read: the client is not idle."""
        self._received = received
        self._site.table.idle.pop(self._client)

    def take_ahead(self) -> bytes:
        """What has come behind the request that was read, or of a head that is not whole, taken out."""
        ahead, self._received = self._received, b""
        return ahead + (self._client.receive_early() or b"")

    def will_be_clear(self) -> bool:
        """Whether the next request can be read: nothing is left of this one, or what is left is here already."""
        head = self.unread
        return head is None or (head.content_length is not None and head.content_length <= len(self._received))

    def _skip_unread(self, head: RequestHead) -> None:
        assert head.content_length is not None
        self._received = self._received[head.content_length :]
        self.unread = None


def _without_empty_lines(data: bytes) -> bytes:
    """What stands behind the empty lines at the beginning. In one step: each line on its own would copy all others."""
    empty = _match_empty_lines(data)
    return data if empty is None else data[empty.end() :]
