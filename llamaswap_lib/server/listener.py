"""The listening socket, and every connection that came in through it.

Thread `loop` accepts connections and has them from then on; main calls the rest. Guarantees: beyond
`limits.connections`, and where no descriptor is left to accept with, one connection makes room (which one, `table`
knows); where all are being served a newcomer is answered 503; a failure to accept is waited out, never the end;
`begin_stop` lets requests in progress go on and closes everything else, and from then on newcomers are answered 503, or
left in the backlog for the next process where the socket is a supervisor's; `wait_idle` tells when the last has ended;
`abort` ends what is left.

Of `ThreadingHTTPServer` it has the threads (`HandlerThreads`). What that class lacks, and gets here: connections that
need no thread, an end that waits for requests but not for idle connections, no look-up of names, a long backlog.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from llamaswap_lib.errors import SHORTAGES, ServiceUnavailable
from llamaswap_lib.ip_addresses import plain_ip
from llamaswap_lib.net.listening import accept, listen, where_text
from llamaswap_lib.net.loop import Loop, Timer, suspended
from llamaswap_lib.net.poller import IN
from llamaswap_lib.net.stream import prepare, probe_when_silent
from llamaswap_lib.net.tls_stream import TlsStream
from llamaswap_lib.runtime.wakeup import poll_for_input, seconds_until
from llamaswap_lib.server.admission import ROOM_LOOK, Admission, Capacity, CrowdReport, Unbounded
from llamaswap_lib.server.answers import raw_answer
from llamaswap_lib.server.certificate import Certificate
from llamaswap_lib.server.connection import ClientConnection
from llamaswap_lib.server.connection_table import SLOW, ConnectionTable, Fate
from llamaswap_lib.server.exchange import Settings
from llamaswap_lib.server.handler import HandlerThreads
from llamaswap_lib.server.limits import Limits

TOO_MANY = raw_answer(ServiceUnavailable("too many connections"))
SHUTTING_DOWN = raw_answer(ServiceUnavailable("the server is shutting down"))
MOST_AT_ONCE = 64  # connections that are accepted before those are served that are there
MOST_LINGERING = 256
CLIENT_PROBES = 30.0  # seconds of silence between two; three in vain are the end
CLOSE_GRACE = 1.0  # seconds for handler threads to end


class Share(Protocol):
    """What others know that accept on the same socket."""

    def put(self, count: int) -> None:
        """We have so many connections."""

    def pause(self) -> float:
        """Seconds for which newcomers are left to others; 0.0 where nobody has fewer."""


class Server(HandlerThreads):
    """One listening address and its connections."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        host: str,
        port: int,
        certificate: Certificate | None = None,
        capacity: Capacity | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        """Bind and listen, `host` '' for every address, with TLS if there is a certificate; raises OSError.

        `capacity` is for how many connections there are descriptors; None: for as many as there may be.
        `listening` is a socket that somebody else listens on as well, and goes on doing so when we end.
        """
        super().__init__((host, port), settings.log.error)
        self.socket.close()  # one of a fixed address family; which one is right depends on the host
        self.socket = listen(host, port) if listening is None else listening
        self.socket.setblocking(False)
        probe_when_silent(self.socket, CLIENT_PROBES)  # which holds for what is accepted, too
        self.is_shared = listening is not None  # somebody else listens on the socket as well
        self.settings = settings  # of the requests that begin now
        self.share: Share | None = None  # with others that accept on the socket
        self.is_stopping = False
        self.on_idle: Callable[[ClientConnection], object] | None = None
        self.table: ConnectionTable[ClientConnection] = ConnectionTable(TOO_MANY, loop.clock)
        self.lingering: dict[ClientConnection, None] = {}  # the one that has done so for longest first
        self._certificate = certificate
        self._loop = loop
        self._is_accepting = False
        self._acceptor: Coroutine[Any, Any, None] | None = None
        self._is_pausing = False  # the acceptor waits for a time, and not for its socket
        self._timer = Timer(self._loop, self._go_on, self)
        self._report = CrowdReport(settings.log.warn, loop.clock)
        self._idle_timer = Timer(self._loop, self._close_overdue, self)
        self._report_timer = Timer(self._loop, self._tell, self)
        self._admission = Admission(
            self.table,
            capacity or Unbounded(settings.limits.connections),
            self._report,
            self._end_lingering,
            self._pause,
            loop.clock,
        )
        self._is_empty = threading.Condition()

    @property
    def limits(self) -> Limits:
        """Those that hold now."""
        return self.settings.limits

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return plain_ip(host), port

    @property
    def where(self) -> str:
        """The same for people: an address to open in a browser, and whether there are others."""
        return where_text(self.socket, "http" if self._certificate is None else "https")

    # -- main thread --

    def change(self, settings: Settings) -> None:
        """Requests that begin from now on go by others. Any thread."""
        self.settings = settings
        self._loop.call(self._close_overdue)

    def start(self) -> None:
        """Accept connections."""
        self.start_lending()
        self._loop.ask(self._begin_accepting)

    def begin_stop(self) -> None:
        """Serve nobody new, and close the connections that have no request in progress.

        Blocks for at most SLOW seconds, for requests that are to be expected at once on connections accepted before. A
        head that is not whole by then is no request in progress.
        Newcomers are told that the server ends, until `stop_accepting`. Where somebody else listens as well they are
        left to the process that accepts next.
        """
        if self.is_shared:
            self.stop_accepting()  # before anybody could be turned away
        self.is_stopping = True
        deadline = time.monotonic() + SLOW
        while self._close_idle(spare_expected=True) and time.monotonic() < deadline:
            threading.Event().wait(ROOM_LOOK)
        self._close_idle()

    def _close_idle(self, *, spare_expected: bool = False) -> bool:
        return self._loop.ask(lambda: self.table.close_idle(SHUTTING_DOWN, spare_expected=spare_expected))

    def stop_accepting(self) -> None:
        """Listen no more."""
        self._loop.ask(self._end_accepting)

    def wait_idle(self, grace: float) -> bool:
        """Block until every connection has ended, for at most `grace` seconds; whether they have."""
        if self.is_stopping:
            self._close_idle()  # if one was accepted at the very moment when the end began
        deadline = time.monotonic() + grace
        with self._is_empty:
            while self.table:
                if not self._is_empty.wait(seconds_until(deadline, time.monotonic())):
                    break
        return not self.table

    def abort(self, grace: float = 2.0) -> bool:
        """Break off every connection that is left; whether they have ended within `grace` seconds."""
        self._loop.ask(self._abort_all)
        return self.wait_idle(grace)

    def close(self) -> None:
        """Give back what is left, after every connection has ended."""
        self.stop_accepting()
        self._loop.ask(self._end_all_lingering)
        self._loop.ask(self._idle_timer.close)
        self._loop.ask(self.end_lending)
        self.join_threads(CLOSE_GRACE)

    def count(self) -> tuple[int, int]:
        """How many connections there are, and how many of them have a request in progress."""
        count = len(self.table)
        return count, max(0, count - self.table.idle_count)

    # -- loop thread only: accepting --

    def _close_overdue(self) -> None:
        """Close those that have been idle for too long, now and when the next one will be."""
        self._idle_timer.set(self.table.close_overdue(self.settings.limits.idle_timeout))

    def _begin_accepting(self) -> None:
        self._close_overdue()
        self._loop.watch(self.socket, IN, self._go_on, self)
        self._is_accepting = True
        self._begin_acceptor()

    def _begin_acceptor(self) -> None:
        self._acceptor = self._accept_connections()
        self._acceptor.send(None)

    def _go_on(self, _mask: int = IN) -> None:
        """Somebody waits to be accepted, or the pause is over."""
        if self._acceptor is not None:
            self._acceptor.send(None)

    def _end_accepting(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._report.tell()
            self._loop.unwatch(self.socket)
            self._report_timer.close()
            if self._is_pausing:
                self._go_on()  # the client that was accepted before is told something
            self._timer.close()
        self.socket.close()

    async def _accept_connections(self) -> None:
        """Accept them, for as long as the server does."""
        while True:
            await suspended()
            is_hurried = self.share is None or await self._has_left_to_others(self.share)
            for _ in range(MOST_AT_ONCE if is_hurried else 1):
                if not self._is_accepting or not await self._accept_one():
                    break
            self._set_report_timer()

    async def _has_left_to_others(self, share: Share) -> bool:
        """Leave newcomers to others for a moment, where they have fewer; whether it did."""
        share.put(len(self.table))
        seconds = share.pause()
        if seconds and self._is_accepting:
            await self._pause(seconds)
        return bool(seconds)

    async def _accept_one(self) -> bool:
        """Accept a connection; False where there is none."""
        try:
            sock, address = accept(self.socket)
        except BlockingIOError:
            return False
        except OSError as error:
            if self._is_awaited():  # without a descriptor Linux complains before it looks whether anybody is there
                await self._endure(error)
            return False
        try:
            await self._welcome(sock, address[0])
        except OSError as error:
            sock.close()  # it has left already, or there is no descriptor for its other side
            await self._endure(error)
        except MemoryError:
            if self._certificate is None:  # TLS has not begun: nothing can be said
                with suppress(OSError):
                    sock.send(TOO_MANY)
            sock.close()
            self.settings.log.error("cannot serve a connection: not enough memory")
        except BaseException:
            sock.close()
            raise
        return True

    async def _welcome(self, sock: socket.socket, address: str) -> None:
        """Have the connection live, if there is room for it; raises OSError if its client has left already."""
        prepare(sock)
        is_full = self.table.staying_count >= self._admission.connections and not self.is_stopping
        has_room = not is_full or await self._admission.has_room()
        stream = sock
        if self._certificate is not None:
            stream = TlsStream(sock, self._certificate.context())
        connection = ClientConnection(self, self._loop, stream, plain_ip(address))
        try:
            if self.is_stopping:
                connection.turn_away(SHUTTING_DOWN)
                self._report.add("the server is shutting down", Fate.LATE)
            elif not has_room:
                connection.turn_away(TOO_MANY)
            else:
                connection.begin()
        except BaseException:
            if stream is not sock:  # which it has taken over
                stream.close()
            raise

    async def _endure(self, error: OSError) -> None:
        """Where something is short: have one connection make room for the one that could not be accepted.

        At the end nobody is accepted any more then, only to be turned away: stopping the models needs descriptors too.
        """
        if error.errno not in SHORTAGES:
            return
        if self.is_stopping:
            self._end_accepting()
            return
        await self._admission.endure(f"cannot accept a connection ({error.strerror})")

    def _is_awaited(self) -> bool:
        """Whether somebody waits to be accepted."""
        return bool(poll_for_input(self.socket.fileno()).poll(0))

    async def _pause(self, seconds: float) -> bool:
        """Wait, and do not look who else wants to be accepted meanwhile; whether the server still goes on then."""
        self._timer.set(seconds)
        self._loop.pause(self.socket)
        self._is_pausing = True
        try:
            await suspended()
        finally:
            self._is_pausing = False
            self._timer.clear()
            if self._is_accepting:
                self._loop.proceed(self.socket, IN)
        return self._is_accepting and not self.is_stopping

    def fail(self, error: Exception) -> None:
        """Something of ours broke while a connection was accepted, as the log has been told: accepting goes on."""
        del error
        if self._is_accepting:
            self._begin_acceptor()

    def _set_report_timer(self) -> None:
        if (seconds := self._report.seconds_left()) is not None:
            self._report_timer.set(seconds)

    def _tell(self) -> None:
        self._report.tell_if_due()
        self._set_report_timer()

    # -- loop thread only: the connections --

    def note_lingering(self, connection: ClientConnection) -> None:
        """It has all that it will get, and is about to be closed: nobody waits for it."""
        self.lingering[connection] = None
        self._tell_if_empty()
        if len(self.lingering) > MOST_LINGERING:
            next(iter(self.lingering)).cut_off()

    def note_closed(self, connection: ClientConnection) -> None:
        self.lingering.pop(connection, None)
        if self.share is not None:
            self.share.put(len(self.table))
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self.table:
            with self._is_empty:
                self._is_empty.notify_all()

    def _end_lingering(self) -> bool:
        """Have one that lingers closed, for its descriptor; False if there is none."""
        if not self.lingering:
            return False
        min(self.lingering, key=ClientConnection.has_unsent).cut_off()
        return True

    def _end_all_lingering(self) -> None:
        for connection in list(self.lingering):
            connection.cut_off()

    def _abort_all(self) -> None:
        for connection in self.table.all():
            connection.abort()
