"""Bytes for all connections on one thread: reads requests, runs their answers, notices at once who left.

An answer is an iterator of steps: bytes to send, or a moment (monotonic seconds) to wait for. While it runs its client
is watched; a client that leaves closes the iterator, which sees `GeneratorExit`. Nothing here blocks but the `select`.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections.abc import Callable, Generator, Iterator

from llamaswap_lib.demo.wire import MAX_HEAD_BYTES, ChunkedBody, Refusal, Request, body_length, parse_head

Steps = Iterator["bytes | float"]
Handler = Callable[[Request], Steps]

READ_BYTES = 256 * 1024
STEPS_IN_A_ROW = 32  # before others get their turn
LONGEST_SELECT = 3600.0  # seconds: the system takes no more than 24 days


class Hangup(Exception):
    """Raised by steps: close the connection now, in the middle of whatever it is."""


class Connection:
    """One client: what came in and is not used yet, what is to go out, and the answer under way."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.head: Request | None = None  # its body is still coming
        self.chunked: ChunkedBody | None = None
        self.steps: Steps | None = None
        self.keep_alive = True
        self.turn = 0  # only the timer with this number counts
        self.mask = selectors.EVENT_READ


class Loop:
    """Serves with `handler` until the process ends."""

    def __init__(self, handler: Handler, idle_timeout: float | None = None) -> None:
        """After an answer a kept-alive connection is closed when `idle_timeout` has passed."""
        self._listener: socket.socket | None = None
        self._handler = handler
        self._idle_timeout = idle_timeout
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Connection | Callable[[], None]]] = []
        self._turns = 0

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def run(self) -> None:
        while True:
            wait = self._timers[0][0] - time.monotonic() if self._timers else LONGEST_SELECT
            timeout = min(max(0.0, wait), LONGEST_SELECT)
            for key, mask in self._selector.select(timeout):
                if isinstance(key.data, Connection):
                    self._serve(key.data, mask)
                else:
                    key.data()
            self._run_timers()

    def call_at(self, moment: float, action: Callable[[], None]) -> None:
        self._turns += 1
        heapq.heappush(self._timers, (moment, self._turns, action))

    def call_when_readable(self, descriptor: socket.socket, action: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, action)

    # -- one connection --

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:  # it left again
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, Connection(client))

    def _serve(self, connection: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and not self._flush(connection):
            return
        if mask & selectors.EVENT_READ and not self._read(connection):
            return
        if connection.steps is None:
            self._next_request(connection)
        elif mask & selectors.EVENT_WRITE and not connection.outgoing:
            self._advance(connection)

    def _read(self, connection: Connection) -> bool:
        """False when the client has left."""
        try:
            data = connection.client.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return False
        connection.incoming += data
        return True

    def _next_request(self, connection: Connection) -> None:
        connection.turn = 0
        try:
            request = _complete_request(connection)
        except Refusal as refusal:
            connection.keep_alive = False
            connection.steps = iter((refusal.answer(),))
        else:
            if request is None:
                if connection.outgoing:  # 100 Continue
                    self._flush(connection)
                return
            connection.keep_alive = request.keep_alive
            connection.steps = self._handler(request)
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Take steps until one waits, for time or for the client."""
        for _ in range(STEPS_IN_A_ROW):
            try:
                step = next(connection.steps or iter(()))
            except StopIteration:
                self._finish(connection)
                return
            except Refusal as refusal:
                connection.keep_alive = False
                step = refusal.answer()
            except Hangup:
                self._close(connection)
                return
            if isinstance(step, float):
                self._wake_at(connection, step)
                return
            if not self._send(connection, step) or connection.outgoing:
                return
        self._wake_at(connection, 0.0)

    def _finish(self, connection: Connection) -> None:
        connection.steps = None
        if not connection.keep_alive or self._idle_timeout == 0:
            self._close(connection)
            return
        if self._idle_timeout is not None:
            self._wake_at(connection, time.monotonic() + self._idle_timeout)
        if connection.incoming:  # pipelined; by way of a timer, since calling would nest
            self._wake_at(connection, 0.0)

    def _close(self, connection: Connection) -> None:
        connection.turn = -1
        steps, connection.steps = connection.steps, None
        if isinstance(steps, Generator):
            steps.close()
        self._selector.unregister(connection.client)
        connection.client.close()

    # -- writing and waiting --

    def _send(self, connection: Connection, data: bytes) -> bool:
        """Send now what fits, the rest later; False when the client has left."""
        connection.outgoing += data
        return self._flush(connection)

    def _flush(self, connection: Connection) -> bool:
        try:
            sent = connection.client.send(connection.outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return False
        del connection.outgoing[:sent]
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        if mask != connection.mask:
            connection.mask = mask
            self._selector.modify(connection.client, mask, connection)
        return True

    def _wake_at(self, connection: Connection, moment: float) -> None:
        self._turns += 1
        connection.turn = self._turns
        heapq.heappush(self._timers, (moment, self._turns, connection))

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers))
        for _, turn, what in due:
            if not isinstance(what, Connection):
                what()
            elif turn != what.turn:
                continue
            elif what.steps is not None:
                self._advance(what)
            elif what.incoming:
                self._next_request(what)
            else:  # idle for too long
                self._close(what)


def _complete_request(connection: Connection) -> Request | None:
    """The next whole request of what came in, or None while some of it is missing."""
    incoming = connection.incoming
    if connection.head is None:
        end = incoming.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(incoming) >= MAX_HEAD_BYTES:
                raise Refusal(431, "the head is too large")
            return None
        head = parse_head(bytes(incoming[: end + 4]))
        del incoming[: end + 4]
        connection.head = head
        connection.chunked = ChunkedBody() if head.get("transfer-encoding").lower() == "chunked" else None
        if head.get("expect").lower() == "100-continue":
            connection.outgoing += b"HTTP/1.1 100 Continue\r\n\r\n"
    body = _complete_body(connection, connection.head)
    if body is None:
        return None
    request, connection.head = connection.head._replace(body=body), None
    return request


def _complete_body(connection: Connection, head: Request) -> bytes | None:
    if connection.chunked is not None:
        return bytes(connection.chunked.body) if connection.chunked.feed(connection.incoming) else None
    length = body_length(head)
    if len(connection.incoming) < length:
        return None
    body = bytes(connection.incoming[:length])
    del connection.incoming[:length]
    return body
