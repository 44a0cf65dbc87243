"""What a command that follows a server says when that goes away, and when it is back: once for all its streams."""

from __future__ import annotations

import sys
from collections.abc import Hashable

from llamaswap_lib.client.terminal import Terminal


class Absence:
    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lost: set[Hashable] = set()

    def lost(self, stream: Hashable) -> None:
        if not self._lost:
            self._note("the server is gone; waiting until it is back")
        self._lost.add(stream)

    def found(self, stream: Hashable) -> None:
        if stream in self._lost:
            self._lost.discard(stream)
            if not self._lost:
                self._note("the server is back")

    def _note(self, text: str) -> None:
        self._terminal.clear()  # a status that is shown goes
        sys.stderr.write(f"llamaswap: {text}\n")
        sys.stderr.flush()
