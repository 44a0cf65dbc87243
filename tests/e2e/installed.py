"""An installation of the program that a test may break: its own copy of the files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.e2e.program import ROOT, wait_until

# What stands at the end of a file of the new version, and has it stand still at a place, with its id in a file.
STAND_STILL = """
import os, pathlib
def _still(function):
    def stand_still(*arguments):
        pathlib.Path({mark!r}).write_text(str(os.getpid()))
        open({fifo!r}).read()
        return function(*arguments)
    return stand_still
{what} = _still({what})
"""
PLACES = {  # at which there may still be no upgrade
    "it has not read its configuration": ("main.py", "serve"),
    "it has read its configuration": ("upgrade/taking.py", "Predecessor.state"),
    "it is about to take what runs": ("handing_over.py", "Taker.take"),
    "it has taken what runs, and is not ready": ("upgrade/taking.py", "Predecessor.commit"),
}
LATER_PLACES = {"it decides, and does not say so yet": ("upgrade/taking.py", "Predecessor.serve")}


class Installed:
    """A copy in `folder`; `command` starts it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(ROOT / "llamaswap_lib", folder / "llamaswap_lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "llamaswap.py", folder)
        self.command = (sys.executable, str(folder / "llamaswap.py"))
        self._before: dict[Path, str] = {}

    def append(self, module: str, text: str) -> None:
        """Another version, which has this text at the end of the file `module`."""
        path = self._folder / "llamaswap_lib" / module
        self._before.setdefault(path, path.read_text())
        path.write_text(self._before[path] + "\n\n" + text)

    def mend(self) -> None:
        """The version that it was at first."""
        for path, text in self._before.items():
            path.write_text(text)
        self._before.clear()


class Still:
    """A new version that stands still at a place."""

    def __init__(self, folder: Path, installed: Installed, where: str) -> None:
        self._mark, self._fifo = folder / "mark", folder / "fifo"
        os.mkfifo(self._fifo)
        module, what = {**PLACES, **LATER_PLACES}[where]
        installed.append(module, STAND_STILL.format(mark=str(self._mark), fifo=str(self._fifo), what=what))

    def pid(self) -> int:
        """Of the process that stands there."""
        wait_until(lambda: self._mark.exists() and self._mark.read_text() != "", "it stands still")
        return int(self._mark.read_text())

    def go_on(self) -> None:
        self._fifo.open("w").close()
