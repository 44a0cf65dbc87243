"""Runs a Python script and counts its calls: `python followed.py FOLDER ORDERS ANSWERS SCRIPT [ARGUMENT ...]`.

ORDERS and ANSWERS are named pipes. For each line of ORDERS comes one line in ANSWERS: how often each function whose
file is below FOLDER has been called since the line before, as JSON: `[[thread, file, function, times], ...]`.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

_, folder, orders, answers, *sys.argv = sys.argv
Calls = Counter[tuple[int, str, str]]
calls: Calls = Counter()


def note(frame: FrameType, event: str, argument: object) -> None:
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(folder):
        calls[threading.get_ident(), code.co_filename, f"{code.co_name}:{code.co_firstlineno}"] += 1


def answer() -> None:
    global calls
    with Path(orders).open() as asked, Path(answers).open("w") as told:
        for _ in asked:
            so_far, calls = calls, Counter()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            found = [
                (names.get(ident, "ended"), file, called, times) for (ident, file, called), times in so_far.items()
            ]
            print(json.dumps(found), file=told, flush=True)


threading.Thread(target=answer, name="answers", daemon=True).start()
threading.setprofile(note)
sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120 - as Python itself does it
runpy.run_path(sys.argv[0], run_name="__main__")
