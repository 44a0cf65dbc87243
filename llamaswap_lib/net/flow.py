"""One body on its way from an upstream to a client.

Thread `loop` alone. Guarantees: it never blocks but for the file of a spool; bytes leave in the order in which they
came; a client that cannot take more stops the reading of its own upstream and of nothing else, with at most one piece
held for it; but if somebody waits for that upstream, it is read at its own pace into a spool, and the flow ends with
it, with what the client has still to read in `unread`. Where some of the request is still to be sent, that goes on
meanwhile. A client that leaves, or takes nothing for too long, ends it (`Reader` tells). Never closes a socket.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Protocol

from llamaswap_lib.net.loop import DUE, Loop, suspended
from llamaswap_lib.net.poller import IN, OUT
from llamaswap_lib.net.spool import Spool
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.wire.body_framing import Body, missing_end
from llamaswap_lib.wire.chunked import BadChunk

READ_BYTES, MOST_READ_BYTES = 65_536, 262_144  # at once: the second where there is always more
REST_TIMEOUT = 2.0  # seconds in which an upstream takes nothing of a request that it has answered
FIRST_READ_BYTES = 4_096  # a token's event is a few hundred bytes, and room that stays empty costs time


class Ending(Enum):
    """How a flow ended."""

    COMPLETE = auto()  # the last byte of the body was accepted for the client, or is in `unread`
    CUT = auto()  # the upstream broke off, or broke its framing
    CLIENT_GONE = auto()
    CLIENT_STALLED = auto()  # it took nothing for `write_timeout`


class Sending(Protocol):
    """The rest of a request, on its way to the upstream."""

    is_over: bool

    def send_some(self) -> None: ...


class Reader(Protocol):
    """The client that the body goes to."""

    stream: socket.socket
    on_room: Callable[[int], object]  # called when it takes more, while it is stalled
    resume: Callable[[Any], object]  # the life of its connection, which waits for the flow

    def fail(self, error: Exception) -> None:
        """Raise `error` in that life, where it waits."""

    def check_client(self) -> None:
        """Raise ClientGone if it has left."""

    def set_deadline(self, seconds: float | None) -> None:
        """Resume the life with DUE then; None: not."""

    def stall(self) -> None:
        """From now on it takes nothing; `on_room` is called when it does, and it is cut off after a while."""

    def end_stall(self) -> None: ...


class Flow:
    """One body on its way from `source`, which the loop watches, to `client`."""

    def __init__(
        self,
        loop: Loop,
        source: socket.socket,
        client: Reader,
        body: Body,
        sending: Sending | None,
        make_spool: Callable[[], Spool | None],
        observe: Callable[[bytes], None] | None = None,
    ) -> None:
        """`make_spool` is called once the client takes nothing; None: its upstream is not read then.

        `observe` is called with each piece, before it is sent.
        """
        self.body = body
        self.sent_bytes = 0
        self.ending: Ending | None = None
        self.unread: Spool | None = None  # at the end: what the client has still to read, to be closed
        self._loop = loop
        self._source = source
        self._client = client
        self._sending = sending
        self._observe = observe
        self._backlog = b""
        self._is_held_up = False  # the client has no room: its upstream is not read
        self._reads_ahead = False  # it is read all the same, into the spool
        self._make_spool = make_spool
        self._spool: Spool | None = None
        self._is_waited_for = False
        self._receive, self._take = source.recv, body.take
        self._send: Callable[[bytes], int] = client.stream.send
        self._resume = client.resume
        self._room_bytes = FIRST_READ_BYTES

    async def run(self) -> Ending:
        """Move the whole body; how that ended. Raises ClientGone where the client has left."""
        self._client.check_client()
        loop, client, fd = self._loop, self._client, self._source.fileno()
        serve = self._serve_both if self._sending is not None else self._serve_source
        loop.on_ready[fd] = serve
        client.on_room = self.serve_client
        if self._sending is not None:
            loop.change(self._source, IN | OUT)
        try:
            self._read_early()
            self._is_waited_for = True
            while self.ending is None:
                if await suspended() == DUE and self.ending is None:
                    self.ending = Ending.COMPLETE if self.body.done and not self._is_held_up else Ending.CLIENT_STALLED
            return self.ending
        finally:
            self._is_waited_for = False
            self._observe = None  # the loop may know this flow until the next one, and the observer keeps bodies
            client.on_room = client.resume
            if self._is_held_up:
                client.end_stall()
                if self._sending is None and not self._reads_ahead:
                    loop.proceed(self._source, IN)  # the next answer comes on it
            if self._spool is not None:
                self._leave(self._spool)
                self._spool = None  # the loop may be about to call `look_at_waits`
            if self._sending is not None:
                client.set_deadline(None)
                loop.change(self._source, IN)  # it can nearly always be written to, and nobody would serve that

    @property
    def _serve_source(self) -> Callable[[int], None]:
        """What the loop calls; kept by a flow, it would keep the flow until the collector comes."""
        return self._read_tls_source if isinstance(self._source, TlsStream) else self.read_source

    def read_source(self, _mask: int) -> None:  # noqa: C901 - in one piece, since each call costs every chunk
        """Pass on what is there. This is the hot path of every stream."""
        try:
            data = self._receive(self._room_bytes)
            if len(data) == self._room_bytes:  # more than a trickle
                self._room_bytes = READ_BYTES if self._room_bytes < READ_BYTES else MOST_READ_BYTES
            if not data:
                data = missing_end(self.body)
            ending: Ending | None = Ending.CUT
            if data:
                data = self._take(data)
                ending = None
            elif self.body.ends_by_close:
                ending = Ending.COMPLETE
        except BlockingIOError:
            return
        except (OSError, BadChunk):
            ending = Ending.CUT
        if ending is not None:
            self._end(ending)
            return
        if self._observe is not None:
            self._observe(data)
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = -1
        if sent < 0:
            self._end(Ending.CLIENT_GONE)
            return
        self.sent_bytes += sent
        if sent < len(data):
            self._hold(data[sent:])
        elif self.body.done:
            self._complete()

    def _read_tls_source(self, mask: int) -> None:
        self.read_source(mask)
        self._read_early()

    def _read_early(self) -> None:
        """Pass on what has come under TLS, and no poll tells of: the end, if it came together with data."""
        source = self._source
        if isinstance(source, TlsStream):
            while source.is_ready and self.ending is None and (self._reads_ahead or not self._is_held_up):
                self.read_source(IN)

    def serve_client(self, _mask: int) -> None:
        """The client has room again for what is held."""
        try:
            sent = self._client.stream.send(self._backlog)
        except BlockingIOError:
            return
        except OSError:
            sent = -1
        if sent < 0:
            self._end(Ending.CLIENT_GONE)
            return
        self.sent_bytes += sent
        self._backlog = self._backlog[sent:]
        if self._backlog:
            return
        spool = self._spool
        if spool is None or not spool.size_bytes:
            self._go_on()
            return
        try:
            self._backlog = spool.take()
        except OSError as error:  # it is for the life to tell
            self._client.fail(error)
            return
        self.look_at_waits()

    def _serve_both(self, mask: int) -> None:
        """The upstream has something to say, or takes more of the request."""
        sending = self._sending
        assert sending is not None, "all of the request is sent"
        if mask & OUT:
            try:
                sending.send_some()
            except Exception as error:  # noqa: BLE001 - what is to be sent cannot be read: it is for the life to tell
                self._client.fail(error)
                return
        if self.body.done and not self._is_held_up:
            self._complete(is_last=sending.is_over or bool(mask & ~OUT))
            return
        if sending.is_over or (self._is_held_up and mask & ~OUT):  # what the upstream says, or its end, tells the rest
            self._sending = None
            self._loop.on_ready[self._source.fileno()] = self._serve_source
            if self._is_held_up:
                self._loop.pause(self._source)
                self.look_at_waits()
            else:
                self._loop.change(self._source, IN)
        if mask & ~OUT and not self._is_held_up:
            self._serve_source(mask)

    def _hold(self, rest: bytes) -> None:
        self._backlog = rest
        self._is_held_up = True
        self._room_bytes = READ_BYTES
        if self._sending is None:
            self._loop.pause(self._source)
        else:
            self._loop.change(self._source, OUT)
        self._client.stall()
        if self._spool is None:
            self._spool = self._make_spool()
        if self._spool is not None:
            self._spool.listen(self.look_at_waits)
            self.look_at_waits()

    def _go_on(self) -> None:
        self._client.end_stall()
        self._is_held_up = False
        if self._spool is not None:
            self._spool.forget(self.look_at_waits)
        if self._reads_ahead:
            self._reads_ahead = False
        elif self._sending is None:
            self._loop.proceed(self._source, IN)  # behind the last byte too: the next answer comes on it
        else:
            self._loop.change(self._source, IN | OUT)
        self._send = self._client.stream.send
        if self.body.done:
            self._complete()
            return
        self._read_early()

    # -- reading ahead of a client that is held up --

    def look_at_waits(self) -> None:
        """Read ahead where somebody waits for the upstream and there is room, and do not where that is not so."""
        spool = self._spool
        if spool is None or not self._is_held_up or self._sending is not None or self.ending is not None:
            return
        if self.body.done and spool.is_awaited:  # nothing is left to be read ahead
            self._end(Ending.COMPLETE)
            return
        reads_ahead = spool.is_awaited and spool.has_room()
        if reads_ahead == self._reads_ahead:
            return
        self._reads_ahead = reads_ahead
        if not reads_ahead:
            self._loop.pause(self._source)
            return
        self._send = self._put_aside
        self._loop.proceed(self._source, IN)
        self._read_early()

    def _put_aside(self, data: bytes) -> int:
        """What is called in the place of the client's `send` then."""
        assert self._spool is not None, "there is nothing to put it in"
        self._spool.append(data)
        self.sent_bytes -= len(data)  # `read_source` takes them for sent: they are counted when they are
        if not self.body.done:
            self.look_at_waits()
        return len(data)

    def _leave(self, spool: Spool) -> None:
        """Leave what the client has still to read to who goes on with it."""
        spool.forget(self.look_at_waits)
        if self._backlog and self.ending in (Ending.COMPLETE, Ending.CUT):
            spool.put_back(self._backlog)
            self.unread = spool
        else:
            spool.close()

    def fail(self, error: Exception) -> None:
        """Something of ours broke in `look_at_waits`, which the loop was asked to call."""
        self._client.fail(error)

    # -- the end --

    def _complete(self, *, is_last: bool = False) -> None:
        """The client has all of the answer; an upstream that takes the rest of the request all the same gets it."""
        if self._sending is None or is_last:
            self._end(Ending.COMPLETE)
        else:
            self._loop.change(self._source, OUT)
            self._client.set_deadline(REST_TIMEOUT)

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        if self._is_waited_for:
            self._resume(None)
