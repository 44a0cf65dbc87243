"""A process that keeps all it has, and does nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.e2e.program import wait_until


def freeze(pid: int) -> None:
    """Have the process stopped when this returns, each thread of it; SIGCONT ends it."""
    os.kill(pid, signal.SIGSTOP)

    def is_frozen() -> bool:
        stats = [(task / "stat").read_bytes() for task in Path(f"/proc/{pid}/task").iterdir()]
        return all(stat.rpartition(b")")[2].split()[0] == b"T" for stat in stats)

    wait_until(is_frozen, f"{pid} is stopped")
