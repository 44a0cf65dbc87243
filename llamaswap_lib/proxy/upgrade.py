"""A connection that has left HTTP: a WebSocket, or whatever else an `Upgrade` led to. Two ways over two sockets.

Thread `loop` alone, as a part of the life of the client's connection. Nothing but its two sides ends it, however long
both are silent; but where connections have to make room, a client that takes nothing may be cut off. Guarantees: bytes
pass unchanged and in order, also those that came ahead of the switch; a side that takes nothing stops the reading of
the other one and nothing else, with at most one piece held for it; the end of one direction is passed on and the other
goes on; a reset is passed on as a reset; a side that has vanished without a word is found by TCP's probes. Never closes
a socket.

With TLS on a side, whichever, the end of a direction is TLS's farewell. A side that takes that for the end of both, as
it was before TLS 1.3, ends both. An upstream's end without it is a reset.
"""

from __future__ import annotations

import errno
import socket
from functools import partial

from llamaswap_lib.net.loop import Loop, suspended
from llamaswap_lib.net.poller import ERR, HUP, IN, OUT
from llamaswap_lib.net.stream import probe_when_silent, reset_on_close
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.proxy.connection import UpstreamConnection
from llamaswap_lib.server.exchange import Client, Exchange

READ_BYTES = 65_536
CLIENT_PROBES = 30.0  # seconds of silence between two probes
BROKEN = ERR | HUP


async def pass_both_ways(
    exchange: Exchange, connection: UpstreamConnection, lines: str, ahead: bytes, *, upstream_probes: float
) -> None:
    """Pass the head of a 101 on, then bytes both ways until both have ended; raises ClientGone.

    `ahead` came from the upstream, which is muted, behind its head. `upstream_probes`: seconds of its silence between
    two, 0 for none.
    """
    client, upstream = exchange.client, connection.sock
    exchange.closes = True
    exchange.status = 101
    await exchange.write_first(f"{lines}\r\n".encode("latin-1"), 0)
    client.check_client()
    connection.unmute()
    up, down = _Way(client.stream, upstream, client.requests.take_ahead()), _Way(upstream, client.stream, ahead)
    probe_when_silent(client.stream, CLIENT_PROBES)
    if upstream_probes:
        probe_when_silent(upstream, upstream_probes)
    try:
        await _Ways(up, down, client.loop, client, connection).run()
    except BaseException:  # the client was cut off: the upstream must not take what it has for all there is
        reset_on_close(upstream)
        raise
    finally:
        exchange.sent_bytes += down.moved_bytes
    if up.is_broken or down.is_broken:
        exchange.cut(reset=True)
        reset_on_close(upstream)
    elif up.has_lost_sink:
        client.linger()


class _Way:
    """One direction: what `source` sends goes to `sink`, and then its end."""

    __slots__ = ("_has_ended", "has_lost_sink", "held", "is_broken", "is_over", "moved_bytes", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket, ahead: bytes) -> None:
        self.source = source
        self.sink = sink
        self.held = ahead  # read, and not yet taken
        self.moved_bytes = 0
        self.is_over = False
        self.is_broken = False  # it did not end as its source meant it to
        self.has_lost_sink = False
        self._has_ended = self._is_at_end()

    @property
    def has_room(self) -> bool:
        """Whether to read on."""
        return not (self.is_pending or self.is_over)

    @property
    def is_pending(self) -> bool:
        """Whether something waits for the sink: bytes, or the end."""
        return bool(self.held) or (self._has_ended and not self.is_over)

    def _is_at_end(self) -> bool:
        """Whether all has been read. What came with TLS may have brought the end along, which no poll would tell."""
        return isinstance(self.source, TlsStream) and self.source.has_ended

    def read(self) -> None:
        """Take what is there and pass it on; `is_broken` if the source is no more."""
        try:
            self.held = self.source.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.is_broken = self.is_over = True
            return
        self._has_ended = not self.held or self._is_at_end()
        self.write()

    def write(self) -> None:
        """Pass on what is held; behind the last of it, the end."""
        try:
            if self.held:
                sent = self.sink.send(self.held)
                self.held = self.held[sent:]
                self.moved_bytes += sent
            if self._has_ended and not self.held:
                self.sink.shutdown(socket.SHUT_WR)
                self.is_over = True
        except BlockingIOError:
            pass
        except OSError as error:
            self.lose_sink(error.errno)

    def lose_sink(self, error: int | None) -> None:
        """Nobody takes it any more. A broken pipe: that side had said its own last word before, and is whole."""
        self.held, self.is_over, self.has_lost_sink = b"", True, True
        self.is_broken = error != errno.EPIPE


class _Ways:
    """Two ways over the same two sockets."""

    __slots__ = ("_client", "_connection", "_down", "_is_waited_for", "_loop", "_masks", "_stalled_at", "_up")

    def __init__(self, up: _Way, down: _Way, loop: Loop, client: Client, connection: UpstreamConnection) -> None:
        self._up = up
        self._down = down
        self._loop = loop
        self._client = client
        self._connection = connection
        self._is_waited_for = False
        self._stalled_at: int | None = None  # bytes to the client when it took no more
        self._masks: dict[int, int] = {}  # what is asked about each side; 0 where it is paused

    async def run(self) -> None:
        """Until both ways are over, or one of the sides is no more."""
        loop, up, down = self._loop, self._up, self._down
        client_fd, upstream_fd = up.source.fileno(), down.source.fileno()
        up.write()
        down.write()
        serving = loop.on_ready[client_fd]
        loop.on_ready[client_fd] = partial(self._serve, up, down)
        loop.on_ready[upstream_fd] = partial(self._serve, down, up)
        self._masks = {client_fd: self._client.mask, upstream_fd: IN}
        try:
            self._watch()
            self._is_waited_for = True
            while not self._is_over:
                await suspended()
        finally:
            self._is_waited_for = False
            if self._stalled_at is not None:
                self._client.note_room()
            if client_fd in loop.on_ready:
                loop.on_ready[client_fd] = serving
                if not self._masks[client_fd]:
                    loop.proceed(up.source, IN)
                self._client.mask = self._masks[client_fd] or IN

    @property
    def _is_over(self) -> bool:
        up, down = self._up, self._down
        return up.is_broken or down.is_broken or (up.is_over and down.is_over)

    def _serve(self, from_here: _Way, to_here: _Way, mask: int) -> None:
        """Do what one side is ready for, and find out what to wait for next."""
        is_wanted = from_here.has_room or to_here.is_pending
        if to_here.is_pending and mask & (OUT | BROKEN):
            to_here.write()
        if from_here.has_room and mask & (IN | BROKEN):
            from_here.read()
        if not is_wanted:  # it hung up, and nothing is wanted of it: it would be reported for ever
            error = from_here.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                to_here.lose_sink(error)
                from_here.is_broken = to_here.is_broken
            self._ask(from_here.source, 0)
        if not self._is_over:
            self._watch()
        if self._is_over and self._is_waited_for:
            self._client.resume(None)

    def _watch(self) -> None:
        """Look out for what can be done now; and tell of a client that takes nothing, so that it can be cut off."""
        up, down = self._up, self._down
        for from_here, to_here in ((up, down), (down, up)):
            mask = (IN if from_here.has_room else 0) | (OUT if to_here.is_pending else 0)
            if mask:
                self._ask(from_here.source, mask)
            elif self._masks[from_here.source.fileno()]:
                self._ask(from_here.source, BROKEN)
        if not down.held:
            if self._stalled_at is not None:
                self._stalled_at = None
                self._client.note_room()
        elif self._stalled_at != down.moved_bytes:
            self._stalled_at = down.moved_bytes
            self._client.note_stall()

    def _ask(self, sock: socket.socket, mask: int) -> None:
        fd = sock.fileno()
        before, self._masks[fd] = self._masks[fd], mask
        if before == mask:
            return
        if not mask:
            self._loop.pause(sock)
        elif not before:
            self._loop.proceed(sock, mask)
        else:
            self._loop.change(sock, mask)
