"""The listening socket, and every connection that came in through it.

Thread `accept` runs `serve_forever`; each connection has a thread `http-N`; main calls the rest. Guarantees: beyond
`limits.connections`, and where no descriptor is left to accept with, one connection makes room (which one, `table`
knows); where all are being served a newcomer is answered 503; a failure to accept is waited out, never the end;
`begin_stop` lets requests in progress go on and closes everything else, and from then on newcomers are answered 503, or
left in the backlog for the next process where the socket is a supervisor's; `wait_idle` tells when the last has ended;
`abort` ends what is left.

What `ThreadingHTTPServer` lacks, and gets here: a loop that does not poll, threads with names, an end that waits for
requests but not for idle connections, no look-up of names, a backlog for a server.
"""

from __future__ import annotations

import itertools
import math
import select
import socket
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

from llamaswap_lib.app import App
from llamaswap_lib.errors import ServiceUnavailable
from llamaswap_lib.ip_addresses import plain_ip
from llamaswap_lib.net.linger import close_gently, make_room
from llamaswap_lib.net.listening import accept, listen, where_text
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import Failures, VitalThread, report
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.server.admission import ROOM_LOOK, Admission, Capacity, CrowdReport, Unbounded
from llamaswap_lib.server.answers import raw_answer
from llamaswap_lib.server.certificate import Certificate, TlsFront
from llamaswap_lib.server.connection import Incoming
from llamaswap_lib.server.connection_table import SLOW, ConnectionTable, Fate
from llamaswap_lib.server.handler import Handler
from llamaswap_lib.server.machine_faults import SHORTAGES

TOO_MANY = raw_answer(ServiceUnavailable("too many connections"))
SHUTTING_DOWN = raw_answer(ServiceUnavailable("the server is shutting down"))


class Server(ThreadingHTTPServer):
    """One listening address and its connections."""

    daemon_threads = True

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        certificate: Certificate | None = None,
        capacity: Capacity | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        """Bind and listen, `host` '' for every address, with TLS if there is a certificate; raises OSError.

        `capacity` is for how many connections there are descriptors; None: for as many as there may be. `listening` is
        a socket that somebody else listens on as well, and goes on doing so when we end.
        """
        super().__init__((host, port), Handler, bind_and_activate=False)
        self.socket.close()  # one of a fixed address family; which one is right depends on the host
        self.socket = listen(host, port) if listening is None else listening
        self._is_shared = listening is not None
        self.app = app
        self._tls = None if certificate is None else TlsFront(certificate, app.logs.log.error)
        self.is_stopping = False
        self._is_accepting = True
        self._wakeup = Wakeup()
        self._numbers = itertools.count(1)
        self.table: ConnectionTable[Incoming] = ConnectionTable(app.pump.slow_readers, TOO_MANY, app.clock)
        self._report = CrowdReport(app.logs.log.warn, app.clock)
        capacity = capacity or Unbounded(app.limits.connections)
        self._admission = Admission(self.table, capacity, self._report, self._end_lingering, self._pause, app.clock)
        self._is_empty = threading.Condition()
        self._failures = Failures("accept", app.logs.log.error, in_a_row=math.inf)
        self._accepting = VitalThread(self.serve_forever, "accept")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return plain_ip(host), port

    @property
    def where(self) -> str:
        """The same for people: an address to open in a browser, and whether there are others."""
        return where_text(self.socket, "http" if self._tls is None else "https")

    # -- main thread --

    def start(self) -> None:
        """Accept connections, on a thread of its own."""
        if self._tls is not None:
            self._tls.start()
        self._accepting.start()

    def begin_stop(self) -> None:
        """Serve nobody new, and close the connections that have no request in progress.

        Blocks for at most SLOW seconds, for requests that are to be expected at once on connections accepted before. A
        head that is not whole by then is no request in progress.
        Newcomers are told that the server ends, until `stop_accepting`. Where somebody else listens as well they are
        left to the process that accepts next.
        """
        if self._is_shared:
            self.stop_accepting()  # before anybody could be turned away
        self.is_stopping = True
        deadline = time.monotonic() + SLOW
        while self.table.close_idle(SHUTTING_DOWN, spare_expected=True) and time.monotonic() < deadline:
            threading.Event().wait(ROOM_LOOK)
        self.table.close_idle(SHUTTING_DOWN)

    def stop_accepting(self) -> None:
        """Listen no more."""
        self._is_accepting = False
        self._wakeup.set()
        if self._accepting.ident is not None:
            self._accepting.join()
        self.socket.close()

    def wait_idle(self, grace: float) -> bool:
        """Block until every connection has ended, for at most `grace` seconds; whether they have."""
        if self.is_stopping:
            self.table.close_idle(SHUTTING_DOWN)  # if one was accepted at the very moment when the end began
        deadline = time.monotonic() + grace
        with self._is_empty:
            while self.table:
                if not self._is_empty.wait(deadline - time.monotonic()):
                    break
        return not self.table

    def abort(self, grace: float = 2.0) -> bool:
        """Break off every connection that is left; whether their threads have ended within `grace` seconds."""
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            for incoming in self.table.all():
                incoming.abort(how)
            if self.wait_idle(grace / 2):
                return True
        return False

    def close(self) -> None:
        """Give back what is left, after every connection has ended."""
        self.stop_accepting()
        if self._tls is not None:
            self._tls.stop()
        self._wakeup.close()

    def answers(self, timeout: float) -> bool:
        """Block until its TLS has got to it, if it has any, for at most `timeout` seconds; whether it has."""
        return self._tls is None or self._tls.answers(timeout)

    def count(self) -> tuple[int, int]:
        """How many connections there are, and how many of them have a request in progress."""
        count = len(self.table)
        return count, max(0, count - self.table.idle_count)

    # -- accept thread only --

    def serve_forever(self, poll_interval: float = 0.0) -> None:  # noqa: ARG002 - the signature is not ours
        """Accept connections until `stop_accepting`; nothing is polled."""
        failures = self._failures
        while self._is_accepting:
            try:
                self._accept_until_stopped()
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                failures.endure()
        self._report.tell()

    def _accept_until_stopped(self) -> None:
        self.socket.setblocking(False)
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(self._wakeup.fileno(), select.POLLIN)
        while self._is_accepting:
            left = self._report.seconds_left()
            poll.poll(None if left is None else left * 1000)
            self._report.tell_if_due()
            self._accept_all()

    def _accept_all(self) -> None:
        """Accept whoever waits."""
        while self._is_accepting:
            try:
                request, client_address = accept(self.socket)
            except BlockingIOError:
                return
            except OSError as error:
                if self._is_awaited():  # without a descriptor Linux complains before it looks whether anybody is there
                    self._endure(error)
                return
            try:
                self.process_request(self._tls.adopt(request) if self._tls else request, client_address)
            except OSError as error:
                request.close()  # it has left already, or there is no descriptor for its other side
                self._endure(error)

    def _endure(self, error: OSError) -> None:
        """Where something is short: have one connection make room for the one that could not be accepted.

        At the end nobody is accepted any more then, only to be turned away: stopping the models needs descriptors too.
        """
        if error.errno not in SHORTAGES:
            return
        if self.is_stopping:
            self._is_accepting = False
            self.socket.close()
        else:
            self._admission.endure(f"cannot accept a connection ({error.strerror})")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, if there is room for it; raises OSError if its client has left already."""
        if self.is_stopping:
            self._turn_away(request, SHUTTING_DOWN)
            self._report.add("the server is shutting down", Fate.LATE)
            return
        if not self._admission.has_room():
            self._turn_away(request, TOO_MANY)
            return
        incoming: Incoming | None = None
        try:
            incoming = Incoming(self, request, client_address[0])
            self.table.add(incoming)
            name = f"http-{next(self._numbers)}"
            Thread(self.process_request_thread, name, (incoming, client_address)).start()
            self._failures.forget()
        except (RuntimeError, MemoryError) as error:
            self._refuse(request, TOO_MANY)
            if incoming is None:
                request.close()
            else:
                incoming.intake.is_unfinished = True  # it has most likely sent a request
                self.shutdown_request(incoming)
            self.app.logs.log.error(f"cannot serve a connection: {str(error) or 'not enough memory'}")

    def _is_awaited(self) -> bool:
        """Whether somebody waits to be accepted."""
        look = select.poll()
        look.register(self.socket, select.POLLIN)
        return bool(look.poll(0))

    def _end_lingering(self) -> bool:
        return make_room(self.app.pump)

    def _pause(self, seconds: float) -> bool:
        """Wait, but not for longer than until the server ends; whether it goes on."""
        pause = select.poll()
        pause.register(self._wakeup.fileno(), select.POLLIN)
        pause.poll(seconds * 1000)
        return self._is_accepting and not self.is_stopping

    def _turn_away(self, request: socket.socket, farewell: bytes) -> None:
        self._refuse(request, farewell)
        close_gently(request, self.app.pump, is_sending=True)

    def _refuse(self, request: socket.socket, farewell: bytes) -> None:
        """Say why it is not served, as far as that is possible without waiting."""
        try:
            request.send(farewell, socket.MSG_DONTWAIT)
        except OSError:
            pass  # it has left already

    # -- http threads --

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the signature is not ours
        """Something of ours is broken, beyond what the handler tells its client."""
        report(threading.current_thread().name, self.app.logs.log.error)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, without the FIN that would go before a reset; the last thing its thread does."""
        try:
            request.close()
        except BaseException:
            request.sock.close()
            raise
        finally:
            self.table.remove(request)
        if not self.table:
            with self._is_empty:
                self._is_empty.notify_all()
