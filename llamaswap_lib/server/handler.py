"""The thread of one connection of a client: its requests, one after the other, from the first to the last.

Thread `http-N`, one for each connection; between requests it sleeps, and the pump drives the connection (`Lane`).
Guarantees: every request that was understood is answered once or its connection is cut; whatever goes wrong, the server
closes the socket; a client whose request was refused gets to see why before the connection ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from llamaswap_lib.endpoints import serve
from llamaswap_lib.errors import ClientGone, HttpError, MachineFault, OutOfResources
from llamaswap_lib.runtime.vital import report
from llamaswap_lib.server.answers import answer_error
from llamaswap_lib.server.connection import Connections, Incoming
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.machine_faults import fault_of
from llamaswap_lib.server.task import Task
from llamaswap_lib.wire.cors_headers import ANYBODY
from llamaswap_lib.wire.heads import RequestHead

# Stands for a request whose head was refused: nothing of it is believed.
UNREADABLE = RequestHead("-", "*", 1, "", None, False, False, False, "", frozenset(), {})


class Handler(BaseHTTPRequestHandler):
    """What serves a connection: heads are read by `Intake`, answers written by `Exchange`."""

    request: Incoming
    server: Connections  # type: ignore[assignment]  # what typeshed promises is more than is needed

    def setup(self) -> None:
        self._incoming = self.request
        self._intake = self._incoming.intake
        self._lane = self._incoming.lane
        self._exchange: Exchange | None = None
        self._is_first = True  # its thread is awake

    def handle(self) -> None:
        """Serve the client until it leaves, or has to."""
        try:
            while self._serve_next():
                pass
        except ClientGone:
            pass  # within a head
        except Exception:  # noqa: BLE001 - the top of the thread
            self._report()

    def finish(self) -> None:
        """Nothing is left to be written."""

    def _serve_next(self) -> bool:
        """Serve one request, from its beginning or from where the lane has come to; whether another may follow."""
        # One whose first request was on its way when the end began is served, unless the table has closed it.
        if (self.server.is_stopping and not self._is_first) or not self._await_request():
            return False
        exchange, started, serve = self._lane.take_task() or self._begin()
        self._exchange = exchange
        try:
            self._answer(exchange, serve)
        except ClientGone:
            exchange.closes = True
        finally:
            self._incoming.log_access(exchange, started)
        if exchange.head is UNREADABLE or (exchange.closes and not self._intake.will_be_clear()):
            self._intake.is_unfinished = True
        return self._incoming.may_go_on(exchange)

    def _await_request(self) -> bool:
        """Block until a request begins that is for this thread, and claim the connection; False if it is over."""
        if self._is_first or not self._intake.is_empty():
            self._is_first = False
            if not self._intake.await_request() or not self._incoming.claim():
                return False
            self._lane.started = self.server.app.clock()
            return True
        return self._lane.rest()

    def _begin(self) -> Task:
        """Read the head of the request, and find out what is to be done."""
        head, refusal = self._read_head()
        exchange = self._incoming.exchange_for(head)
        if refusal is not None:
            exchange.reader = ANYBODY

        def serve_or_refuse() -> None:
            if refusal is not None:
                raise refusal
            serve(exchange)

        return Task(exchange, self._lane.started, serve_or_refuse)

    def _read_head(self) -> tuple[RequestHead, HttpError | None]:
        try:
            return self._intake.read_head(), None
        except HttpError as refusal:
            return UNREADABLE, refusal

    def _answer(self, exchange: Exchange, serve: Callable[[], None]) -> None:
        try:
            serve()
        except HttpError as error:
            self._fail(exchange, error)
        except OSError as error:  # what befalls a client's socket is ClientGone, an upstream's is BadGateway
            self._fail(exchange, fault_of(error, "the request cannot be served"))
        except MemoryError:
            self._fail(exchange, OutOfResources("the request cannot be served: not enough memory"))

    def _fail(self, exchange: Exchange, error: HttpError) -> None:
        if not exchange.has_answered:
            answer_error(exchange, error)
        elif isinstance(error, MachineFault):
            exchange.warn(f"the answer broke off: {error.cause}")
            exchange.cut(reset=not exchange.head.minor)
        else:  # the endpoint's promise is broken: no second answer, no clean end
            exchange.cut(reset=False)
            raise error

    def _report(self) -> None:
        """Something of ours is broken: the log has it all, the client is told no more than that."""
        report(threading.current_thread().name, self.server.app.logs.log.error)
        self._intake.is_unfinished = True
        exchange = self._exchange
        if exchange is not None and not exchange.has_answered:
            exchange.closes = True
            try:
                answer_error(exchange, HttpError("internal error"))
            except ClientGone:
                pass
