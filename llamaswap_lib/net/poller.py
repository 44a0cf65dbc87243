"""Which sockets are ready, and who hung up: the interface of epoll, also where there is no epoll.

Thread `loop`. The masks are those of epoll, which reports ERR and HUP for a mask of 0 too. Other platforms get
`SelectorPoller`, which has the same interface, reports nothing for 0, and finds a hang-up by looking at the byte that
comes next (a client that sends its next request early can then hang up unnoticed until something is sent to it). Nobody
here reads or writes what flows.
"""

from __future__ import annotations

import select
import selectors
import socket
from typing import Protocol

IN, OUT, ERR, HUP, RDHUP = 0x1, 0x4, 0x8, 0x10, 0x2000  # as EPOLLIN and so on are on Linux, as POLLIN is everywhere
GONE = ERR | HUP | RDHUP


class Watched(Protocol):
    """A socket, or a Wakeup."""

    def fileno(self) -> int: ...


class Poller(Protocol):
    """One thread calls all of it."""

    def register(self, sock: Watched, mask: int) -> None: ...
    def modify(self, sock: Watched, mask: int) -> None: ...
    def unregister(self, sock: Watched) -> None: ...
    def poll(self, timeout: float | None) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


def new_poller() -> Poller:
    """The best this platform has."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()


class SelectorPoller:
    """What `selectors` can do of epoll's interface: IN, OUT and RDHUP."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._parked: set[Watched] = set()  # nothing about them can be watched without looking for ever

    def register(self, sock: Watched, mask: int) -> None:
        if interest := _interest(mask):
            self._selector.register(sock, interest, mask)
        else:
            self._parked.add(sock)

    def modify(self, sock: Watched, mask: int) -> None:
        self.unregister(sock)
        self.register(sock, mask)

    def unregister(self, sock: Watched) -> None:
        if sock in self._parked:
            self._parked.remove(sock)
        else:
            self._selector.unregister(sock)

    def close(self) -> None:
        self._selector.close()

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        ready = []
        for key, events in self._selector.select(timeout):
            mask = OUT if events & selectors.EVENT_WRITE else 0
            if events & selectors.EVENT_READ:
                mask |= IN if key.data & IN else self._look(key)
            if mask:
                ready.append((key.fd, mask))
        return ready

    def _look(self, key: selectors.SelectorKey) -> int:
        """RDHUP if the peer is gone. A byte that nobody asked for is readable for ever: look no more."""
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        if has_hung_up(sock):
            return RDHUP
        self._selector.unregister(sock)
        if key.data & OUT:
            self.register(sock, OUT)
        else:
            self._parked.add(sock)
        return 0


def has_hung_up(sock: socket.socket) -> bool:
    """Whether the peer closed its side or reset the connection."""
    try:
        return not socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _interest(mask: int) -> int:
    read = selectors.EVENT_READ if mask & (IN | RDHUP) else 0
    return read | (selectors.EVENT_WRITE if mask & OUT else 0)
