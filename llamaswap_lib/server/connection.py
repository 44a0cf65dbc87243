"""One connection of a client, as all see it that have to do with it: its thread, the pump, the server.

One of the two drives it at a time, its http thread or, while that sleeps, the pump (`Lane`); `abort` is for any thread.
Guarantees, with the `ConnectionTable`: a connection that was closed for others begins no request, even if one has come
meanwhile; one whose request is served is not closed for being idle, or slow to send.
"""

from __future__ import annotations

import socket
from typing import Protocol

from llamaswap_lib.app import App
from llamaswap_lib.errors import ClientGone
from llamaswap_lib.ip_addresses import plain_ip
from llamaswap_lib.net.linger import close_gently
from llamaswap_lib.net.sockets import prepare, reset_on_close
from llamaswap_lib.runtime.hangup import HangUpWatch
from llamaswap_lib.server.access_log import access_line
from llamaswap_lib.server.connection_table import REFRESHING_BYTES, ConnectionTable
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.lane import Lane
from llamaswap_lib.server.request_reader import Intake
from llamaswap_lib.wire.heads import RequestHead


class Connections(Protocol):
    """What a connection needs of its server."""

    app: App
    is_stopping: bool
    table: ConnectionTable[Incoming]


class Incoming:
    """A client's connection; whoever drives it calls all but what is for any thread."""

    __slots__ = ("_app", "_client_ip", "_fresh_bytes", "_is_aborted", "_server", "_watch", "intake", "lane", "sock")

    def __init__(self, server: Connections, sock: socket.socket, address: str) -> None:
        """Make the socket ready; raises OSError if the client has reset the connection already."""
        self._server = server
        self._is_aborted = False
        self._app = app = server.app
        self._client_ip = plain_ip(address)
        prepare(sock, receive_timeout=app.limits.idle_timeout, send_timeout=app.limits.write_timeout)
        self._watch = HangUpWatch(sock)
        self.sock = sock
        self.intake = Intake(sock, app.limits, app.clock, self)
        self.lane = Lane(app, sock, self.intake, self)

    def claim(self) -> bool:
        """Take the connection for a request that begins; False if it was ended."""
        return self._server.table.claim(self)

    def give_back(self) -> bool:
        """Undo `claim`: nothing has begun; False if the server ends, and the connection with it."""
        self._server.table.note_idle(self)  # and then look at `is_stopping`: it is written before the idle are closed
        return not self._server.is_stopping

    def exchange_for(self, head: RequestHead) -> Exchange:
        """The exchange that begins with `head`; all of it goes by the configuration that there is now."""
        if self._app is not self._server.app:
            self._app = self._server.app
            self.intake.limits = self._app.limits
        return Exchange(self._app, head, self.sock, self.intake, self._watch, self._client_ip, self._may_stay)

    def log_access(self, exchange: Exchange, started: float) -> None:
        if self._is_aborted and not exchange.has_answered:  # it is not the client that has left
            exchange.status = 503
            exchange.warn("503, broken off: the server is shutting down")
        line = access_line(exchange, self._app.clock() - started)
        if line:
            self._app.logs.log.info(line)

    def may_go_on(self, exchange: Exchange) -> bool:
        """Whether another request may follow the exchange, which has ended; if so, the connection is unclaimed."""
        if exchange.closes:
            return False
        return self.give_back()

    def close(self) -> None:
        """End the connection, so that its client gets all that it was sent; at once if it made room. Does not block."""
        if self._server.table.was_closed(self):
            self.sock.close()
        else:
            close_gently(self.sock, self._app.pump, is_sending=self.intake.is_unfinished)

    # -- while the rest of a request has to be waited for --

    def begin_waiting(self) -> None:
        self._fresh_bytes = 0
        self._server.table.note_reading(self)

    def note_received(self, size_bytes: int) -> None:
        """So many bytes of it have come; raises ClientGone if the connection was closed for others."""
        table = self._server.table
        self._fresh_bytes += size_bytes
        if self._fresh_bytes < REFRESHING_BYTES:
            is_open = table.is_reading(self)
        else:
            self._fresh_bytes = 0
            is_open = table.refresh(self)
        if not is_open:
            raise ClientGone

    def end_waiting(self) -> bool:
        """Whether the connection was not closed for others."""
        return self._server.table.note_read(self)

    def _may_stay(self) -> bool:
        """Whether another request may follow the one in progress."""
        return self.intake.will_be_clear() and not self._server.is_stopping

    # -- any thread --

    @property
    def is_in_head(self) -> bool:
        """Whether it has sent a part of a request's head, and what it asks for is not known yet."""
        return self.intake.is_in_head

    def abort(self, how: int) -> None:
        """Break the connection off, so that its client sees that.

        SHUT_RD ends all that waits, and a reset is all that the client hears; SHUT_RDWR frees also whoever sends to a
        client that takes nothing.
        """
        self._is_aborted = True
        reset_on_close(self.sock)
        self._shut_down(how)

    def _shut_down(self, how: int) -> None:
        try:
            self.sock.shutdown(how)
        except OSError:
            pass  # it has ended by itself
