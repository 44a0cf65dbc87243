"""A connection that has left HTTP behind, both ways: a WebSocket, or whatever else an `Upgrade` led to.

The http thread of its client runs it for as long as it lasts; nothing but its two sides ends it, however long both are
silent; but where connections have to make room, a client that takes nothing may be cut off. Guarantees: bytes pass
unchanged and in order, also those that came ahead of the switch; a side that takes nothing stops the reading of the
other one and nothing else, with at most one piece held for it; the end of one direction is passed on and the other
goes on; a reset is passed on as a reset; a side that has vanished without a word is found by TCP's probes. Never closes
a socket.

With TLS on a side, whichever, the end of a direction is TLS's farewell. Whoever takes that for the end of both, as it
was before TLS 1.3, ends both. An upstream's end without it is a reset.
"""

from __future__ import annotations

import errno
import select
import socket

from llamaswap_lib.net.slow_readers import SlowReaders
from llamaswap_lib.net.sockets import probe_when_silent, reset_on_close, was_reset
from llamaswap_lib.net.tls_stream import TlsSocket
from llamaswap_lib.server.exchange import Exchange

READ_BYTES = 65_536
CUT_OFF_LOOK = 1_000  # milliseconds between two looks whether a client that takes nothing was cut off
CLIENT_PROBES = 30.0  # seconds of silence between two probes
IN, OUT = select.POLLIN, select.POLLOUT
BROKEN = select.POLLERR | select.POLLHUP
DONTWAIT = socket.MSG_DONTWAIT


def tunnel(exchange: Exchange, upstream: socket.socket, lines: str, ahead: bytes, *, upstream_probes: float) -> None:
    """Pass the head of a 101 on, then bytes both ways until both have ended; blocks; raises ClientGone.

    `ahead` came from the upstream behind its head. `upstream_probes`: seconds of its silence between two, 0 for none.
    """
    client = exchange.sock
    up, down = _Way(client, upstream, exchange.switch(lines)), _Way(upstream, client, ahead)
    probe_when_silent(client, CLIENT_PROBES)
    if upstream_probes:
        probe_when_silent(upstream, upstream_probes)
    _Tunnel(up, down, exchange.app.pump.slow_readers).run()
    exchange.sent_bytes += down.moved_bytes
    if up.is_broken or down.is_broken:
        exchange.cut(reset=True)
        reset_on_close(upstream)
    elif up.has_lost_sink:
        exchange.linger()


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
        return isinstance(self.source, TlsSocket) and self.source.has_ended

    def read(self) -> bool:
        """Take what is there and pass it on; False if the source is no more."""
        try:
            self.held = self.source.recv(READ_BYTES, DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            self.is_broken = self.is_over = True
            return False
        if not self.held and was_reset(self.source):
            self.is_broken = self.is_over = True
            return False
        self._has_ended = not self.held or self._is_at_end()
        self.write()
        return True

    def write(self) -> None:
        """Pass on what is held; behind the last of it, the end."""
        try:
            if self.held:
                sent = self.sink.send(self.held, DONTWAIT)
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
        self.is_broken = error != errno.EPIPE or was_reset(self.sink)


class _Tunnel:
    """Two ways over the same two sockets."""

    __slots__ = ("_down", "_moved_bytes", "_poll", "_quiet", "_readers", "_up")

    def __init__(self, up: _Way, down: _Way, readers: SlowReaders) -> None:
        self._readers = readers
        self._moved_bytes: int | None = None  # to the client when it took no more
        self._up = up
        self._down = down
        self._poll = select.poll()
        self._quiet: set[int] = set()  # hung up, and we want nothing of them: they would be reported for ever

    def run(self) -> None:
        """Block until both ways are over, or one of the sides is no more, or the client was cut off for others."""
        try:
            self._run()
        finally:
            if self._moved_bytes is not None:
                self._readers.note_end(self._down.sink)

    def _run(self) -> None:
        up, down = self._up, self._down
        up.write()
        down.write()
        is_whole = True
        while is_whole and not (up.is_over and down.is_over):
            if (down.held or self._moved_bytes is not None) and not self._tell_of_client(down):
                down.is_broken = True
                return
            self._watch(up, down)
            self._watch(down, up)
            for fd, mask in self._poll.poll(None if self._moved_bytes is None else CUT_OFF_LOOK):
                from_here, to_here = (up, down) if fd == up.source.fileno() else (down, up)
                is_whole = self._serve(fd, mask, from_here, to_here) and is_whole

    def _tell_of_client(self, down: _Way) -> bool:
        """Tell whether it takes what it is sent, so that it can be cut off for others; False if it was."""
        before, self._moved_bytes = self._moved_bytes, down.moved_bytes if down.held else None
        if before is None:
            self._readers.note_stall(down.sink)
            return True
        if not down.held:
            return self._readers.note_end(down.sink)
        return self._readers.note_progress(down.sink) if down.moved_bytes > before else not was_reset(down.sink)

    def _watch(self, from_here: _Way, to_here: _Way) -> None:
        """Look out for what can be done with one side now; a reset is always reported."""
        side = from_here.source
        mask = (IN if from_here.has_room else 0) | (OUT if to_here.is_pending else 0)
        if mask or side.fileno() not in self._quiet:
            self._poll.register(side, mask)

    def _serve(self, fd: int, mask: int, from_here: _Way, to_here: _Way) -> bool:
        """Do what one side is ready for; False if that side is no more."""
        is_wanted = from_here.has_room or to_here.is_pending
        if to_here.is_pending and mask & (OUT | BROKEN):
            to_here.write()
        if from_here.has_room and mask & (IN | BROKEN):
            return from_here.read()
        if not is_wanted:
            self._poll.unregister(fd)
            self._quiet.add(fd)
            error = from_here.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error or was_reset(from_here.source):
                to_here.lose_sink(error)
                from_here.is_broken = to_here.is_broken
        return not from_here.is_broken
