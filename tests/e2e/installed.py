"""An installation of the program that a test may break: its own copy of the files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.e2e.program import ROOT


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
