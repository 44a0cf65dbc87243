"""The reading side of one client's connection: heads, bodies, and what was sent ahead.

One thread at a time, the client's http thread or, while that sleeps, the pump, which never waits here. Owns the bytes
that were received and not yet used, so pipelined requests are served in order. Guarantees: a head has `head_timeout` in
all; a body needs a byte within `body_timeout` and a low average rate beyond it; whoever is slower is cut off with
RequestTimeout, and one whose connection was closed for others with ClientGone. Memory is bounded by a head, or by
`memory_body_bytes`.
"""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from llamaswap_lib.errors import BadRequest, ClientGone, ContentTooLarge, RequestTimeout
from llamaswap_lib.server.limits import Limits
from llamaswap_lib.server.request_body import RequestBody
from llamaswap_lib.wire.chunked import BadChunk, ChunkDecoder
from llamaswap_lib.wire.heads import RequestHead
from llamaswap_lib.wire.parser import head_end, parse_request_head

READ_BYTES = 65_536
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


_match_empty_lines = re.compile(rb"(?:\r\n)*").match


class Sender(Protocol):
    """The connection, which may be closed for others while the rest of a request is waited for."""

    def begin_waiting(self) -> None: ...

    def note_received(self, size_bytes: int) -> None:
        """So many bytes have come; raises ClientGone if it was closed."""

    def end_waiting(self) -> bool:
        """Whether it was not closed."""


class Intake:
    """What comes from one client, through a socket that waits `idle_timeout` for a byte."""

    __slots__ = ("_buffer", "_clock", "_poll", "_sender", "_sock", "_unread", "is_in_head", "is_unfinished", "limits")

    def __init__(self, sock: socket.socket, limits: Limits, clock: Callable[[], float], sender: Sender) -> None:
        self._sock = sock
        self._sender = sender
        self.limits = limits  # may be replaced between two requests
        self._clock = clock
        self._buffer = b""
        self._unread: RequestHead | None = None  # the request whose body nobody has read yet
        self.is_in_head = False  # the rest of a head is waited for
        self.is_unfinished = False  # the connection ends, and its client may still be sending
        self._poll: select.poll | None = None  # made when a client is slow for the first time

    def await_request(self) -> bool:
        """Block until a request begins; False if the client leaves, or is idle for too long."""
        if self.is_empty():
            try:
                self._buffer = self._sock.recv(READ_BYTES)
            except OSError:
                return False
        return bool(self._buffer)

    def is_empty(self) -> bool:
        """Whether nothing of the next request is here."""
        if self._unread is not None:
            self._skip_unread(self._unread)
        return not self._buffer

    @property
    def ahead(self) -> bytes:
        """What is here of the next request."""
        return self._buffer

    def receive_now(self) -> int | None:
        """Take what has come, without waiting: how many bytes, 0 if the client has left, None for nothing."""
        try:
            data = self._sock.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self._buffer += data
        return len(data)

    def read_head(self) -> RequestHead:
        """The head of the request that begins; raises HttpError or ClientGone."""
        data = self._buffer
        end = -1 if data.startswith(b"\r") else head_end(data)
        if end < 0:
            self.is_in_head = True
            try:
                with self._waiting():
                    data, end = self._read_head_slowly(data)
            finally:
                self.is_in_head = False
        self._buffer = data[end:]
        head = parse_request_head(data[:end])
        if head.content_length or head.chunked:
            self._unread = head
        return head

    def _read_head_slowly(self, data: bytes) -> tuple[bytes, int]:
        """What comes until a head is there, and where it ends."""
        deadline = self._clock() + self.limits.head_timeout
        searched_bytes = 0
        while True:
            if data.startswith(b"\r\n"):  # some clients send one after a body; RFC 9112 asks for patience
                data, searched_bytes = _without_empty_lines(data), 0
            end = head_end(data, searched_bytes)
            if end >= 0:
                return data, end
            searched_bytes = len(data)
            data += self._receive_rest(deadline - self._clock(), "the head")

    def read_body(self, most_bytes: int | None = None) -> RequestBody:
        """The body of the request whose head was read last, once; raises HttpError or ClientGone.

        `most_bytes` it may have, where that is less than any body may have.
        """
        most_bytes = self.limits.max_body_bytes if most_bytes is None else most_bytes
        head, self._unread = self._unread, None
        if head is None:
            return RequestBody()
        length = head.content_length
        if length is not None and length <= min(len(self._buffer), self.limits.memory_body_bytes, most_bytes):
            body = RequestBody(self._buffer[:length])
            self._buffer = self._buffer[length:]
            return body
        body = RequestBody(memory_bytes=self.limits.memory_body_bytes)
        try:
            self._read_slowly(head, body, most_bytes)
        except BaseException:
            self._unread = head
            body.close()
            raise
        return body

    def take_ahead(self) -> bytes:
        """What stands behind the request that was read, taken out."""
        ahead, self._buffer = self._buffer, b""
        return ahead

    def will_be_clear(self) -> bool:
        """Whether the next request can be read: nothing is left of this one, or what is left is here already."""
        head = self._unread
        return head is None or (head.content_length is not None and head.content_length <= len(self._buffer))

    def _skip_unread(self, head: RequestHead) -> None:
        assert head.content_length is not None
        self._buffer = self._buffer[head.content_length :]
        self._unread = None

    def _read_slowly(self, head: RequestHead, body: RequestBody, most_bytes: int) -> None:
        if head.content_length is not None and head.content_length > most_bytes:
            raise ContentTooLarge(f"the body is larger than {most_bytes} bytes")
        if head.expect_continue and not self._buffer:
            self._say_continue()
        take = (
            self._chunk_taker(body, most_bytes) if head.chunked else self._length_taker(body, head.content_length or 0)
        )
        started = self._clock()
        received_bytes = len(self._buffer)
        if take():
            return
        with self._waiting():
            while True:
                late = started + self.limits.body_timeout + received_bytes / self.limits.body_bytes_per_second
                piece = self._receive_rest(min(self.limits.body_timeout, late - self._clock()), "the body")
                received_bytes += len(piece)
                self._buffer += piece
                if take():
                    return

    def _length_taker(self, body: RequestBody, length_bytes: int) -> Callable[[], bool]:
        def take() -> bool:
            left_bytes = length_bytes - body.size_bytes
            body.append(self._buffer[:left_bytes])
            self._buffer = self._buffer[left_bytes:]
            return body.size_bytes == length_bytes

        return take

    def _chunk_taker(self, body: RequestBody, most_bytes: int) -> Callable[[], bool]:
        decoder = ChunkDecoder()

        def take() -> bool:
            try:
                payload, used_bytes = decoder.feed(self._buffer)
            except BadChunk as bad:
                raise BadRequest(f"the body is not chunked properly: {bad}") from None
            body.append(payload)
            self._buffer = self._buffer[used_bytes:]
            if body.size_bytes > most_bytes:
                raise ContentTooLarge(f"the body is larger than {most_bytes} bytes")
            return decoder.done

        return take

    def _say_continue(self) -> None:
        try:
            self._sock.sendall(CONTINUE)
        except OSError:
            raise ClientGone from None

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """While the rest of a request is waited for; raises ClientGone if the connection was closed for others."""
        self._sender.begin_waiting()
        try:
            yield
        finally:
            is_open = self._sender.end_waiting()
        if not is_open:
            raise ClientGone

    def _receive_rest(self, timeout: float, what: str) -> bytes:
        data = self._receive(timeout, what)
        self._sender.note_received(len(data))
        return data

    def _receive(self, timeout: float, what: str) -> bytes:
        """The next bytes, never none; raises RequestTimeout and ClientGone."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._sock, select.POLLIN)
        if not self._poll.poll(max(0.0, timeout * 1000)):
            raise RequestTimeout(f"{what} of the request did not come in time")
        try:
            data = self._sock.recv(READ_BYTES)
        except OSError:
            raise ClientGone from None
        if not data:
            raise ClientGone
        return data


def _without_empty_lines(data: bytes) -> bytes:
    """What stands behind the empty lines at the beginning. In one step: each line on its own would copy all others."""
    empty = _match_empty_lines(data)
    return data if empty is None else data[empty.end() :]
