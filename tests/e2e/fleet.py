"""Boxes, each a llamaswap with models of its own, and a front that has them as peers."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.freezing import freeze
from tests.e2e.ports import PortBlock
from tests.e2e.program import Program, wait_until


class Box:
    """A llamaswap that may be killed, and started again at the same address."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        folder.mkdir()
        self._folder = folder
        self.config = config
        self._first: int | None = None
        self.program = self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.program.port}"

    def kill(self) -> None:
        """SIGKILL; its guardian ends its models."""
        self.program.signal(signal.SIGKILL)
        self.program.wait()
        wait_until(lambda: not self.program.relatives(), "its models end")
        self.program.__exit__(None, None, None)

    def start(self) -> None:
        self.program = self._start()

    def close(self) -> None:
        """SIGTERM."""
        if self.program.code is None:
            self.program.__exit__(None, None, None)

    def _start(self) -> Program:
        ports = PortBlock(self._first)
        self._first = ports.first
        return Program(self._folder, self.config, ports=ports).__enter__()


class Fleet:
    """Some boxes, `box1` and so on, and a front; a `with` block ends all of it."""

    def __init__(
        self,
        folder: Path,
        boxes: list[Mapping[str, Any]],
        front: Mapping[str, Any],
        flags: Sequence[str] = (),
        **peer: Any,
    ) -> None:
        """`peer` is said of each peer in the front's configuration; `flags` are the front's."""
        self.boxes: dict[str, Box] = {}
        try:
            for number, config in enumerate(boxes, 1):
                self.boxes[f"box{number}"] = Box(folder / f"box{number}", config)
            self.peers = {name: {"proxy": box.url, "models": "auto", **peer} for name, box in self.boxes.items()}
            (folder / "front").mkdir()
            self.front = Program(folder / "front", {"peers": self.peers, **front}, flags=flags).__enter__()
        except BaseException:
            self._close_boxes()
            raise

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.front.__exit__(kind, error, trace)
        finally:
            self._close_boxes()

    def _close_boxes(self) -> None:
        for box in self.boxes.values():
            box.close()

    def peer(self, name: str) -> dict[str, Any]:
        """Its row in `/api/peers` of the front."""
        return next(row for row in self.front.get("/api/peers").json()["peers"] if row["peer"] == name)

    def await_up(self, name: str, *, is_up: bool) -> None:
        wait_until(lambda: self.peer(name)["up"] is is_up, f"{name} is {'in' if is_up else 'out'}")

    def await_running(self, name: str, model: str) -> None:
        """Until the front knows that the model is ready there, and that its last request has ended."""

        def is_ready() -> bool:
            known = {row["model"]: (row["state"], row["in_flight"]) for row in self.peer(name)["models"]}
            return known.get(model) == ("ready", 0)

        wait_until(is_ready, f"{model} is ready on {name}")


@contextmanager
def frozen(box: Box) -> Iterator[None]:
    """It keeps its connections, and says nothing."""
    freeze(box.program.process.pid)
    try:
        yield
    finally:
        box.program.signal(signal.SIGCONT)
