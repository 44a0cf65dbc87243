"""The new process's side of an upgrade: it takes over from the old one, and hears of that until it ends.

Main thread until it serves; from then on the thread `link-in` hears what the old process says. Guarantees: it serves
only after the old one has said COMMIT; where that ends before, this one ends too, and says so.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from llamaswap_lib import __version__
from llamaswap_lib.errors import ConfigError
from llamaswap_lib.upgrade.child import Inheritance
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.upgrade.phases import LEFT, NEW_MOVES, New, News

END_TIMEOUT = 1.0  # seconds for the thread that writes to the old process, which has ended


class State(NamedTuple):
    """How things are in the old process, and the descriptors that belong to it."""

    told: Mapping[str, Any]
    descriptors: Sequence[int]


class Successor(Protocol):
    """What hears the old process once this one serves."""

    def hear(self, message: Message, descriptors: Sequence[int]) -> None:
        """What it says; the descriptors are ours."""

    def note_end(self) -> None:
        """It has ended."""


class Predecessor:
    """The old process."""

    def __init__(self, inheritance: Inheritance) -> None:
        self.pid = os.getppid()
        self._sock = socket.socket(fileno=inheritance.link)
        self._stderr = inheritance.stderr
        self._phase = New.PREPARED
        self._heard: queue.SimpleQueue[tuple[Message, Sequence[int]]] = queue.SimpleQueue()  # before it serves
        self._lock = threading.Lock()  # held to hear something: nothing is heard before what came earlier
        self._successor: Successor | None = None
        self.requests_left: int | None = None  # that it still has, as far as it says that

    # -- main thread --

    def state(self, on_error: Callable[[str], None]) -> State:
        """Say that the configuration can be used, and wait for the state; raises ConfigError where the old one ends.

        `on_error` is told of what of ours breaks when the old process is heard.
        """
        self.link = Link(self._sock, self._hear, self._hear_end, on_error)
        self.link.start()
        self.link.send({"kind": News.PREPARED, "version": __version__})
        message, descriptors = self._await()
        return State(message["state"], descriptors)

    def commit(self) -> Message:
        """Say that all is ready, and wait for the word to serve; raises ConfigError where the old process ends."""
        self._move(News.READY)
        self.link.send({"kind": News.READY})
        message, _ = self._await()
        return message

    def serve(self, successor: Successor) -> None:
        """Have it hear from now on what the old process says, and tell that process that this one serves."""
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with self._lock:
            while not self._heard.empty():
                self._pass_on(successor, *self._heard.get())
            self._successor = successor
        self.link.send({"kind": News.COMMITTED})

    def _await(self) -> tuple[Message, Sequence[int]]:
        message, descriptors = self._heard.get()
        self._move(News(message["kind"]))
        if self._phase is New.ENDING:
            os.dup2(self._stderr, 2)  # nobody reads the other one any more
            raise ConfigError("the process that was to be replaced has ended, so this one ends too")
        return message, descriptors

    def _move(self, news: News) -> None:
        self._phase = NEW_MOVES[self._phase, news]

    # -- thread link-in --

    def _hear(self, message: Message, descriptors: Sequence[int]) -> None:
        with self._lock:
            if self._successor is None:
                self._heard.put((message, descriptors))
            else:
                self._pass_on(self._successor, message, descriptors)

    def _hear_end(self) -> None:
        self._hear({"kind": News.GONE}, ())

    def _pass_on(self, successor: Successor, message: Message, descriptors: Sequence[int]) -> None:
        if message["kind"] == News.GONE:
            self._move(News.GONE)
            self.link.close(END_TIMEOUT)
            successor.note_end()
        elif message["kind"] == LEFT:
            self.requests_left = message["requests"]
        else:
            successor.hear(message, descriptors)
