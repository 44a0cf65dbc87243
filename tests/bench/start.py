"""From the start of the program to its first answer: below 0.25 s."""

from __future__ import annotations

import operator
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench.rig import llamaswap, median, report

ROUNDS = 7
CONFIG = "models:\n  m:\n    cmd: sleep 1000000\n    proxy: http://127.0.0.1:1\n"


def main() -> int:
    seconds = []
    for _ in range(ROUNDS):
        started = time.monotonic()
        with llamaswap(CONFIG):
            seconds.append(time.monotonic() - started)
    typical = median(seconds)
    return report("start", f"{typical * 1000:.0f} ms to the first answer", (typical, operator.lt, 0.25))


if __name__ == "__main__":
    sys.exit(main())
