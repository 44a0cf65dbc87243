"""Servers of a few lines for the probe to ask, and a probe with what it posted."""

from __future__ import annotations

import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llamaswap_lib.core.events import Event
from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.health.check import HealthCheck, Probe
from llamaswap_lib.runtime.health.look import Address, wait
from llamaswap_lib.runtime.wakeup import Wakeup

PATIENCE = 30.0
SLOW = 1.1  # seconds; longer than a look may take

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
LOADING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Server:
    """Accepts one connection after the other and hands each to `serve`, with what was asked; counts them."""

    def __init__(self, serve: Callable[[socket.socket, int], None], host: str = "127.0.0.1") -> None:
        self._serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.questions: list[bytes] = []
        self._ending = Wakeup()
        self._thread = threading.Thread(target=self._run, name="server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._listener.close()
        self._ending.close()

    def _run(self) -> None:
        descriptors = [self._listener.fileno(), self._ending.fileno()]
        while self._ending.fileno() not in select.select(descriptors, [], [])[0]:
            client, _ = self._listener.accept()
            client.settimeout(PATIENCE)
            with client:
                try:
                    self.questions.append(client.recv(65536))
                    self._serve(client, len(self.questions))
                except OSError:
                    pass  # the probe had heard enough


def answers(*replies: bytes) -> Callable[[socket.socket, int], None]:
    """The replies one after the other, the last for ever."""
    return lambda client, number: client.sendall(replies[min(number, len(replies)) - 1])


def until_it_hangs_up(client: socket.socket) -> None:
    while client.recv(65536):
        pass


class SlowNames(HealthCheck):
    """One whose name servers take longer to answer than a look may take."""

    def resolve(self) -> list[Address]:
        threading.Event().wait(SLOW)
        return super().resolve()


class Pauses:
    """A clock that jumps to the end of each pause, so that pauses take no time; how long each was meant to be.

    With `most`, it jumps an hour ahead at that pause: so many looks have the time they need, and no other follows.
    """

    def __init__(self, most: int | None = None) -> None:
        self.taken: list[float] = []
        self._most = most
        self._skipped = 0.0

    def clock(self) -> float:
        return time.monotonic() + self._skipped

    def take(self, ending: Wakeup, until: float) -> None:
        seconds = until - self.clock()
        self.taken.append(seconds)
        self._skipped += 3600.0 if len(self.taken) == self._most else max(0.0, seconds)
        wait(ending, 0.0)  # raises when the probe is to end


class Probing:
    """A probe that looks, and what it posted; ends it and waits for its thread."""

    def __init__(
        self,
        proxy: str,
        check_endpoint: str = "/health",
        health_timeout: float = PATIENCE,
        through: ForwardProxy | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Wakeup, float], object] = wait,
    ) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        check = HealthCheck.at(proxy, check_endpoint, through=through)
        self.probe = Probe(3, check, health_timeout, self.events.put, clock=clock, pause=pause)

    def __enter__(self) -> Probing:
        self.probe.start("probe-m")
        return self

    def __exit__(self, *_: object) -> None:
        self.probe.cancel()
        for thread in threading.enumerate():
            if thread.name == "probe-m":
                thread.join(PATIENCE)
        assert self.events.empty(), "a probe posts one event"

    def event(self) -> Event:
        return self.events.get(timeout=PATIENCE)


@contextmanager
def waking() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    try:
        yield wakeup
    finally:
        wakeup.close()
