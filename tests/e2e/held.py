"""A model whose answers last until the test lets them end."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.e2e.talk import Wire, events


class Held:
    """Its answers end when they may."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "may-end"
        program = (sys.executable, "-S", str(Path(__file__).with_name("held_answers.py")))
        self.command = f"{shlex.join(program)} ${{PORT}} {shlex.quote(str(self._file))}"

    def end(self, *wires: Wire) -> None:
        """Let them end, and see that they do."""
        self._file.touch()
        for wire in wires:
            assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
