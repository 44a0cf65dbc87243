"""Runs a Python script and notes what it imports and opens: `python audited.py NOTES SCRIPT [ARGUMENT ...]`.

NOTES gets a line for each: `import NAME` or `open PATH`. What child processes do is not noted.
"""

from __future__ import annotations

import os
import runpy
import sys

_, notes, *sys.argv = sys.argv
descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("import", "open") and isinstance(arguments[0], str):
        os.write(descriptor, f"{event} {arguments[0]}\n".encode(errors="replace"))


sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120 - as Python itself does it
sys.addaudithook(note)
runpy.run_path(sys.argv[0], run_name="__main__")
