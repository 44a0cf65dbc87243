"""TLS for clients: one thread that turns every TLS connection into a plain one.

The rest of the server peeks at sockets, polls them for hang-ups and hands them to the pump, none of which a TLS
socket can do. So each TLS client gets a pair of connected sockets: the `PlainEnd` is served like any other connection,
and thread `tls` moves bytes between its counterpart and the TLS (a `Bridge`). Guarantees: accepting never waits for a
handshake; who hangs up on one side is gone on the other, and TCP's probes find a client that has vanished without a
word; an answer that breaks off ends without TLS's farewell, so that no client takes it for whole. A certificate that
is renewed on disk is used from the next handshake on. Never decides about a request.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from llamaswap_lib.errors import ConfigError
from llamaswap_lib.net.bridge import Bridge, Patience
from llamaswap_lib.net.poller import ERR, IN, new_poller
from llamaswap_lib.net.sockets import PlainEnd, probe_when_silent
from llamaswap_lib.net.tls_stream import TlsSocket
from llamaswap_lib.runtime.vital import Failures, VitalThread
from llamaswap_lib.runtime.wakeup import Wakeup

CLIENT_PROBES = 30.0  # seconds of silence between two: a tunnel cannot reach the client's socket to ask for them
PARKED, UNKNOWN = -1, -2  # in place of a mask: the poller does not watch it
STOP_GRACE = 1.0  # for clients to take their last bytes when the server ends


class Certificate:
    """A certificate and its key, in PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigError for files that cannot be read, or that do not belong together."""
        self.files = certificate, key
        self._stamps = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """What a handshake needs; made anew when the files have changed, the old one while they cannot be used."""
        stamps = self._look()
        if stamps != self._stamps:
            self._stamps = stamps
            with suppress(ConfigError):  # half a renewal: the other file has not been written yet
                self._context = self._load()
        return self._context

    def renew(self) -> bool:
        """Read the files now; whether they had changed. Raises ConfigError, and goes on with what it has."""
        before = self._stamps
        self._stamps, self._context = self._look(), self._load()
        return self._stamps != before

    def _look(self) -> list[int]:
        try:
            return [file.stat().st_mtime_ns for file in self.files]
        except OSError:
            return []

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self.files
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never ask at the terminal
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"cannot use the certificate {certificate} with the key {key}: {reason}") from None
        return context


class TlsFront:
    """All TLS connections of one server."""

    def __init__(
        self, certificate: Certificate, on_error: Callable[[str], None], patience: Patience | None = None
    ) -> None:
        """`on_error` is told the traceback of what must not happen."""
        self._certificate = certificate
        self._patience = patience or Patience()
        self._on_error = on_error
        self._wakeup = Wakeup()
        self._poller = new_poller()
        self._poller.register(self._wakeup, IN)
        self._watched: dict[int, tuple[Bridge, int]] = {}  # descriptors, and what is asked about them
        self._arrivals: deque[Bridge] = deque()
        self._deserted: deque[Bridge] = deque()  # nobody serves their clients any more
        self._markers: deque[threading.Event] = deque()  # to be set when the thread gets to it
        self._bridges: set[Bridge] = set()
        self._hurried: set[Bridge] = set()  # those that have a deadline
        self._soonest = math.inf  # no deadline is before: a look at many half-open handshakes costs no search
        self._stop_at: float | None = None
        self._is_broken = False  # what is known of the connections cannot be relied upon
        self._thread = VitalThread(self._run, "tls")

    # -- any thread but tls --

    def start(self) -> None:
        self._thread.start()

    def adopt(self, client: socket.socket) -> PlainEnd:
        """The plain side of a connection that was just accepted; raises OSError. Returns at once."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        probe_when_silent(client, CLIENT_PROBES)
        tls = TlsSocket(client, self._certificate.context())
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            tls.close()
            raise
        ours.setblocking(False)
        plain_end = PlainEnd(fileno=theirs.detach())
        bridge = Bridge(tls, ours, plain_end, self._patience)
        plain_end.on_close = partial(self._call, self._deserted, bridge)
        self._call(self._arrivals, bridge)
        return plain_end

    def _call(self, calls: deque[Bridge], bridge: Bridge) -> None:
        calls.append(bridge)
        self._wakeup.set()

    def answers(self, timeout: float) -> bool:
        """Block until its thread has got to it, for at most `timeout` seconds; whether it has."""
        marker = threading.Event()
        self._markers.append(marker)
        self._wakeup.set()
        return marker.wait(timeout)

    def stop(self) -> None:
        """End what is left, after a moment for clients to take their last bytes; blocks until the thread has ended."""
        self._stop_at = time.monotonic() + STOP_GRACE
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._poller.close()
        self._wakeup.close()

    # -- tls thread only --

    def _run(self) -> None:
        failures = Failures("tls", self._on_error)
        while self._stop_at is None or (self._bridges and time.monotonic() < self._stop_at):
            try:
                if self._is_broken:
                    self._end_all()
                    self._is_broken = False
                self._turn()
                failures.forget()
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                self._is_broken = True
                failures.endure()
        self._end_all()

    def _end_all(self) -> None:
        for bridge in list(self._bridges):
            self._end(bridge)

    def _turn(self) -> None:
        for fd, mask in self._poller.poll(self._time_left()):
            if fd == self._wakeup.fileno():
                self._wakeup.clear()
            elif fd in self._watched:  # not ended earlier in this turn
                self._attend(fd, mask, *self._watched[fd])
        self._welcome()  # only now: what was found ready may be about others who had the same descriptors before
        now = time.monotonic()
        if now >= self._soonest:
            for bridge in [bridge for bridge in self._hurried if bridge.is_due(now)]:
                self._end(bridge)
            self._soonest = min((bridge.deadline for bridge in self._hurried), default=math.inf)

    def _time_left(self) -> float | None:
        due = self._soonest if self._stop_at is None else min(self._soonest, self._stop_at)
        return None if due == math.inf else max(0.0, due - time.monotonic())

    def _welcome(self) -> None:
        while self._markers:
            self._markers.popleft().set()
        while self._arrivals:
            bridge = self._arrivals.popleft()
            self._bridges.add(bridge)
            self._serve(bridge)
        while self._deserted:
            bridge = self._deserted.popleft()
            if bridge in self._bridges:
                self._serve(bridge)

    def _serve(self, bridge: Bridge) -> None:
        try:
            bridge.move()
        except OSError as error:
            bridge.break_off(error)
        if bridge.is_over:
            self._end(bridge)
            return
        (self._hurried.discard if bridge.deadline == math.inf else self._hurried.add)(bridge)
        self._soonest = min(self._soonest, bridge.deadline)
        self._watch(bridge.tls, bridge.tls_mask, bridge)
        self._watch(bridge.plain, bridge.plain_mask, bridge)

    def _attend(self, fd: int, mask: int, bridge: Bridge, wanted: int) -> None:
        """Do what one side is ready for, or look that it hung up."""
        if mask & wanted:
            self._serve(bridge)
        elif fd == bridge.plain.fileno():
            self._park(bridge.plain, bridge)
        elif mask & ERR:
            bridge.break_off(ConnectionResetError())
            self._end(bridge)
        else:
            self._park(bridge.tls, bridge)

    def _watch(self, sock: socket.socket, mask: int, bridge: Bridge) -> None:
        """Look out for what can be done with one side now; a reset of the client is always reported."""
        fd = sock.fileno()
        _, known = self._watched.get(fd, (bridge, UNKNOWN))
        if known == mask or (known == PARKED and not mask):
            return
        (self._poller.register if known < 0 else self._poller.modify)(sock, mask)
        self._watched[fd] = bridge, mask

    def _park(self, sock: socket.socket, bridge: Bridge) -> None:
        """It has hung up, and nothing is wanted of it: it would be reported for ever."""
        self._poller.unregister(sock)
        self._watched[sock.fileno()] = bridge, PARKED

    def _end(self, bridge: Bridge) -> None:
        bridge.let_go()
        self._bridges.discard(bridge)
        self._hurried.discard(bridge)
        for sock in (bridge.tls, bridge.plain):
            _, known = self._watched.pop(sock.fileno(), (bridge, UNKNOWN))
            if known >= 0:
                self._poller.unregister(sock)
            sock.close()
