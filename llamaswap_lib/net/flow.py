"""One body on its way from an upstream's socket to a client's, carried by the pump.

Thread `pump` runs everything here but `move`; a `Flow` is made by whoever begins it. Guarantees: it never blocks on a
socket; bytes leave in the order and the pieces in which they came; a client that cannot take more stops the reading of
its own upstream and of nothing else, with at most READ_BYTES held for it; a client that hangs up, or takes nothing for
the pump's `write_timeout`, ends its flow at once. Each flow ends exactly once, and whoever began it is told. Never
closes a socket: both belong to whoever began it. TLS sockets do not ride here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from enum import Enum, auto

from llamaswap_lib.net.loop import Pump
from llamaswap_lib.net.poller import GONE, IN, OUT, RDHUP
from llamaswap_lib.wire.body_framing import Body, missing_end
from llamaswap_lib.wire.chunked import BadChunk

READ_BYTES = 65_536
FIRST_READ_BYTES = 4_096  # a token's event is a few hundred bytes, and room that stays empty costs time
DONTWAIT = socket.MSG_DONTWAIT


class Ending(Enum):
    """How a flow ended."""

    COMPLETE = auto()  # the last byte of the body was accepted for the client
    CUT = auto()  # the upstream broke off, or broke its framing
    CLIENT_GONE = auto()
    CLIENT_STALLED = auto()  # it took nothing for `write_timeout`


class Flow:
    """One body on its way from `source` to `sink`; both are in blocking mode, and are nobody else's meanwhile."""

    __slots__ = (
        "_backlog",
        "_is_held_up",
        "_on_end",
        "_pump",
        "_receive",
        "_room_bytes",
        "_send",
        "_take",
        "body",
        "ending",
        "sent_bytes",
        "sink",
        "source",
    )

    _on_end: Callable[[], None]

    def __init__(self, source: socket.socket, sink: socket.socket, body: Body) -> None:
        self.source = source
        self.sink = sink
        self.body = body
        self.sent_bytes = 0
        self.ending = Ending.CUT
        self._backlog = b""
        self._is_held_up = False  # the client has no room: its upstream is not read, and not registered
        self._receive, self._send, self._take = source.recv, sink.send, body.take
        self._room_bytes = FIRST_READ_BYTES

    # -- http thread --

    def move(self, pump: Pump) -> Ending:
        """Have the whole body moved; blocks until that has ended."""
        ended = threading.Lock()  # held while it flows: an Event costs several times as much
        ended.acquire()
        self._on_end = ended.release
        pump.take_aboard(self)
        ended.acquire()
        return self.ending

    # -- pump thread only --

    def ride(self, pump: Pump, on_end: Callable[[], None]) -> None:
        """Move the whole body from now on, and call `on_end` when that has ended."""
        self._on_end = on_end
        pump.aboard.add(self)
        self.begin(pump)

    def begin(self, pump: Pump) -> None:
        self._pump = pump
        pump.flows += 1
        pump.poller.register(self.source, IN)
        pump.poller.register(self.sink, RDHUP)
        pump.on_ready[self.source.fileno()] = self.read_source
        pump.on_ready[self.sink.fileno()] = self.serve_sink

    def read_source(self, _mask: int) -> None:
        """Pass on what is there. This is the hot path of every stream."""
        try:
            data = self._receive(self._room_bytes, DONTWAIT)
            if len(data) == self._room_bytes:  # more than a trickle
                self._room_bytes = READ_BYTES
            if not data and not (data := missing_end(self.body)):
                self.end(Ending.COMPLETE if self.body.ends_by_close else Ending.CUT)
                return
            data = self._take(data)
        except BlockingIOError:
            return
        except (OSError, BadChunk):
            self.end(Ending.CUT)
            return
        # An observer of the stream gets `data` here and keeps a bounded tail; it reads that tail after the end.
        try:
            sent = self._send(data, DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.end(Ending.CLIENT_GONE)
            return
        self.sent_bytes += sent
        if sent < len(data):
            self._hold(data[sent:])
        elif self.body.done:
            self.end(Ending.COMPLETE)

    def serve_sink(self, mask: int) -> None:
        """The client hung up, or has room again for what is held."""
        if mask & GONE:
            self.end(Ending.CLIENT_GONE)
            return
        if not self._is_held_up:  # what was seen before the flow began: its next request
            return
        try:
            sent = self._send(self._backlog, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.end(Ending.CLIENT_GONE)
            return
        self.sent_bytes += sent
        self._backlog = self._backlog[sent:]
        self._pump.stalled.renew(self)
        if not self._backlog:
            self._resume()
        elif not self._pump.slow_readers.note_progress(self.sink):
            self.end(Ending.CLIENT_GONE)

    def _hold(self, rest: bytes) -> None:
        self._backlog = rest
        self._is_held_up = True
        self._pump.poller.unregister(self.source)  # not modify(0): a hang-up would be reported over and over
        self._pump.poller.modify(self.sink, OUT | RDHUP)
        self._pump.stalled.renew(self)
        self._pump.slow_readers.note_stall(self.sink)

    def _resume(self) -> None:
        self._pump.stalled.drop(self)
        if not self._pump.slow_readers.note_end(self.sink):
            self.end(Ending.CLIENT_GONE)
            return
        if self.body.done:
            self.end(Ending.COMPLETE)
            return
        self._is_held_up = False
        self._pump.poller.modify(self.sink, RDHUP)
        self._pump.poller.register(self.source, IN)

    def end(self, ending: Ending) -> None:
        """Let go of both sockets, and tell whoever began it."""
        pump = self._pump
        pump.flows -= 1
        pump.stalled.drop(self)
        del pump.on_ready[self.source.fileno()], pump.on_ready[self.sink.fileno()]
        if self._is_held_up:
            pump.slow_readers.note_end(self.sink)
        else:
            pump.poller.unregister(self.source)
        pump.poller.unregister(self.sink)
        pump.aboard.discard(self)
        self.ending = ending
        self._on_end()

    def give_up(self) -> None:
        self.end(Ending.CLIENT_STALLED)

    def throw_off(self) -> None:
        if self._is_held_up:
            self._pump.slow_readers.note_end(self.sink)
        self.ending = Ending.CUT
        self._on_end()
