"""From the start of the program to its first answer: below 0.25 s.

Once Python has compiled the modules, as pip does at once and anybody's first start otherwise.
"""

from __future__ import annotations

import operator
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import llamaswap, median, report

ROUNDS = 7
CONFIG = "models:\n  m:\n    cmd: sleep 1000000\n    proxy: http://127.0.0.1:1\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as cache:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = cache
        seconds_to_answer()
        typical = median([seconds_to_answer() for _ in range(ROUNDS)])
    return report("start", f"{typical * 1000:.0f} ms to the first answer", (typical, operator.lt, 0.25))


def seconds_to_answer() -> float:
    started = time.monotonic()
    with llamaswap(CONFIG):
        return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
