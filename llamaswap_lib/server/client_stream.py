"""The client's socket on the loop: what is read from it, what is sent to it, and what is heard of it meanwhile.

Thread `loop` alone. `ClientConnection` is built on it and has the life that all of this belongs to: whatever happens
resumes that life, or throws ClientGone into it. Guarantees: a client that leaves is noticed at one place
(`hear_while_busy`); one that only ends its direction has left, too, unless the answer is ours to give; one that takes
nothing for `write_timeout` is cut off, and may be cut off for others before that; under TLS nothing is lost that no
poll tells of. Knows nothing of HTTP.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from llamaswap_lib.errors import ClientGone, RequestTimeout
from llamaswap_lib.net.loop import DUE, Loop, Owner, Timer, suspended
from llamaswap_lib.net.poller import GONE, HUP, IN, OUT, RDHUP
from llamaswap_lib.net.stream import MOST_LINGERING_BYTES, has_unread, unsent_bytes
from llamaswap_lib.net.tls_stream import NOT_TLS, TlsStream
from llamaswap_lib.server.connection_state import MOVES, State
from llamaswap_lib.server.connection_table import REFRESHING_BYTES, ConnectionTable
from llamaswap_lib.server.limits import Limits

READ_BYTES = 65_536
LONGEST_LINGER = 30.0  # seconds


class Site(Protocol):
    """What a client's socket needs of the server."""

    table: ConnectionTable[Any]
    is_stopping: bool
    on_idle: Callable[[Any], object] | None  # another process serves: called soon with each that has no request

    @property
    def limits(self) -> Limits:
        """Those that hold now."""


class ClientStream:
    """The socket, and the life that waits for it."""

    __slots__ = (
        "_awaits_answer",
        "_fresh_bytes",
        "_is_in_line",
        "_site",
        "_waits_for_room",
        "is_cut_off",
        "is_gone",
        "is_unfinished",
        "loop",
        "mask",
        "on_room",
        "resets",
        "resume",
        "state",
        "stream",
        "throw",
        "timer",
        "tls",
    )

    resume: Callable[[Any], object]  # the life, with whatever it waited for
    throw: Callable[[BaseException], object]  # into the life
    on_room: Callable[[int], object]  # called when the client takes more, while it is stalled

    def __init__(self, site: Site, loop: Loop, stream: socket.socket, owner: Owner) -> None:
        """`stream` is not blocking; `owner` is told what breaks when the timer is due."""
        self._site = site
        self.loop = loop
        self.stream = stream
        self.tls = stream if isinstance(stream, TlsStream) else None
        self.state = State.IDLE if self.tls is None else State.SHAKING_HANDS
        self.mask = IN | RDHUP  # what the poller is asked about it
        self.timer = Timer(loop, self._hear_timer, owner)
        self.is_gone = False  # its client has left, or is to get nothing more
        self.is_cut_off = False  # it ends at once
        self.is_unfinished = False  # it ends, and its client may still be sending
        self.resets = False  # it ends with a reset
        self._awaits_answer = False  # its client has not left if it only sends nothing more
        self._is_in_line = False  # it has let others go first
        self._waits_for_room = False
        self._fresh_bytes = 0

    def watch_for(self, mask: int) -> None:
        """Have the poller tell of that from now on."""
        if mask != self.mask and self.mask:  # 0: it is not watched any more
            self.mask = mask
            self.loop.change(self.stream, mask)

    # -- reading --

    async def shake_hands(self, stream: TlsStream) -> None:
        """TLS begins; raises ClientGone where it does not."""
        self.timer.set(self._site.limits.handshake_timeout)
        while True:
            try:
                stream.shake_hands()
                break
            except BlockingIOError:
                self.watch_for(OUT if stream.unsent_bytes else IN | RDHUP)
            except OSError as error:
                if getattr(error, "reason", "") == "HTTP_REQUEST":
                    with suppress(OSError):
                        socket.socket.send(stream, NOT_TLS)
                self.is_gone = True
                raise ClientGone from None
            if await suspended() == DUE:
                self.is_gone = True
                raise ClientGone
        self.timer.clear()
        self.watch_for(IN | RDHUP)
        self.state = MOVES[self.state][State.IDLE]

    def receive_now(self, most_bytes: int) -> bytes | None:
        """What has come, None for nothing yet, b"" where there will be nothing any more."""
        try:
            data = self.stream.recv(most_bytes)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if self.tls is not None:
            self.pass_end_on(self.tls)
        return data

    def receive_early(self) -> bytes | None:
        """What has come under TLS, and no poll tells of; None for nothing."""
        return self.receive_now(READ_BYTES) if self.tls is not None and self.tls.is_ready else None

    def begin_receiving(self) -> None:
        """The rest of a head or a body is waited for from now on."""
        self._fresh_bytes = 0

    async def receive_rest(self, most_bytes: int, what: str) -> bytes:
        """The next bytes, never none; raises RequestTimeout when the timer is due, and ClientGone."""
        self.check_client()
        data = self.receive_early()
        while data is None:
            self.watch_for(IN | RDHUP)
            fd = self.stream.fileno()
            serving = self.loop.on_ready[fd]
            self.loop.on_ready[fd] = self.resume
            try:
                mask = await suspended()
            finally:
                if fd in self.loop.on_ready:
                    self.loop.on_ready[fd] = serving
            if mask == DUE:
                raise RequestTimeout(f"{what} of the request did not come in time")
            data = self.receive_now(most_bytes)
        if not data:
            raise ClientGone
        self._fresh_bytes += len(data)
        if self._fresh_bytes >= REFRESHING_BYTES:
            self._fresh_bytes = 0
            self._site.table.note_reading(self)
        return data

    def _look_ahead(self, stream: TlsStream) -> None:
        """Read on under TLS: there is no other way to learn that the client has left with TLS's farewell alone."""
        try:
            stream.look()
        except OSError:
            self._note_gone()
            return
        if stream.has_ended:
            self._note_end()
        elif len(stream.ahead) >= READ_BYTES:
            self.watch_for(self.mask & ~IN)

    def pass_end_on(self, stream: TlsStream) -> None:
        """Have the end heard at the next wait, if it came together with what was read: no poll tells of it."""
        if stream.has_ended:
            self.loop.call(self._hear_end)

    def _hear_end(self) -> None:
        if not self.is_gone and self.state is not State.CLOSED:
            self.loop.on_ready[self.stream.fileno()](IN)

    async def let_others_go_first(self) -> None:
        """Wait, between two requests, until everybody else who is ready has been served."""
        fd = self.stream.fileno()
        self.loop.on_ready[fd] = _wait_in_line
        self._is_in_line = True
        self.loop.call(self._take_turn)
        try:
            await suspended()
        finally:
            self._is_in_line = False
            self.loop.on_ready[fd] = self.resume
        if self.tls is not None:
            self.pass_end_on(self.tls)  # which was told of in vain meanwhile

    def _take_turn(self) -> None:
        if self._is_in_line:  # it may have been cut off meanwhile
            self.resume(None)

    # -- sending --

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the client takes at once; how many bytes that are; raises ClientGone."""
        if self.is_cut_off:  # while a handler thread was at work
            raise ClientGone
        try:
            return self.stream.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise ClientGone from None

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of it; raises ClientGone, also if the client takes nothing for too long."""
        rest = memoryview(data)
        rest = rest[self.send_now(rest) :]
        if not rest:
            return
        self.stall()
        try:
            while rest:
                await self._room()
                rest = rest[self.send_now(rest) :]
        finally:
            self.end_stall()

    async def room(self) -> None:
        """Wait until the client takes more; raises ClientGone if it takes nothing for too long."""
        self.stall()
        try:
            await self._room()
        finally:
            self.end_stall()

    async def _room(self) -> None:
        if await suspended() == DUE:
            self.resets = True
            raise ClientGone

    def stall(self) -> None:
        """From now on the client takes nothing: `on_room` is called when it does, the life resumed when it does not.

        Raises ClientGone if it has left.
        """
        self.check_client()
        self._site.table.note_stall(self)
        self.timer.set(self._site.limits.write_timeout)
        if not self._waits_for_room:
            self._waits_for_room = True
            self.watch_for(self.mask & IN | OUT | RDHUP)

    def end_stall(self) -> None:
        """It takes what it is sent, or nothing is left for it."""
        if self._waits_for_room:
            self._waits_for_room = False
            self.timer.clear()
            self._site.table.note_room(self)
            self.watch_for(self.mask & IN | RDHUP)

    def note_stall(self) -> None:
        """It takes nothing, as far as others are concerned: it may be cut off for them."""
        self._site.table.note_stall(self)

    def note_room(self) -> None:
        self._site.table.note_room(self)

    # -- what happens meanwhile --

    def set_deadline(self, seconds: float | None) -> None:
        """Be resumed with DUE then; None: not."""
        if seconds is None:
            self.timer.clear()
        else:
            self.timer.set(seconds)

    def hear_while_busy(self, mask: int) -> None:
        """While a request is served: the client has left, takes more, or has sent its next request before its time."""
        if mask & RDHUP and self._awaits_answer:
            self._note_end()
            mask &= ~(IN | RDHUP)
        if mask & GONE:
            self._note_gone()
        elif mask & OUT and self._waits_for_room:
            self.on_room(mask)
            if self._waits_for_room:
                self.stall()  # anew: it has taken something, which under TLS need not be all of a piece
        elif self.tls is None:
            self.watch_for(self.mask & ~IN)
        else:
            self._look_ahead(self.tls)

    @contextmanager
    def awaiting_answer(self) -> Iterator[None]:
        """Meanwhile a client that ends its direction has not left: it gets an answer that is ours to give."""
        self._awaits_answer = True
        try:
            yield
        finally:
            self._awaits_answer = False
            self.watch_for(self.mask | RDHUP)  # of an end that has come the poller tells again
            if self.tls is not None:
                self.pass_end_on(self.tls)

    def _note_end(self) -> None:
        """The client has ended its direction: no more will come, and it has left unless it awaits an answer."""
        if self._awaits_answer:
            self.watch_for(self.mask & OUT | HUP)  # which is told of in any case
        else:
            self._note_gone()

    def _note_gone(self) -> None:
        self.is_gone = True
        self.loop.unwatch(self.stream)
        self.mask = 0
        self.throw(ClientGone())

    def _hear_timer(self) -> None:
        self.resume(DUE)

    def check_client(self) -> None:
        """Raise ClientGone if the client has left."""
        if self.is_gone:
            raise ClientGone

    # -- the end --

    def has_sent(self) -> bool:
        return has_unread(self.stream)

    def has_unsent(self) -> bool:
        """Whether its client has not received all that it was sent."""
        return unsent_bytes(self.stream) > 0

    def cut_off_now(self, farewell: bytes) -> None:
        """It ends at once, after `farewell` as far as that can be sent."""
        self.is_cut_off = self.is_gone = True
        if farewell:
            with suppress(OSError):
                self.stream.send(farewell)

    def follow(self, *, follows: bool) -> None:
        """Its client follows something that never ends by itself, or not any more: it may be cut off for others."""
        self._site.table.note_follower(self, follows=follows)

    def linger(self) -> None:
        """Let the client see our last word when the connection ends, though it still sends."""
        self.is_unfinished = True

    def reset_on_close(self) -> None:
        """Have the connection end so that its client does not take what it has for all there is."""
        self.resets = True

    async def end_sending(self) -> None:
        """End our direction, behind TLS's farewell; raises ClientGone where the client does not take that."""
        mask = IN | OUT
        self.timer.set(self._site.limits.write_timeout)
        while True:
            try:
                self.stream.shutdown(socket.SHUT_WR)
                return
            except BlockingIOError:
                self.watch_for(mask)
            except OSError:
                raise ClientGone from None
            happened = await suspended()
            if happened == DUE:
                self.resets = True
                raise ClientGone
            if happened & OUT:
                self.timer.set(self._site.limits.write_timeout)
            if happened & IN and self.receive_now(READ_BYTES) == b"":
                mask = OUT

    async def drop_rest(self) -> None:
        """Read and drop what the client sends, until it closes or has had its time; raises ClientGone."""
        stream, limits = self.stream, self._site.limits
        until, left_bytes = self.loop.clock() + LONGEST_LINGER, MOST_LINGERING_BYTES
        self.watch_for(IN)
        while True:
            data = self.receive_early()
            self.timer.set(limits.linger_timeout)
            if data is None:
                if await suspended() == DUE:
                    if self.loop.clock() >= until or not unsent_bytes(stream):
                        return
                    continue
                data = self.receive_now(READ_BYTES)
            if data is not None:
                left_bytes -= len(data)
                if not data or left_bytes <= 0 or self.loop.clock() >= until:
                    return


def _wait_in_line(_mask: int) -> None:
    """What has come is read when it is this client's turn, in this turn of the loop or the next."""
