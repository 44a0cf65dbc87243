"""What an answer waits for, in a line that is replaced: a place in the queue, the load of the model, the first word.

A thread of its own asks the server while the main thread waits for the answer, and another one follows the log of the
model while it loads. Guarantees: once `end` has returned nothing more is shown; both end within a few seconds.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.background import Background, together
from llamaswap_lib.client.connection import Server, ServerError, in_path
from llamaswap_lib.client.terminal import Terminal

FIRST_LOOK, EACH_LOOK = 0.3, 0.4  # seconds: what is over by then shows nothing
LOG_SECONDS = 2.0  # of silence, after which a follower of a log looks whether it is still needed


class Waiting:
    """To be used in a `with`, around the wait."""

    def __init__(self, server: Server, terminal: Terminal, model: str) -> None:
        self._server = server
        self._terminal = terminal
        self._model = model
        self._since = time.monotonic()
        self._lock = threading.Lock()  # held while the line is written
        self._is_over = threading.Event()
        self._log: LogFollower | None = None
        self._is_told = False  # by the answer's own stream

    def __enter__(self) -> Waiting:
        if self._terminal.has_status:
            threading.Thread(target=self._run, name="waiting", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Take the line away."""
        with self._lock:
            if not self._is_over.is_set():
                self._is_over.set()
                self._terminal.clear()

    def tell(self, text: str) -> None:
        """Show what the answer's own stream says of the load."""
        self._is_told = True
        lines = text.split("\n")
        self._show(next((line for line in reversed(lines) if line.strip()), ""))

    def _show(self, line: str) -> None:
        with self._lock:
            if line and not self._is_over.is_set():
                self._terminal.status(line)

    # -- its thread --

    def _run(self) -> None:
        path = f"/api/models/{in_path(self._model)}/plan"
        planning = Background(lambda: self._find(path))  # at once: it is to tell what was there before
        try:
            self._is_over.wait(FIRST_LOOK)
            self._show(f"asking {self._model}")  # over a slow link more takes a while
            plan = planning.result()
            self._model = plan.get("model") or self._model
            goes = [row["model"] for row in plan.get("evicts") or ()]
            while not self._is_over.is_set() and not self._is_told:
                self._show(self._line(goes))
                self._is_over.wait(EACH_LOOK)
        except ServerError:
            pass  # the code that waits for the answer hears of it
        finally:
            if self._log is not None:
                self._log.is_over.set()

    def _find(self, path: str) -> dict[str, Any]:
        return self._server.find(path) or {}

    def _line(self, goes: list[str]) -> str:
        """How far it is."""
        queue, running = together(lambda: self._find("/api/queue"), lambda: self._find("/running"))
        rows = [row for row in queue.get("queue", ()) if row["model"] == self._model]
        states = {row["model"]: row["state"] for row in running.get("running", ())}
        seconds = words.duration(time.monotonic() - self._since)
        ours = max(rows, key=lambda row: int(row["ticket"]), default=None)
        if ours is not None and ours["reason"] != "loading":
            return f"{self._model}: place {ours['place']} in the queue, {ours['reason']} ({seconds})"
        if ours is not None or states.get(self._model) == "starting":
            if self._log is None:
                self._log = LogFollower(self._server, self._model)
            left = ours and ours.get("estimate_seconds")
            ago = f"{seconds}, about {words.duration(left)} left" if left else seconds
            gone = f", in place of {' and '.join(goes)}" if goes else ""
            last = f": {self._log.last}" if self._log.last else ""
            return f"{self._model} is loading ({ago}{gone}){last}"
        return f"waiting for the first word ({seconds})"


class LogFollower:
    """Knows the last line that a model's server has printed, until `is_over` is set."""

    def __init__(self, server: Server, model: str) -> None:
        self.is_over = threading.Event()
        self.last = ""
        self._server = server
        self._path = f"/logs/stream/{in_path(model)}?no-history"
        Background(self._run)

    def _run(self) -> None:
        while not self.is_over.is_set():
            with suppress(ServerError):  # it was silent for long, or has no such logs
                self._follow()
            self.is_over.wait(EACH_LOOK)

    def _follow(self) -> None:
        """Read until nothing comes for a while."""
        rest = b""
        with self._server.open("GET", self._path, seconds=LOG_SECONDS) as response:
            for data in self._server.pieces(response):
                *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
                said = [text for line in [*lines, rest] if (text := line.decode("utf-8", "replace").strip())]
                self.last = said[-1] if said else self.last
                if self.is_over.is_set():
                    return
