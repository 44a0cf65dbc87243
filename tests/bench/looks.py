"""What the looks at 50 boxes cost a front: its processor time in a second in which nobody asks for anything.

`--boxes 50 --seconds 10`. The boxes are played by this process: each says at `/running` what runs there, and has 40
models, as `models: auto` wants to know.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import selectors
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import Usage, llamaswap, report, wait_until

MODELS, RUNNING = 40, 4  # of each box
MOST_MS = 50.0  # of each second
SETTLING = 10.0  # seconds in which the front puts the lists of all in force
ROWS = [{"model": f"model{number}", "state": "ready", "in_flight": 2, "waiting": 0} for number in range(RUNNING)]
OFFERS = [{"id": f"model{number}", "object": "model"} for number in range(MODELS)]
ANSWERS = {b"/running": {"running": ROWS}, b"/v1/models": {"object": "list", "data": OFFERS}}


class Boxes:
    """So many servers, of one thread."""

    def __init__(self, count: int) -> None:
        self.looks = 0
        self._selector = selectors.DefaultSelector()
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="boxes")
        self._thread.start()

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in self._listeners]

    def _serve(self) -> None:
        while not self._is_over.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                with key.fileobj.accept()[0] as client:
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """A question is asked on a connection of its own, and is no longer than a packet."""
        path = client.recv(65_536).split(b" ", 2)[1]
        said = json.dumps(ANSWERS[path]).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said)
        client.sendall(head + said)
        self.looks += path == b"/running"

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        for listener in self._listeners:
            listener.close()
        self._selector.close()


@contextmanager
def serving(count: int) -> Iterator[Boxes]:
    boxes = Boxes(count)
    try:
        yield boxes
    finally:
        boxes.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    with serving(chosen.boxes) as boxes:
        peers = {f"box{number}": {"proxy": url, "models": "auto"} for number, url in enumerate(boxes.urls)}
        with llamaswap(json.dumps({"peers": peers})) as (_, front):
            wait_until(lambda: boxes.looks >= chosen.boxes, "all boxes are looked at", front)
            threading.Event().wait(SETTLING)
            before, looks = Usage.of(front.pid), boxes.looks
            threading.Event().wait(chosen.seconds)
            spent, looks = (Usage.of(front.pid).cpu - before.cpu) * 1000, boxes.looks - looks
    a_second = spent / chosen.seconds
    figures = (
        f"{chosen.boxes} boxes take {a_second:.1f} ms of each second, {a_second / 10:.1f} % of a core: "
        f"{spent / max(1, looks):.2f} ms for each of {looks / chosen.seconds:.0f} looks; {before.threads} threads, "
        f"{before.memory / 1e6:.0f} MB; load average {os.getloadavg()[0]:.1f}"
    )
    return report("looks", figures, (a_second, operator.le, MOST_MS))


if __name__ == "__main__":
    sys.exit(main())
