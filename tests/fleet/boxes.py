"""Servers that a fleet looks at, and the pauses between its looks, which a test ends."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Mapping
from typing import Any

from tests.web.world import DEADLINE, Peer, sized


def running(**models: Mapping[str, Any]) -> bytes:
    """The answer to `/running` of a llamaswap."""
    rows = [{"model": model, **row} for model, row in models.items()]
    return sized(json.dumps({"running": rows}).encode())


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Box:
    """A server with one answer to each path, which may be changed at any time; 404 for others."""

    def __init__(self, **answers: bytes) -> None:
        """`running=sized(b"...")` is what GET /running is answered with."""
        self.answers = {f"/{name}": answer for name, answer in answers.items()}
        self.heads: list[str] = []

    def __call__(self, peer: Peer) -> None:
        is_last = False
        while not is_last and not peer.has_hung_up():
            head, _ = peer.read_message()
            is_last = b"Connection: close\r\n" in head
            self.heads.append(head.decode("latin-1"))
            peer.send(self.answers.get(head.split()[1].decode(), NOT_FOUND))


class Pauses:
    """The pauses of one peer: the fleet's thread waits in each until the test ends it."""

    def __init__(self) -> None:
        self._begun: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._over: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __call__(self, wake: threading.Event, seconds: float) -> None:
        self._begun.put(seconds)
        self._over.get(timeout=DEADLINE)

    def next(self) -> float:
        """Wait for one; the seconds it would take."""
        return self._begun.get(timeout=DEADLINE)

    def end(self) -> None:
        self._over.put(None)
