"""One TLS connection of a client, and the plain one that it is turned into.

Thread `tls` alone moves it. Guarantees: at most READ_BYTES are held for each direction; a client has HANDSHAKE_TIMEOUT
for its handshake in all; one that takes nothing of what is left for it goes when its serving thread has gone and its
`farewell` is over. The end of one direction is passed on, TLS's farewell before it, and the other goes on: so a client
that still sends gets to see the answer, and a tunnel may be half-closed. (TLS 1.3 has it so; before, the farewell was
the end of both ways, and a client that keeps to that ends them both.) A reset is passed on as a reset both ways, and
an answer that broke off ends with one. Never selects, and closes nothing.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from llamaswap_lib.net.linger import LONGEST, unsent_bytes
from llamaswap_lib.net.poller import IN, OUT
from llamaswap_lib.net.sockets import PlainEnd, reset_on_close
from llamaswap_lib.net.tls_stream import TlsSocket
from llamaswap_lib.runtime.hangup import has_hung_up

READ_BYTES = 65_536
HANDSHAKE_TIMEOUT = 10.0
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and you sent plain HTTP.\n"


@dataclass(frozen=True)
class Patience:
    """With clients that nobody serves any more."""

    farewell_timeout: float = 60.0  # to take a byte of what is left for it
    linger_timeout: float = 2.0  # to close, once it has been sent all


class Bridge:
    """One connection: `tls` is the client's socket, `plain` leads to the thread that serves it."""

    def __init__(self, tls: TlsSocket, plain: socket.socket, plain_end: PlainEnd, patience: Patience) -> None:
        self.tls = tls
        self.plain = plain
        self.deadline = time.monotonic() + HANDSHAKE_TIMEOUT
        self.is_over = False
        self.tls_mask = self.plain_mask = 0  # what has to happen before moving on makes sense
        self._plain_end = plain_end
        self._patience = patience
        self._is_shaken = False
        self._to_plain = b""
        self._to_client = b""
        self._unsent_bytes = 0  # when the client took no more
        self._is_heard_out = False  # the client has left
        self._is_unread = False  # nobody reads it any more: what it sends is dropped, for else a reset would follow
        self._is_answered = False  # the serving thread has said its last word
        self._is_dismissed = False  # so has TLS
        self._lingers_until = math.inf  # once nobody serves it and it has been sent all

    def move(self) -> None:
        """Move what can be moved; raises OSError where the client's side is broken."""
        self.tls_mask = self.plain_mask = 0
        if self._is_shaken or self._shake_hands():
            self._move_up()
            self._move_down()
        is_deserted = self._plain_end.fileno() < 0
        if is_deserted and self._plain_end.is_broken_off and self.tls_mask & OUT:
            self.is_over = True  # as without TLS, a client that takes nothing does not get the rest of what broke off
        elif self._is_dismissed:
            self.is_over = self.is_over or self._is_heard_out
            if is_deserted and self._lingers_until == math.inf:
                now = time.monotonic()
                self._lingers_until, self.deadline = now + LONGEST, now + self._patience.linger_timeout
        elif not self._is_shaken:  # who is turned away is to hear why
            self.is_over = is_deserted and has_hung_up(self.plain)

    def break_off(self, error: OSError) -> None:
        """The client's side is broken: say what may help, and do not end either side like something whole."""
        self.is_over = True
        self._plain_end.is_reset = True
        if self._is_shaken:
            reset_on_close(self.tls)
        elif isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
            with suppress(OSError):
                socket.socket.send(self.tls, NOT_TLS)

    def let_go(self) -> None:
        """It is about to be closed; a client that has not got all must see that."""
        self._plain_end.on_close = None
        if self._is_shaken and not self._is_dismissed:
            reset_on_close(self.tls)

    def is_due(self, now: float) -> bool:
        """Whether to end it now; a client that takes nothing and is still served gets another while."""
        if self.deadline <= now and self._is_shaken and self._plain_end.fileno() >= 0:
            self.deadline = now + self._patience.farewell_timeout
        elif self.deadline <= now < self._lingers_until < math.inf and unsent_bytes(self.tls):
            self.deadline = now + self._patience.linger_timeout
        return self.deadline <= now

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is over."""
        try:
            self.tls.shake_hands()
        except BlockingIOError:
            self.tls_mask = OUT if self.tls.unsent_bytes else IN
            return False
        self._is_shaken, self.deadline = True, math.inf
        return True

    def _move_up(self) -> None:
        """From the client to the thread that serves it: one piece, for others wait too, and the end behind it."""
        has_read = False
        while self._pass_up() and not self._is_heard_out:
            if has_read and not self.tls.has_ended:
                self.tls_mask |= IN
                return
            try:
                self._to_plain = self.tls.recv()
            except BlockingIOError:
                self.tls_mask |= IN
                return
            has_read = True
            if not self._to_plain:
                self._is_heard_out = True
                with suppress(OSError):
                    self.plain.shutdown(socket.SHUT_WR)

    def _pass_up(self) -> bool:
        """Pass on what the client sent; whether there is room for more."""
        try:
            while self._to_plain:
                self._to_plain = self._to_plain[self.plain.send(self._to_plain) :]
        except BlockingIOError:
            self.plain_mask |= OUT
            return False
        except OSError:  # the answer goes on
            self._is_unread = True
        if self._is_unread:
            self._to_plain = b""
        return True

    def _move_down(self) -> None:
        """From the thread that serves the client to the client."""
        while not self._is_dismissed and self._pass_down():
            if self._is_answered:
                self._is_dismissed = True
                return
            try:
                self._to_client = self.plain.recv(READ_BYTES)
            except BlockingIOError:
                self.plain_mask |= IN
                return
            except ConnectionResetError:  # closed, with bytes of the client's left unread
                self._to_client = b""
            self._is_answered = not self._to_client

    def _pass_down(self) -> bool:
        """Pass on what was answered, or its end; a client that takes no more has a while from its last byte on."""
        try:
            while self._to_client:
                self._to_client = self._to_client[self.tls.send(self._to_client) :]
                self.deadline = math.inf
            if self._is_answered:
                self._say_farewell()
        except BlockingIOError:
            self.tls_mask |= OUT
            if self.deadline == math.inf or self.tls.unsent_bytes < self._unsent_bytes:
                self.deadline = time.monotonic() + self._patience.farewell_timeout
            self._unsent_bytes = self.tls.unsent_bytes
            return False
        return True

    def _say_farewell(self) -> None:
        """Everything was sent: end it with TLS's own word for that, unless the answer had broken off."""
        if self._plain_end.is_broken_off:
            reset_on_close(self.tls)
            self.is_over = True
        else:
            self.tls.shutdown(socket.SHUT_WR)
            self.deadline = math.inf
