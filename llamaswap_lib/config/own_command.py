"""The command that runs this very llamaswap: what `${LLAMASWAP}` stands for. Pure but for a look at where we lie."""

from __future__ import annotations

import shlex
import sys
from functools import cache
from pathlib import Path


@cache
def own_words() -> tuple[str, str]:
    """This Python, and the single file, or the `llamaswap.py` beside the package; both are absolute paths.

    It works from any folder, and does not depend on how the program was started. It is found out once: later the
    program's file may have been replaced or deleted.
    """
    place = Path(__file__).absolute().parents[2]  # of a zip: the zip itself
    program = place if place.is_file() else place / "llamaswap.py"
    return sys.executable, str(program)


def own_command() -> str:
    """The same as `cmd` is written."""
    return shlex.join(own_words())
