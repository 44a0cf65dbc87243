"""Clients that are being served and can be cut off all the same, when connections have to make room for others.

Those are clients that do not take what is sent to them, and clients that follow a log or the events, which can come
back at any time. Whoever serves a client tells of it here, http threads and the pump; thread `accept` asks for one to
be cut off. A client is known by its socket. Guarantees: of the slow ones the one goes first that has taken nothing for
longest, and of the followers the one that came first; whoever serves a client that was cut off is told so before it
serves it any further. Never closes a socket. Nothing here is called for a client that takes at once what it is sent.
"""

from __future__ import annotations

import math
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable

from llamaswap_lib.net.sockets import reset_on_close


class SlowReaders:
    """Who could be cut off, in the order in which they would be."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # protects both
        self._stalled: OrderedDict[socket.socket, float] = OrderedDict()  # since when each has taken nothing
        self._followers: OrderedDict[socket.socket, None] = OrderedDict()  # who came first in front

    # -- whoever serves the client --

    def note_stall(self, client: socket.socket) -> None:
        """From now on it takes nothing."""
        with self._lock:
            self._stalled[client] = self._clock()

    def note_progress(self, client: socket.socket) -> bool:
        """It took something, and has to take more; False if it was cut off."""
        with self._lock:
            if self._stalled.pop(client, None) is None:
                return False
            self._stalled[client] = self._clock()
            return True

    def note_end(self, client: socket.socket) -> bool:
        """Nothing is left for it to take, or it is not served any more; False if it was cut off."""
        with self._lock:
            return self._stalled.pop(client, None) is not None

    def note_follower(self, client: socket.socket) -> None:
        """It follows something that never ends by itself."""
        with self._lock:
            self._followers[client] = None

    def forget(self, client: socket.socket) -> None:
        """Its connection has ended, or follows nothing any more."""
        with self._lock:
            self._followers.pop(client, None)

    # -- accept thread only --

    def stalled_since(self) -> float | None:
        """Since when the client has taken nothing that has done so for longest."""
        with self._lock:
            return next(iter(self._stalled.values()), None)

    @property
    def has_followers(self) -> bool:
        return bool(self._followers)

    def cut_off_stalled(self, since: float) -> socket.socket | None:
        """Cut off a client that has taken nothing since then, or for longer; which one it was."""
        with self._lock:
            client, its_since = next(iter(self._stalled.items()), (None, math.inf))
            if client is None or its_since > since:
                return None
            self._forget(client)
        return _cut_off(client)

    def cut_off_follower(self) -> socket.socket | None:
        """Cut off the client that has followed something for longest; which one it was."""
        with self._lock:
            client = next(iter(self._followers), None)
            if client is None:
                return None
            self._forget(client)
        return _cut_off(client)

    def _forget(self, client: socket.socket) -> None:
        self._stalled.pop(client, None)
        self._followers.pop(client, None)


def _cut_off(client: socket.socket) -> socket.socket:
    """Wake up whoever serves it, to end with a reset: an orderly end could make what was sent look like the whole."""
    reset_on_close(client)
    try:
        client.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # it has ended by itself
    return client
