"""A line that tells how far something is, for as long as the server works on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llamaswap_lib.client import words
from llamaswap_lib.client.background import Background
from llamaswap_lib.client.connection import Server
from llamaswap_lib.client.terminal import Terminal

TICK = 0.2  # seconds between two looks
Result = TypeVar("Result")


def wait(terminal: Terminal, function: Callable[[], Result], text: Callable[[float], str]) -> Result:
    """What `function` returns, or raises; meanwhile `text`, of the seconds so far, is the status of the terminal."""
    began, asking = time.monotonic(), Background(function)
    try:
        while not asking.is_over(TICK):
            terminal.status(text(time.monotonic() - began))
    finally:
        terminal.clear()
    return asking.result()


def operate(
    server: Server, path: str, what: str, show: Callable[[Terminal, Mapping[str, Any]], None], *, as_json: bool
) -> None:
    """POST to the server, however long it takes; `what` is done meanwhile. The answer is shown, or printed as JSON."""
    terminal = Terminal()
    answer = wait(
        terminal,
        lambda: server.tell("POST", path, seconds=None),
        lambda seconds: f"{what}, {words.duration(seconds)}",
    )
    if as_json:
        terminal.json(answer)
    else:
        show(terminal, answer)


class Polled:
    """What a question is answered with, asked again and again beside the main thread, and never waited for."""

    def __init__(self, function: Callable[[], object], every: float = 1.0) -> None:
        """`every`: seconds from an answer to the next question."""
        self._function, self._every = function, every
        self._asking: Background[object] | None = None
        self._next = 0.0
        self._last: object = None

    def latest(self) -> object:
        """The last answer; None before the first one. A question that fails changes nothing."""
        now = time.monotonic()
        if self._asking is None:
            if now >= self._next:
                self._asking = Background(self._function)
        elif self._asking.is_over():
            self._last, self._asking, self._next = self._asking.result_or(self._last), None, now + self._every
        return self._last
