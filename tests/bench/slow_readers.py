"""500 connections at once, 200 of them slow readers of endless streams: what they cost the 300 others.

`--seconds 120` for each half, 10 by default. The others stream 10 chunks a second each, alone and then beside the slow
ones, in one run: the ratio of their delays of a chunk, from the upstream's writing to the client's reading. The bounds:
no request fails, no slow reader is cut off, the median delay is less than double, and that of 99 in a hundred less than
triple.
"""

from __future__ import annotations

import argparse
import operator
import selectors
import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Usage, llamaswap, paced_upstream, report, run_load
from tests.slow_clients import Habit, SlowClients

SLOW, OTHERS = 200, 300
READ_BYTES = 1024  # by each slow reader, each PAUSE
PAUSE = 1.0
SETTLING = 5.0  # seconds in which the buffers on the way to the slow readers fill
BODY = b'{"model":"endless","stream":true}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"1000\r\n%b\n\n\r\n" % (b"data: ".ljust(4094, b"x")) * 16
CONFIG = """
models:
  model1: {cmd: sleep 1000000, checkEndpoint: none, proxy: "PACED"}
  endless: {cmd: sleep 1000000, checkEndpoint: none, proxy: "ENDLESS"}
groups:
  all: {swap: false, exclusive: false, members: [model1, endless]}
"""


class Endless:
    """An upstream that streams to everybody as fast as they take it, without work of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=SLOW)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._offsets: dict[socket.socket, int] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="endless")
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._listener:
                    self._begin(sock.accept()[0])
                else:
                    self._send(sock)

    def _begin(self, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(HEAD)
        sock.setblocking(False)
        self._offsets[sock] = 0
        self._selector.register(sock, selectors.EVENT_WRITE)

    def _send(self, sock: socket.socket) -> None:
        try:
            offset = self._offsets[sock]
            self._offsets[sock] = (offset + sock.send(memoryview(CHUNKS)[offset:])) % len(CHUNKS)
        except OSError:
            self._selector.unregister(sock)
            sock.close()
            del self._offsets[sock]

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        for sock in (*self._offsets, self._listener):
            sock.close()
        self._selector.close()


def others(url: str, seconds: float) -> dict[str, float]:
    return run_load("requests", url, "-stream", "-c", OTHERS, "-chunks", 20, "-gap", "100ms", "-d", f"{seconds}s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    with ExitStack() as stack:
        endless = Endless()
        stack.callback(endless.close)
        paced = stack.enter_context(paced_upstream())
        config = CONFIG.replace("PACED", paced).replace("ENDLESS", endless.url)
        through, server = stack.enter_context(llamaswap(config))
        alone = others(through, seconds)
        habits = [Habit(REQUEST, takes=READ_BYTES)] * SLOW
        readers = stack.enter_context(SlowClients(urlsplit(through).port or 80, habits, PAUSE))
        threading.Event().wait(SETTLING)
        beside = others(through, seconds)
        megabytes = Usage.of(server.pid).memory / 1e6
    (p50, p99), (slow_p50, slow_p99) = ((half["chunk_us"], half["chunk_us_99"]) for half in (alone, beside))
    figures = (
        f"p50 {p50 / 1000:.2f} -> {slow_p50 / 1000:.2f} ms (ratio {slow_p50 / p50:.2f}), "
        f"p99 {p99 / 1000:.1f} -> {slow_p99 / 1000:.1f} ms (ratio {slow_p99 / p99:.2f}), "
        f"{alone['good']:.0f} -> {beside['good']:.0f} requests of {OTHERS} clients beside {SLOW} slow readers, "
        f"{readers.lost} of them lost, {megabytes:.0f} MB"
    )
    bounds = ((slow_p50 / p50, operator.lt, 2.0), (slow_p99 / p99, operator.lt, 3.0))
    return report("slow readers", figures, *bounds, (float(readers.lost), operator.lt, 1.0))


if __name__ == "__main__":
    sys.exit(main())
