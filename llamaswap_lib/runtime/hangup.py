"""Waiting for something on behalf of a client, and noticing at once when that client leaves.

For the http thread of that client. A client that half-closes its connection has left, as for other servers. Nothing
is read: what the client has sent already stays where it is.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from llamaswap_lib.errors import ClientGone

POLL_RDHUP: int = getattr(select, "POLLRDHUP", 0)
"""The event by which a poll tells of the end that a peer has sent; 0 where there is none, as on macOS."""


def has_hung_up(sock: socket.socket) -> bool:
    """Whether the peer closed its side or reset the connection."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


class HangUpWatch:
    """Waits for file descriptors in turn, always with an eye on one client."""

    def __init__(self, client: socket.socket, end_event: int = POLL_RDHUP) -> None:
        self._client = client
        self._end_event = end_event
        self._client_fd = client.fileno()
        self._poll = select.poll()
        self._poll.register(client, end_event or select.POLLIN)

    def wait(self, fd: int, mask: int, timeout: float | None = None) -> bool:
        """Block until `fd` is ready for one of `mask`, or broken; False when the time is over; raises ClientGone."""
        return fd in self._wait(((fd, mask),), timeout)

    def wait_for_any(self, fds: Sequence[int], timeout: float | None = None) -> None:
        """Block until one of them is readable, or for `timeout` seconds; may return early; raises ClientGone."""
        self._wait([(fd, select.POLLIN) for fd in fds], timeout)

    def _wait(self, wanted: Sequence[tuple[int, int]], timeout: float | None) -> set[int]:
        """Block until one of them is ready, or the client's socket is; which are."""
        poll = self._poll
        for fd, mask in wanted:
            poll.register(fd, mask)
        try:
            ready = {fd for fd, _ in poll.poll(None if timeout is None else max(0.0, timeout * 1000))}
        finally:
            for fd, _ in wanted:
                poll.unregister(fd)
        if self._client_fd in ready:
            self._check_client()
        return ready

    def _check_client(self) -> None:
        if self._end_event or has_hung_up(self._client):
            raise ClientGone
        self._poll.modify(self._client, 0)  # its next request is there already: only a reset will still be noticed
