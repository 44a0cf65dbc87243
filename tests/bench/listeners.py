"""What listeners to `/api/events` cost each request at full rush: processor time with none, 10 and 100 of them.

`--seconds 5` for each. 8 clients ask as fast as they can; the listeners read all that they are told. The bound is on
what 100 listeners add.
"""

from __future__ import annotations

import argparse
import operator
import selectors
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Usage, llamaswap, paced_upstream, report, run_load

COUNTS = (0, 10, 100)
CLIENTS = 8
MOST_ADDED_MS = 0.1  # by 100 listeners, to each request
REST = 0.5  # seconds in which nothing comes any more
CONFIG = 'models: {model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: "PACED"}}\n'
ASK = b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n"


class Listeners:
    """So many of them, read by one thread."""

    def __init__(self, url: str, count: int) -> None:
        parts = urlsplit(url)
        self.read_bytes = 0
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            client = socket.create_connection((parts.hostname or "", parts.port or 0))
            client.sendall(ASK)
            self._selector.register(client, selectors.EVENT_READ)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="listeners")
        self._thread.start()

    def _read(self) -> None:
        while not self._is_over.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                self.read_bytes += len(key.fileobj.recv(1 << 20))

    def await_rest(self) -> None:
        """Until they are told nothing more."""
        before = -1
        while before < self.read_bytes:
            before = self.read_bytes
            threading.Event().wait(REST)

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


@contextmanager
def listening(url: str, count: int) -> Iterator[Listeners]:
    listeners = Listeners(url, count)
    try:
        yield listeners
    finally:
        listeners.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    spent: dict[int, float] = {}
    with paced_upstream() as upstream, llamaswap(CONFIG.replace("PACED", upstream)) as (url, server):
        run_load("requests", url, "-c", CLIENTS, "-d", "500ms")  # the model is ready now
        for count in COUNTS:
            with listening(url, count) as listeners:
                listeners.await_rest()
                before, bytes_before = Usage.of(server.pid).cpu, listeners.read_bytes
                found = run_load("requests", url, "-c", CLIENTS, "-d", f"{seconds:g}s")
                listeners.await_rest()
                spent[count] = (Usage.of(server.pid).cpu - before) * 1000 / found["good"]
                each = (listeners.read_bytes - bytes_before) / max(1, count) / found["good"]
            rate, took = found["good"] / seconds, spent[count]
            print(f"{count:4} listeners: {took:.3f} ms each, {rate:.0f} requests a second, {each:.0f} bytes to each")
    figures = ", ".join(f"{count} {spent[count]:.3f} ms" for count in COUNTS)
    added = spent[COUNTS[-1]] - spent[0]
    return report("listeners", f"processor time of a request with {figures}", (added, operator.le, MOST_ADDED_MS))


if __name__ == "__main__":
    sys.exit(main())
