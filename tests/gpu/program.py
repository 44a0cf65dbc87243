"""A llamaswap of this checkout with `use: memory`, asked over HTTP; and the GPUs as its own meters see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.sources import SILENT, Gpus, openers
from tests.e2e.ports import PortBlock

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20
LOAD_TIMEOUT = 600.0
TIMEOUT = 30.0
LOOK = 0.02  # seconds between two readings of a device


class Failed(Exception):
    """The check cannot go on; the text says why, for people."""


class Model(NamedTuple):
    name: str
    command: str


class Meter:
    """The GPUs of this machine, read here and now."""

    def __init__(self) -> None:
        self._gpus = Gpus(openers(sys.platform), SILENT)

    def read(self) -> list[tuple[int, Gpu]]:
        """With their numbers, as in /api/hardware."""
        return [(self._gpus.number(gpu), gpu) for gpu in self._gpus.read(time.monotonic(), is_forced=True)]

    def used(self, key: str) -> int:
        """Bytes in use of a GPU, by anybody."""
        found = next((gpu.used_bytes for _, gpu in self.read() if gpu.key == key), None)
        if found is None:
            raise Failed(f"{key} cannot be read any more")
        return found

    def settled(self, key: str) -> int:
        """The same once it stays within 2 % for half a second; as it is after some seconds if it does not."""
        deadline, since, base = time.monotonic() + 8.0, time.monotonic(), self.used(key)
        while time.monotonic() < min(deadline, since + 0.5):
            pause()
            now = self.used(key)
            if abs(now - base) > max(0.02 * base, 8 * MB):
                since, base = time.monotonic(), now
        return self.used(key)

    @property
    def problems(self) -> list[str]:
        return self._gpus.problems

    def close(self) -> None:
        self._gpus.close()


def pause(seconds: float = LOOK) -> None:
    threading.Event().wait(seconds)


def wait_for(is_so: Callable[[], bool], timeout: float) -> float | None:
    """How many seconds it took until it was so; None if it was not in time."""
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > timeout:
            return None
        pause()
    return time.monotonic() - begun


class Program:
    """`python llamaswap.py`, whose models may have `capacity` bytes of one GPU; what it learns is kept in `folder`."""

    def __init__(self, folder: Path, models: list[Model], env: list[str], device: str, capacity: int) -> None:
        self._ports = PortBlock()
        self._port = self._ports.first
        self._log = folder / "log"
        settings = {"minResidency": 0, "devices": {device: {"capacity": capacity, "reserve": 0}}}
        entries = {model.name: {"cmd": model.command, "env": env} for model in models}
        config = {
            "healthCheckTimeout": int(LOAD_TIMEOUT),
            "startPort": self._port + 1,
            "models": entries,
            "store": {"path": str(folder / "rows.db")},
            "routing": {"router": {"use": "memory", "settings": {"memory": settings}}},
        }
        path = folder / "config.yaml"
        path.write_text(json.dumps(config, indent=1))
        command = [sys.executable, str(ROOT / "llamaswap.py"), "-c", str(path), "-listen", f"127.0.0.1:{self._port}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=dict(os.environ))

    def __enter__(self) -> Program:
        try:
            if wait_for(self._is_up, TIMEOUT) is None:
                raise Failed(f"llamaswap does not answer:\n{self._last_words()}")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._ports.close()

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise Failed(f"llamaswap has ended:\n{self._last_words()}")
        try:
            return bool(self._ask("GET", "/api/memory")["devices"])
        except OSError:
            return False

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=LOAD_TIMEOUT) as answer:
            body = answer.read()
        return json.loads(body) if path.startswith("/api/memory") or path == "/running" else body

    # -- what it says, and what it is told --

    def load(self, model: str) -> None:
        try:
            self._ask("POST", f"/api/models/load/{model}")
        except urllib.error.HTTPError as error:
            raise Failed(f"{model} cannot be loaded: {error.read().decode(errors='replace')}") from None

    def unload(self, model: str) -> None:
        """Until its process has ended."""
        self._ask("POST", f"/api/models/unload/{model}")

    def running(self) -> set[str]:
        return {row["model"] for row in self._ask("GET", "/running")["running"]}

    def row(self, model: str) -> Mapping[str, Any]:
        """Of /api/memory."""
        found: Mapping[str, Any] = next(
            row for row in self._ask("GET", "/api/memory")["models"] if row["model"] == model
        )
        return found

    def need(self, model: str, device: str) -> int | None:
        """Bytes of the device, once that is measured."""
        need = self.row(model)["need"]
        return need["devices"].get(device, 0) if need["source"] == "measured" else None
