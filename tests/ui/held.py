"""A demo model that does not begin before a test lets it: what is seen of its load is there for as long as it takes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.e2e.program import demo

WAITER = """\
import os, sys, threading
print("reading the model", flush=True)
while not os.path.exists(sys.argv[1]):
    threading.Event().wait(0.02)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Held:
    """While it is shut, a model that is started with `command` stays at its load."""

    def __init__(self, folder: Path) -> None:
        self._door = folder / "door"
        self._waiter = folder / "waiter.py"
        self._waiter.write_text(WAITER)

    def command(self, *flags: str) -> str:
        """Of a demo."""
        return shlex.join((sys.executable, "-S", str(self._waiter), str(self._door))) + " " + demo(*flags)

    def open(self) -> None:
        self._door.touch()

    def shut(self) -> None:
        """For those that are started from now on."""
        self._door.unlink()
