# client: mtop (`ollama-mtop`), a monitor of llama-swap
# pip: ollama-mtop
"""mtop: what it prints for programs, and its page in a terminal, from which it loads and stops a model."""

import json
import os
import pty
import select
import sys
import time
import urllib.request
from pathlib import Path

from tried import URL, command, holds, tried

FLAGS = ("--backend", "llama-swap", "-u", URL, "-m", "api")
DEADLINE = 60
DOWN, LOAD, STOP, YES, QUIT = b"\x1bOB", b"L", b"s", b"y", b"q"


def ask(path: str) -> bytes:
    """For this script, not for mtop: by its name the line in the log is told from those of mtop."""
    request = urllib.request.Request(f"{URL}{path}", headers={"User-Agent": "try_clients"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def states() -> dict[str, str]:
    return {model["model"]: model["state"] for model in json.loads(ask("/running"))["running"]}


class Page:
    """mtop in a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LINES="40", COLUMNS="140")
            os.execv(Path(sys.executable).with_name("mtop"), ("mtop", *FLAGS, "--control"))
        self.shown = b""

    def watch(self, is_so, what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not is_so():
            if time.monotonic() > deadline:
                raise ValueError(f"never: {what}: {self.shown[-500:]!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.shown += os.read(self.fd, 65536)

    def press(self, *keys: bytes) -> None:
        for key in keys:
            os.write(self.fd, key)
            deadline = time.monotonic() + 1.5  # it looks once a second
            while time.monotonic() < deadline:
                if select.select([self.fd], [], [], 0.2)[0]:
                    self.shown += os.read(self.fd, 65536)


with tried("what runs (JSON)"):
    told = json.loads(command("mtop", *FLAGS, "--json"))
    holds(str([model["name"] for model in told["models"]]), "small")
with tried("metrics (Prometheus)"):
    holds(command("mtop", *FLAGS, "--prometheus"), "mtop_models_loaded")
with tried("load and stop in its terminal page"):
    ask("/unload")
    page = Page()
    page.watch(lambda: b"large" in page.shown, "the page shows the models")
    page.press(DOWN, LOAD)
    page.watch(lambda: states().get("large") == "ready", "large is loaded")
    page.press(STOP, YES)
    page.watch(lambda: "large" not in states(), "large is stopped")
    os.write(page.fd, QUIT)
    os.waitpid(page.pid, 0)
