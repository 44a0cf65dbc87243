"""A program whose files may not grow beyond a limit for a while: writes rows before, meanwhile and after.

It prints what the store said, and at last how many rows there are.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from llamaswap_lib.activity.store import Store, StoreSettings
from tests.activity.rows import row

LIMIT_BYTES = 1 << 20


def main(path: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    now = 0.0
    store = Store(StoreSettings(Path(path), shown_path="FILE"), on_warning=print, on_info=print, clock=lambda: now)
    store.open()
    count = 0
    for _ in range(60):
        count += len(store.write([row(session=f"s{count + number}", error="x" * 200) for number in range(100)]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    now += 100.0
    store.write([row(session=f"s{count}")])
    with store.reading() as connection:
        print(*connection.execute("SELECT count(*) FROM activity").fetchone())
    store.close()


if __name__ == "__main__":
    main(sys.argv[1])
