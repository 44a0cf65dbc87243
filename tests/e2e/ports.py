"""Free ports for programs that are told theirs: blocks below the range from which the system gives out its own."""

from __future__ import annotations

import os
import socket

SIZE = 12
FIRST, LAST = 10_000, 32_000


class PortBlock:
    """`SIZE` ports in a row from `first` on that nobody else has; held until it is closed.

    The port before the first is bound all the time: a test that looks for a block meanwhile finds it taken.
    """

    def __init__(self, first: int | None = None) -> None:
        """`first`: the block that begins there once more, after it was closed."""
        blocks = range(FIRST, LAST, SIZE + 1) if first is None else range(first - 1, first)
        start = os.getpid() * 7919 % len(blocks)
        for number in range(len(blocks)):
            guard = _bind(blocks[(start + number) % len(blocks)])
            if guard is None:
                continue
            self.first: int = guard.getsockname()[1] + 1
            if all(_is_free(port) for port in range(self.first, self.first + SIZE)):
                self._guard = guard
                return
            guard.close()
        raise AssertionError("no free ports")

    def close(self) -> None:
        self._guard.close()


def _bind(port: int) -> socket.socket | None:
    sock = socket.socket()
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
