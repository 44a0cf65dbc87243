"""Connections of clients that change the process which serves them.

Thread `loop`, but for `begin`, `take` and `wait_for_the_last`. The old process gives away each connection that has no
request, now or once that has been answered; what its client sends meanwhile waits in the kernel. What was read of a
head that is not whole goes along. A message tells of each: `client` is its address, `received` what was read, as
latin-1; there may be more in it, which belongs to the link that it comes by. Of TLS only the process
that has begun it can go on: there the next answer says `Connection: close`, and a connection that stays idle is closed
after a while.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence

from llamaswap_lib.net.loop import Loop, Timer
from llamaswap_lib.net.stream import has_unread, prepare
from llamaswap_lib.server.connection import ClientConnection
from llamaswap_lib.server.connection_state import State
from llamaswap_lib.server.connection_table import SLOW
from llamaswap_lib.server.listener import SHUTTING_DOWN, Server
from llamaswap_lib.upgrade.link import Message

TLS_IDLE_SECONDS = 10.0
LOOK = 0.5  # seconds between two looks whether the time is over


class Leaving:
    """Gives the connections of one server away."""

    def __init__(
        self,
        server: Server,
        loop: Loop,
        give: Callable[[Message, Sequence[int]], None],
        tls_idle_seconds: float = TLS_IDLE_SECONDS,
    ) -> None:
        """`give` gets what is told of a client, and the descriptor of its connection, which is its own from then on."""
        self._tls_idle_seconds = tls_idle_seconds
        self._server = server
        self._loop = loop
        self._give = give
        self._timer = Timer(loop, self._close_overdue, self)
        self._stalled_timer = Timer(loop, self._cut_stalled, self)

    def begin(self) -> None:
        """Accept nobody any more, and give away what has no request. Any thread; returns when that is done."""
        self._server.stop_accepting()
        self._loop.ask(self._begin)

    def _begin(self) -> None:
        self._server.on_idle = self._part_with
        for connection in self._server.table.all():
            self._part_with(connection)
        self._timer.set(self._tls_idle_seconds)  # however long they have been idle before
        self._stalled_timer.set(SLOW)

    def _part_with(self, connection: ClientConnection) -> None:
        if connection.state in (State.IDLE, State.IN_HEAD) and connection.tls is None:
            received = connection.requests.take_ahead().decode("latin-1")
            told = {"client": connection.client_ip, **({"received": received} if received else {})}
            self._give(told, [connection.let_go().detach()])

    def _close_overdue(self) -> None:
        self._timer.set(self._server.table.close_overdue(self._tls_idle_seconds))

    def _cut_stalled(self) -> None:
        """Who does not read the log that it follows is not told of its end, and comes back all the same."""
        if self._server.table.cut_stalled_followers():
            self._stalled_timer.set(SLOW)

    def fail(self, error: Exception) -> None:
        """Something of ours broke, as the log has been told."""
        del error


def take(server: Server, loop: Loop, client: Message, descriptor: int) -> None:
    """Serve a connection that another process has given away; at the end, when all that are idle are closed, it is too.

    Any thread.
    """

    def begin() -> None:
        sock = socket.socket(fileno=descriptor)
        received = client.get("received", "").encode("latin-1")
        is_relayed = sock.family == socket.AF_UNIX  # by a worker: there is a request
        try:
            if server.is_stopping and not (is_relayed or received or has_unread(sock)):
                sock.close()
                return
            if is_relayed:
                sock.setblocking(False)
            else:
                prepare(sock)
            connection = ClientConnection(server, loop, sock, client["client"])
            if server.is_stopping:
                connection.turn_away(SHUTTING_DOWN)
            else:
                connection.begin(received)
        except (OSError, MemoryError):  # its client has left, or nothing is left to serve it with
            sock.close()

    loop.call(begin)


def wait_for_the_last(
    server: Server,
    timeout: float,
    warn: Callable[[str], None],
    hurry: Callable[[], float] = lambda: math.inf,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Block until every connection has ended; after `timeout` seconds (0: none) what is left is broken off.

    `hurry` is asked at each look for how many seconds they have from now on; the least that it has ever said counts.
    `tell` is told then how many requests are left, and at the end that there are none.
    """
    until = time.monotonic() + (timeout or math.inf)
    tell(server.count()[1])
    while not server.wait_idle(min(LOOK, max(0.0, until - time.monotonic()))):
        now = time.monotonic()
        if now >= until:
            warn(f"requests in progress are broken off: {len(server.table)}")
            server.abort()
            break
        until = min(until, now + hurry())
        tell(server.count()[1])
    tell(0)
