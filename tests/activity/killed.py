"""A program that appends records at a given rate, and says how many and when: to be killed in the middle of it."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path

from llamaswap_lib.activity.journal import Journal, JournalSettings
from llamaswap_lib.activity.store import StoreSettings
from tests.activity.rows import record

TURN = 0.01  # seconds


def main(path: str, per_second: int) -> None:
    journal = Journal(JournalSettings(StoreSettings(Path(path)), 1 << 20), on_error=sys.exit, on_warning=sys.exit)
    journal.start()
    count, begun = 0, time.monotonic()
    while True:
        due = int((time.monotonic() - begun) * per_second)
        for number in range(count, due):
            journal.append(partial(record, model=f"m{number % 7}", session=f"s{number}"))
        count = max(count, due)
        sys.stdout.write(f"{count} {time.monotonic()}\n")
        sys.stdout.flush()
        threading.Event().wait(TURN)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
