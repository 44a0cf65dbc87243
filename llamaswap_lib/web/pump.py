"""The one thread that moves flowing bodies, from an upstream's socket to a client's.

Thread `pump` runs everything here but `move`, `start` and `stop`, which any thread calls. Guarantees: it never blocks
on a socket; bytes leave in the order and the pieces in which they came; a client that can not take more stops the
reading of its own upstream and of nothing else, with at most READ_BYTES held for it; a client that hangs up, or takes
nothing for `write_timeout`, ends its flow at once. Each flow ends exactly once, and its http thread is told how.
Never closes a socket: both belong to the http thread that waits. TLS sockets do not ride here.
"""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.web.chunks import BadChunk
from llamaswap_lib.web.framings import Body
from llamaswap_lib.web.readiness import GONE, IN, OUT, RDHUP, Poller, new_poller

READ_BYTES = 65_536
FIRST_READ_BYTES = 4_096  # a token's event is a few hundred bytes, and room that stays empty costs time
CROWD = 32  # flows from which on the pump lets events gather
GATHERING = 0.0005  # seconds between two looks at a crowd
WRITE_TIMEOUT = 60.0
DONTWAIT = socket.MSG_DONTWAIT


class Ending(Enum):
    """How a flow ended."""

    COMPLETE = auto()  # the last byte of the body was accepted for the client
    CUT = auto()  # the upstream broke off, or broke its framing
    CLIENT_GONE = auto()
    CLIENT_STALLED = auto()  # it took nothing for `write_timeout`


class Flow:
    """One body on its way from `source` to `sink`; both are in blocking mode and stay the http thread's."""

    __slots__ = (
        "_backlog",
        "_ended",
        "_is_held_up",
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

    def __init__(self, source: socket.socket, sink: socket.socket, body: Body) -> None:
        self.source = source
        self.sink = sink
        self.body = body
        self.sent_bytes = 0
        self.ending = Ending.CUT
        self._backlog = b""
        self._is_held_up = False  # the client has no room: its upstream is not read, and not registered
        self._ended = threading.Lock()  # held while it flows: an Event costs several times as much
        self._ended.acquire()
        self._receive, self._send, self._take = source.recv, sink.send, body.take
        self._room_bytes = FIRST_READ_BYTES

    # -- http thread --

    def wait(self) -> Ending:
        """Block until the flow has ended."""
        self._ended.acquire()
        return self.ending

    # -- pump thread only --

    def begin(self, pump: Pump) -> None:
        self._pump = pump
        pump.flows.add(self)
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
            if not data:
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
        try:
            sent = self._send(self._backlog, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.end(Ending.CLIENT_GONE)
            return
        self.sent_bytes += sent
        self._backlog = self._backlog[sent:]
        self._pump.note_progress(self)
        if not self._backlog:
            self._resume()

    def _hold(self, rest: bytes) -> None:
        self._backlog = rest
        self._is_held_up = True
        self._pump.poller.unregister(self.source)  # not modify(0): a hang-up would be reported over and over
        self._pump.poller.modify(self.sink, OUT | RDHUP)
        self._pump.note_progress(self)

    def _resume(self) -> None:
        self._pump.stalled.pop(self, None)
        if self.body.done:
            self.end(Ending.COMPLETE)
            return
        self._is_held_up = False
        self._pump.poller.modify(self.sink, RDHUP)
        self._pump.poller.register(self.source, IN)

    def end(self, ending: Ending) -> None:
        """Let go of both sockets, and of the http thread."""
        pump = self._pump
        pump.flows.discard(self)
        pump.stalled.pop(self, None)
        del pump.on_ready[self.source.fileno()], pump.on_ready[self.sink.fileno()]
        if not self._is_held_up:
            pump.poller.unregister(self.source)
        pump.poller.unregister(self.sink)
        self.finish(ending)

    def finish(self, ending: Ending) -> None:
        self.ending = ending
        self._ended.release()


class Pump:
    """Moves all flows of one server."""

    def __init__(
        self,
        *,
        write_timeout: float = WRITE_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        poller: Callable[[], Poller] = new_poller,
        on_error: Callable[[str], None] = print,
    ) -> None:
        """`on_error` is told the traceback of what must not happen."""
        self._new_poller = poller
        self._wakeup = Wakeup()
        self._begin_anew()
        self._write_timeout = write_timeout
        self._clock = clock
        self._on_error = on_error
        self._arrivals: deque[Flow] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    # -- any thread --

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End every flow as cut, and the thread; blocks until it has ended. No `move` may begin after this."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join()
        self._wakeup.close()

    def move(self, flow: Flow) -> Ending:
        """Move the whole body; blocks until it has ended."""
        self._arrivals.append(flow)
        self._wakeup.set()
        return flow.wait()

    # -- pump thread only --

    def note_progress(self, flow: Flow) -> None:
        """A flow with bytes held has `write_timeout` from now."""
        self.stalled.pop(flow, None)
        self.stalled[flow] = self._clock() + self._write_timeout

    def _run(self) -> None:
        while not self._stopping:
            self._run_until_error()
        self._end_all()

    def _run_until_error(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except Exception:  # noqa: BLE001 - top of the thread: what broke here must not end the service for good
            self._on_error(f"pump: {traceback.format_exc()}")
            self._end_all()
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.poller = self._new_poller()
        self.poller.register(self._wakeup, IN)
        self.on_ready: dict[int, Callable[[int], None]] = {self._wakeup.fileno(): self._welcome}
        self.flows: set[Flow] = set()
        self.stalled: dict[Flow, float] = {}  # to the moment it is given up; the order of insertion is that of time

    def _end_all(self) -> None:
        """Let go of everything at once, whatever state it is in."""
        self.poller.close()
        for flow in (*self.flows, *self._arrivals):
            flow.finish(Ending.CUT)
        self._arrivals.clear()

    def _turn(self) -> None:
        """Serve whoever is ready.

        Waking up costs more than moving a chunk, so a crowd is looked at every half millisecond: what came meanwhile
        is moved in one go, at less than half the cost. A few flows are served the moment they have something.
        """
        on_ready = self.on_ready
        if len(self.flows) > CROWD:
            time.sleep(GATHERING)
        for fd, mask in self.poller.poll(self._patience()):
            serve = on_ready.get(fd)
            if serve is not None:  # its flow may have ended earlier in this turn
                serve(mask)
        if self.stalled:
            self._give_up_stalled()

    def _patience(self) -> float | None:
        for deadline in self.stalled.values():
            return max(0.0, deadline - self._clock())
        return None

    def _give_up_stalled(self) -> None:
        now = self._clock()
        for flow in [flow for flow, deadline in self.stalled.items() if deadline <= now]:
            flow.end(Ending.CLIENT_STALLED)

    def _welcome(self, _mask: int) -> None:
        self._wakeup.clear()
        while self._arrivals:
            self._arrivals.popleft().begin(self)
