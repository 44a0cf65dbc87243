"""A GPU that a test plays: models take its memory and give it back a while after their end, as drivers do.

`fake_nvml.c` shows it to the program. A model is `card_model.py`, which asks for its memory by a socket.
"""

from __future__ import annotations

import selectors
import shlex
import socket
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tests.e2e.program import demo
from tests.hardware.nvml_library import compile_library, environment

GIB = 1 << 30
UUID = "GPU-aaaa"
TOTAL = 24 * GIB
LAUNCHER = Path(__file__).with_name("card_model.py")


class Card:
    """24 GB, in a `with` block. What a model held is free `delay` seconds after its end; None: never."""

    def __init__(self, folder: Path, delay: float | None = 0.0) -> None:
        self.env = environment(compile_library(folder), folder / "told")
        self.answers: list[tuple[int, bool]] = []  # what was asked for in GB, and whether it was given
        self._told = folder / "told"
        self._delay = delay
        self._path = folder / "card"
        self._held: dict[socket.socket, tuple[int, int]] = {}  # pid and bytes
        self._freeing: list[tuple[float, int]] = []  # when how much is free
        self._lost = 0  # what is never given back
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._inner, self._outer = socket.socketpair()
        for one in (self._listener, self._inner):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name="card")
        self._tell()

    def command(self, size: int) -> str:
        """Of a model that takes so many GB."""
        return f"{shlex.join((sys.executable, str(LAUNCHER), str(self._path), str(size * GIB)))} {demo()}"

    def __enter__(self) -> Card:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outer.close()
        self._thread.join()
        self._selector.close()
        for one in (self._listener, self._inner, *self._held):
            one.close()

    # -- its own thread --

    def _work(self) -> None:
        while True:
            timeout = None if not self._freeing else max(0.0, min(self._freeing)[0] - time.monotonic())
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._inner:
                    return
                if key.fileobj is self._listener:
                    self._answer(self._listener.accept()[0])
                elif isinstance(key.fileobj, socket.socket):
                    self._release(key.fileobj)
            now = time.monotonic()
            self._freeing = [(at, size) for at, size in self._freeing if at > now]
            self._tell()

    def _answer(self, model: socket.socket) -> None:
        pid, size = map(int, model.makefile("rb").readline().split())
        is_given = self._used() + size <= TOTAL
        self.answers.append((size // GIB, is_given))
        if is_given:
            self._held[model] = pid, size
            self._selector.register(model, selectors.EVENT_READ)
            self._tell()
        model.sendall(b"y" if is_given else b"n")
        if not is_given:
            model.close()

    def _release(self, model: socket.socket) -> None:
        """Its last process has ended."""
        self._selector.unregister(model)
        _, size = self._held.pop(model)
        model.close()
        if self._delay is None:
            self._lost += size
        else:
            self._freeing.append((time.monotonic() + self._delay, size))

    def _used(self) -> int:
        return self._lost + sum(size for _, size in (*self._held.values(), *self._freeing))

    def _tell(self) -> None:
        processes = " ".join(f"{pid}:{size}" for pid, size in self._held.values())
        lines = ["count 1", f"0.uuid {UUID}", "0.name Card", f"0.memory {TOTAL} {self._used()}"]
        new = self._told.with_suffix(".new")
        new.write_text("\n".join([*lines, f"0.compute {processes}" if processes else "", ""]))
        new.replace(self._told)
