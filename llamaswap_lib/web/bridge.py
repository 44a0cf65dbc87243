"""One TLS connection of a client, and the plain one that it is turned into.

Thread `tls` alone moves it. Guarantees: at most READ_BYTES are held for each direction; a client has HANDSHAKE_TIMEOUT
for its handshake in all; one that takes nothing of what is left for it goes when its serving thread has gone and its
`farewell` is over; behind the end of the answer comes TLS's farewell, and then what the client still sends is taken and
thrown away for `linger`, or it might see a reset in place of the answer. That is why a half-closed plain end is no
half-closed TLS: OpenSSL reads nothing behind its own farewell when bytes were on their way as it was said. Never
selects, and closes nothing.
"""

from __future__ import annotations

import math
import selectors
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from llamaswap_lib.web.sockets import PlainEnd, reset_on_close

READ_BYTES = 65_536
HANDSHAKE_TIMEOUT = 10.0
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and you sent plain HTTP.\n"


@dataclass(frozen=True)
class Patience:
    """With clients that nobody serves any more."""

    farewell_timeout: float = 60.0  # to take a byte of what is left for it
    linger_timeout: float = 2.0  # to end its own side when the answer has ended


class Bridge:
    """One connection: `tls` is the client's socket, `plain` leads to the thread that serves it."""

    def __init__(self, tls: ssl.SSLSocket, plain: socket.socket, plain_end: PlainEnd, patience: Patience) -> None:
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
        self._is_heard_out = False  # the client has left, or nobody reads it any more
        self._is_answered = False  # the serving thread has said its last word
        self._is_lingering = False  # so has TLS

    def move(self) -> None:
        """Move what can be moved; raises OSError where the client's side is broken."""
        self.tls_mask = self.plain_mask = 0
        for move in (self._shake_hands, self._move_up, self._move_down):
            try:
                move()
            except ssl.SSLWantReadError:
                self.tls_mask |= READ
            except ssl.SSLWantWriteError:
                self.tls_mask |= WRITE
            if not self._is_shaken or self.is_over:
                return

    def break_off(self, error: OSError) -> None:
        """The client's side is broken: say what may help, and do not end it like something whole."""
        self.is_over = True
        if self._is_shaken:
            reset_on_close(self.tls)
        elif isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
            with suppress(OSError):
                socket.socket.send(self.tls, NOT_TLS)

    def is_due(self, now: float) -> bool:
        """Whether to end it now; a client that takes nothing and is still served gets another while."""
        is_deserted = self._plain_end.fileno() < 0
        if self._is_lingering and is_deserted:
            return True
        if self.deadline <= now and self._is_shaken and not (self._is_answered or is_deserted):
            self.deadline = now + self._patience.farewell_timeout
        return self.deadline <= now

    def _shake_hands(self) -> None:
        if not self._is_shaken:
            self.tls.do_handshake()
            self._is_shaken, self.deadline = True, math.inf

    def _move_up(self) -> None:
        """From the client to the thread that serves it."""
        if self._is_lingering:
            self._discard()
            return
        while self._pass_up() and not self._is_heard_out:
            self._to_plain = self.tls.recv(READ_BYTES)
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
            self.plain_mask |= WRITE
            return False
        except OSError:  # nobody reads it any more; the answer goes on
            self._to_plain, self._is_heard_out = b"", True
        return True

    def _discard(self) -> None:
        """Take what the client still sends, until it ends; one piece, for others wait."""
        self._pass_up()
        self.tls_mask |= READ
        with suppress(BlockingIOError):
            self.is_over = not socket.socket.recv(self.tls, READ_BYTES)

    def _move_down(self) -> None:
        """From the thread that serves the client to the client."""
        while not self._is_lingering:
            self._pass_down()
            if self._is_answered:
                self._say_farewell()
                return
            try:
                self._to_client = self.plain.recv(READ_BYTES)
            except BlockingIOError:
                self.plain_mask |= READ
                return
            except ConnectionResetError:  # closed, with bytes of the client's left unread
                self._to_client = b""
            if not self._to_client:
                self._is_answered, self.deadline = True, time.monotonic() + self._patience.farewell_timeout

    def _pass_down(self) -> None:
        """Pass on what was answered; a client that takes no more has a while from its last byte on."""
        while self._to_client:
            try:
                sent_bytes = self.tls.send(self._to_client)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if self.deadline == math.inf:
                    self.deadline = time.monotonic() + self._patience.farewell_timeout
                raise
            self._to_client = self._to_client[sent_bytes:]
            self.deadline = math.inf

    def _say_farewell(self) -> None:
        """Everything was sent: end it with TLS's own word for that, unless the answer had broken off."""
        if self._plain_end.is_broken_off:
            reset_on_close(self.tls)
            self.is_over = True
            return
        try:
            self.tls.unwrap()
        except ssl.SSLWantWriteError:
            raise
        except OSError:
            pass  # the client has left, or its own farewell is to come, or bytes that are before it
        if self._is_heard_out or self._plain_end.fileno() < 0:
            self.is_over = True
            return
        socket.socket.shutdown(self.tls, socket.SHUT_WR)
        self._is_lingering, self.deadline = True, time.monotonic() + self._patience.linger_timeout
        self.tls_mask |= READ
