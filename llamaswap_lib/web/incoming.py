"""One connection of a client, as all see it that have to do with it: its thread, the pump, the server.

One of the two drives it at a time, its http thread or, while that sleeps, the pump (`Lane`); `end_if_idle` and `abort`
are for any thread. Guarantees: a connection that was ended for being idle begins no request, even if one has come
meanwhile; one that serves a request is not ended for being idle.
"""

from __future__ import annotations

import socket
import threading
from typing import Protocol

from llamaswap_lib.runtime.hangup import HangUpWatch
from llamaswap_lib.web.access import access_line
from llamaswap_lib.web.app import App
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.heads import RequestHead
from llamaswap_lib.web.intake import Intake
from llamaswap_lib.web.lane import Lane
from llamaswap_lib.web.linger import close_gently
from llamaswap_lib.web.sockets import prepare, reset_on_close


class Connections(Protocol):
    """What a connection needs of its server."""

    app: App
    is_stopping: bool

    def note_idle(self, incoming: Incoming) -> None: ...


class Incoming:
    """A client's connection; whoever drives it calls all but what is for any thread."""

    __slots__ = ("_app", "_claim", "_client_ip", "_server", "_watch", "intake", "lane", "sock")

    def __init__(self, server: Connections, sock: socket.socket, address: str) -> None:
        """Make the socket ready; raises OSError if the client has reset the connection already."""
        self._server = server
        self._app = app = server.app
        self._claim = threading.Lock()  # taken to serve a request, or to end the connection: whoever is first
        self._client_ip = address.removeprefix("::ffff:")  # IPv4, on a socket that serves both
        prepare(sock, receive_timeout=app.limits.idle_timeout, send_timeout=app.limits.write_timeout)
        self._watch = HangUpWatch(sock)
        self.sock = sock
        self.intake = Intake(sock, app.limits, app.clock)
        self.lane = Lane(app, sock, self.intake, self)

    def claim(self) -> bool:
        """Take the connection for a request that begins; False if it was ended."""
        return self._claim.acquire(blocking=False)

    def exchange_for(self, head: RequestHead) -> Exchange:
        return Exchange(self._app, head, self.sock, self.intake, self._watch, self._client_ip, self._may_stay)

    def log_access(self, exchange: Exchange, started: float) -> None:
        line = access_line(exchange, self._app.clock() - started)
        if line:
            self._app.logs.log.info(line)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow the exchange, which has ended; if so, the connection is unclaimed."""
        if exchange.closes:
            return False
        self._server.note_idle(self)
        self._claim.release()  # and then look at `is_stopping`: it is written before `end_if_idle` tries
        return not self._server.is_stopping

    def close(self) -> None:
        """End the connection, so that its client gets all that it was sent. Does not block."""
        close_gently(self.sock, self._app.pump, is_sending=self.intake.is_unfinished)

    def _may_stay(self) -> bool:
        """Whether another request may follow the one in progress."""
        return self.intake.will_be_clear() and not self._server.is_stopping

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
        reset_on_close(self.sock)
        self._shut_down(how)

    def _shut_down(self, how: int) -> None:
        try:
            self.sock.shutdown(how)
        except OSError:
            pass  # it has ended by itself
