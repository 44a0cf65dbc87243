"""A connection to an upstream that stays registered with the pump, between requests too.

Thread `pump` only, but for `hang_up`. So a request that is served there need not have it watched, and whatever an idle
one says, its end above all, ends it there and then. The pool keeps the idle ones, like those of the http threads.
"""

from __future__ import annotations

from collections.abc import Callable

from llamaswap_lib.net.loop import Pump
from llamaswap_lib.net.poller import IN
from llamaswap_lib.proxy.connection import Connection


class Standing:
    """The pump's hold on one connection; `on_stray` is told that it was closed while nobody used it."""

    __slots__ = ("_fd", "_lose", "_on_stray", "_pump", "connection")

    def __init__(self, connection: Connection, pump: Pump, on_stray: Callable[[Standing], None]) -> None:
        self.connection = connection
        self._fd = connection.sock.fileno()
        self._pump = pump
        self._on_stray = on_stray
        self._lose = self._close_stray  # one bound method for all times
        self.begin(pump)

    # -- any thread --

    def hang_up(self) -> None:
        """Have the pump close it, which nobody uses; does not block."""
        self._pump.take_aboard(_HangUp(self))

    # -- pump thread only --

    def begin(self, pump: Pump) -> None:
        pump.aboard.add(self)
        pump.poller.register(self.connection.sock, IN)
        self.rest()

    def serve(self, on_ready: Callable[[int], None]) -> None:
        """Call `on_ready` with what there is to hear, while a request is in progress."""
        self._pump.on_ready[self._fd] = on_ready

    def rest(self) -> None:
        """No request is in progress any more."""
        self._pump.on_ready[self._fd] = self._lose

    def release(self) -> None:
        """Let the connection go, which is open: from now on it is an http thread's, or a flow's."""
        self._pump.aboard.discard(self)
        del self._pump.on_ready[self._fd]
        self._pump.poller.unregister(self.connection.sock)

    def close(self) -> None:
        if self in self._pump.aboard:  # else it was thrown off, and closed
            self.release()
        self.connection.close()

    def give_up(self) -> None:
        """Nothing it waits for has a deadline here: the pool sees to those that are idle for too long."""

    def throw_off(self) -> None:
        self._on_stray(self)
        self.connection.close()

    def _close_stray(self, _mask: int) -> None:
        self._on_stray(self)
        self.close()


class _HangUp:
    """A passenger that rides for a moment, to close the connection on the pump's thread."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def begin(self, pump: Pump) -> None:
        pump.aboard.discard(self)
        self._standing.close()

    def give_up(self) -> None: ...

    def throw_off(self) -> None:
        self._standing.connection.close()
