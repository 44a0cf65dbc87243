"""TLS for clients: one thread that turns every TLS connection into a plain one.

The rest of the web layer peeks at sockets, polls them for hang-ups and hands them to the pump, none of which a TLS
socket can do. So each TLS client gets a pair of connected sockets: the `PlainEnd` is served like any other connection,
and thread `tls` moves bytes between its counterpart and the TLS. Guarantees: accepting never waits for a handshake,
which has HANDSHAKE_TIMEOUT in all; at most READ_BYTES are held for each direction; who hangs up on one side is gone on
the other; an answer that breaks off ends without TLS's farewell, so that no client takes it for whole. A certificate
that is renewed on disk is used from the next handshake on. Never decides about a request.
"""

from __future__ import annotations

import math
import selectors
import socket
import ssl
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.web.sockets import PlainEnd, reset_on_close

READ_BYTES = 65_536
HANDSHAKE_TIMEOUT = 10.0
FAREWELL_TIMEOUT = 60.0  # for a client to take what was answered before its connection was closed
STOP_GRACE = 1.0  # for the same, when the server ends
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and you sent plain HTTP.\n"


class Certificate:
    """A certificate and its key, in PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigError for files that can not be read, or that do not belong together."""
        self._files = certificate, key
        self._stamps = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """What a handshake needs; made anew when the files have changed, the old one while they can not be used."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            with suppress(ConfigError):  # half a renewal: the other file has not been written yet
                self._context = self._load()
        return self._context

    def _look(self) -> list[int]:
        try:
            return [file.stat().st_mtime_ns for file in self._files]
        except OSError:
            return []

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never ask at the terminal
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"can not use the certificate {certificate} with the key {key}: {reason}") from None
        return context


class TlsFront:
    """All TLS connections of one server."""

    def __init__(self, certificate: Certificate, on_error: Callable[[str], None]) -> None:
        """`on_error` is told the traceback of what must not happen."""
        self._certificate = certificate
        self._on_error = on_error
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup, READ)
        self._arrivals: deque[_Bridge] = deque()
        self._bridges: set[_Bridge] = set()
        self._hurried: set[_Bridge] = set()  # those that have a deadline
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)

    # -- any thread but tls --

    def start(self) -> None:
        self._thread.start()

    def adopt(self, client: socket.socket) -> PlainEnd:
        """The plain side of a connection that was just accepted; raises OSError. Returns at once."""
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._certificate.context().wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            tls.close()
            raise
        ours.setblocking(False)
        plain_end = PlainEnd(fileno=theirs.detach())
        self._arrivals.append(_Bridge(tls, ours, plain_end))
        self._wakeup.set()
        return plain_end

    def stop(self) -> None:
        """End what is left, after a moment for clients to take their last bytes; blocks until the thread has ended."""
        self._stop_at = time.monotonic() + STOP_GRACE
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._selector.close()
        self._wakeup.close()

    # -- tls thread only --

    def _run(self) -> None:
        while self._stop_at is None or (self._bridges and time.monotonic() < self._stop_at):
            self._turn_safely()
        self._end_all()

    def _turn_safely(self) -> None:
        try:
            self._turn()
        except Exception:  # noqa: BLE001 - the top of the thread
            self._on_error(f"tls: {traceback.format_exc()}")
            self._end_all()

    def _end_all(self) -> None:
        for bridge in list(self._bridges):
            self._end(bridge)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            bridge = key.data
            if bridge is None:
                self._welcome()
            elif bridge in self._bridges:  # not ended earlier in this turn
                self._serve(bridge)
        now = time.monotonic()
        for bridge in [bridge for bridge in self._hurried if bridge.deadline <= now]:
            self._end(bridge)

    def _patience(self) -> float | None:
        deadlines = [bridge.deadline for bridge in self._hurried]
        if self._stop_at is not None:
            deadlines.append(self._stop_at)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _welcome(self) -> None:
        self._wakeup.clear()
        while self._arrivals:
            bridge = self._arrivals.popleft()
            self._bridges.add(bridge)
            self._serve(bridge)

    def _serve(self, bridge: _Bridge) -> None:
        try:
            bridge.move()
        except OSError as error:
            bridge.break_off(error)
        if bridge.is_over:
            self._end(bridge)
            return
        (self._hurried.discard if bridge.deadline == math.inf else self._hurried.add)(bridge)
        self._watch(bridge.tls, bridge.tls_mask, bridge)
        self._watch(bridge.plain, bridge.plain_mask, bridge)

    def _watch(self, sock: socket.socket, mask: int, bridge: _Bridge) -> None:
        known = self._selector.get_map().get(sock)
        if known is None and mask:
            self._selector.register(sock, mask, bridge)
        elif known is not None and not mask:
            self._selector.unregister(sock)
        elif known is not None and known.events != mask:
            self._selector.modify(sock, mask, bridge)

    def _end(self, bridge: _Bridge) -> None:
        self._bridges.discard(bridge)
        self._hurried.discard(bridge)
        for sock in (bridge.tls, bridge.plain):
            self._watch(sock, 0, bridge)
            sock.close()


class _Bridge:
    """One connection: `tls` is the client's socket, `plain` leads to the thread that serves it."""

    def __init__(self, tls: ssl.SSLSocket, plain: socket.socket, plain_end: PlainEnd) -> None:
        self.tls = tls
        self.plain = plain
        self.deadline = time.monotonic() + HANDSHAKE_TIMEOUT
        self.is_over = False
        self.tls_mask = self.plain_mask = 0  # what has to happen before moving on makes sense
        self._plain_end = plain_end
        self._is_shaken = False
        self._to_plain = b""
        self._to_client = b""
        self._is_heard_out = False  # the client has left, or nobody reads it any more
        self._is_answered = False  # the serving thread has closed its end

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

    def _shake_hands(self) -> None:
        if not self._is_shaken:
            self.tls.do_handshake()
            self._is_shaken, self.deadline = True, math.inf

    def _move_up(self) -> None:
        """From the client to the thread that serves it."""
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

    def _move_down(self) -> None:
        """From the thread that serves the client to the client."""
        while True:
            while self._to_client:
                self._to_client = self._to_client[self.tls.send(self._to_client) :]
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
                self._is_answered, self.deadline = True, time.monotonic() + FAREWELL_TIMEOUT

    def _say_farewell(self) -> None:
        """Everything was sent: end it with TLS's own word for that, unless the answer had broken off."""
        if self._plain_end.is_broken_off:
            reset_on_close(self.tls)
        else:
            try:
                self.tls.unwrap()
            except ssl.SSLWantWriteError:
                raise
            except OSError:
                pass  # the client has left, or its own farewell is to come, for which we do not wait
        self.is_over = True
