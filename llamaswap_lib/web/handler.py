"""One connection of a client: its requests, one after the other, from the first byte to the last.

Thread `http-N`, one for each connection; between requests it sleeps, and the pump drives the connection (`Lane`).
`end_if_idle` and `abort` are for other threads. Guarantees: every request that was understood is answered once or its
connection is cut; whatever goes wrong, the socket is closed and the server told; a client whose request was refused
gets to see why before the connection ends. A connection that was ended for being idle begins no request, even if one
has come meanwhile.
"""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Protocol

from llamaswap_lib.errors import ClientGone, HttpError
from llamaswap_lib.runtime.hangup import HangUpWatch
from llamaswap_lib.web.access import access_line
from llamaswap_lib.web.answers import answer_error
from llamaswap_lib.web.app import App
from llamaswap_lib.web.endpoints import serve
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.heads import RequestHead
from llamaswap_lib.web.intake import Intake
from llamaswap_lib.web.lane import Lane
from llamaswap_lib.web.sockets import prepare, reset_on_close
from llamaswap_lib.web.task import Task

# Stands for a request whose head was refused: nothing of it is believed.
UNREADABLE = RequestHead("-", "*", 1, "", None, False, False, False, "", frozenset(), {})


class Connections(Protocol):
    """What a connection needs of its server."""

    app: App
    is_stopping: bool

    def register(self, handler: Handler) -> None: ...
    def note_idle(self, handler: Handler) -> None: ...
    def forget(self, handler: Handler) -> None: ...


class Handler(BaseHTTPRequestHandler):
    """A connection and what serves it: heads are read by `Intake`, answers written by `Exchange`."""

    server: Connections  # type: ignore[assignment]  # what typeshed promises is more than is needed

    # -- http thread --

    def setup(self) -> None:
        """Make the socket ready. `_claim` comes first: from `register` on, `end_if_idle` may be called."""
        sock, limits = self.request, self.server.app.limits
        self._claim = threading.Lock()  # taken to serve a request, or to end the connection: whoever is first
        self._app = self.server.app
        self._sock: socket.socket = sock
        self._client_ip = self.client_address[0].removeprefix("::ffff:")  # IPv4, on a socket that serves both
        self._exchange: Exchange | None = None
        self._is_ready = False
        self._is_first = True  # its thread is awake
        self.server.register(self)
        try:
            prepare(sock, receive_timeout=limits.idle_timeout, send_timeout=limits.write_timeout)
        except OSError:
            return  # the client reset the connection already
        self._intake = Intake(sock, limits, self._app.clock)
        self._watch = HangUpWatch(sock)
        self._lane = Lane(self._app, sock, self._intake, self)
        self._is_ready = True

    def handle(self) -> None:
        """Serve the client until it leaves, or has to."""
        try:
            while self._is_ready and self._serve_next():
                pass
        except OSError:
            pass  # the client left within a head
        except Exception:  # noqa: BLE001 - the top of the thread
            self._report()

    def finish(self) -> None:
        self.server.forget(self)

    def _serve_next(self) -> bool:
        """Serve one request, from its beginning or from where the lane has come to; whether another may follow."""
        if self.server.is_stopping or not self._await_request():
            return False
        exchange, started, serve = self._lane.take_task() or self._begin()
        self._exchange = exchange
        try:
            self._answer(exchange, serve)
        except ClientGone:
            exchange.closes = True
        finally:
            self.log_access(exchange, started)
        if exchange.head is UNREADABLE or (exchange.closes and not self._intake.will_be_clear()):
            self._intake.linger()
        return self.may_go_on(exchange)

    def _await_request(self) -> bool:
        """Block until a request begins that is for this thread, and claim the connection; False if it is over."""
        if self._is_first or not self._intake.is_empty():
            self._is_first = False
            if not self._intake.await_request() or not self.claim():
                return False
            self._lane.started = self._app.clock()
            return True
        return self._lane.rest()

    def _begin(self) -> Task:
        """Read the head of the request, and find out what is to be done."""
        head, refusal = self._read_head()
        exchange = self.exchange_for(head)

        def serve_or_refuse() -> None:
            if refusal is not None:
                raise refusal
            serve(exchange)

        return Task(exchange, self._lane.started, serve_or_refuse)

    def _may_stay(self) -> bool:
        """Whether another request may follow the one in progress."""
        return self._intake.will_be_clear() and not self.server.is_stopping

    def _read_head(self) -> tuple[RequestHead, HttpError | None]:
        try:
            return self._intake.read_head(), None
        except HttpError as refusal:
            return UNREADABLE, refusal
        except ClientGone as gone:
            raise OSError("the client left within a head") from gone

    def _answer(self, exchange: Exchange, serve: Callable[[], None]) -> None:
        try:
            serve()
        except HttpError as error:
            if exchange.has_answered:  # the endpoint's promise is broken: no second answer, no clean end
                exchange.cut(reset=False)
                raise
            answer_error(exchange, error)

    def _report(self) -> None:
        """Something of ours is broken: the log has it all, the client is told no more than that."""
        self._app.logs.log.error(f"{threading.current_thread().name} failed: {traceback.format_exc()}")
        exchange = self._exchange
        if exchange is not None and not exchange.has_answered:
            exchange.closes = True
            try:
                answer_error(exchange, HttpError("internal error"))
            except ClientGone:
                pass

    # -- http thread, or the pump while that sleeps --

    def claim(self) -> bool:
        """Take the connection for a request that begins; False if it was ended."""
        return self._claim.acquire(blocking=False)

    def exchange_for(self, head: RequestHead) -> Exchange:
        return Exchange(self._app, head, self._sock, self._intake, self._watch, self._client_ip, self._may_stay)

    def log_access(self, exchange: Exchange, started: float) -> None:
        line = access_line(exchange, self._app.clock() - started)
        if line:
            self._app.logs.log.info(line)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow the exchange, which has ended; if so, the connection is unclaimed."""
        if exchange.closes:
            return False
        self.server.note_idle(self)
        self._claim.release()  # and then look at `is_stopping`: it is written before `end_if_idle` tries
        return not self.server.is_stopping

    # -- any thread --

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress, and the connection may go on."""
        return not self._claim.locked()

    def end_if_idle(self) -> bool:
        """End the connection unless a request is in progress or it was ended before; whether that was done.

        What has come and was not read stays readable: it is the claim, never given back, that keeps it unserved.
        """
        if not self._claim.acquire(blocking=False):
            return False
        self._shut_down(socket.SHUT_RD)
        return True

    def abort(self, how: int) -> None:
        """Break the connection off, so that its client sees that.

        SHUT_RD ends all that waits, and a reset is all that the client hears; SHUT_RDWR frees also whoever sends to a
        client that takes nothing.
        """
        reset_on_close(self._sock)
        self._shut_down(how)

    def _shut_down(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            pass  # it has ended by itself
