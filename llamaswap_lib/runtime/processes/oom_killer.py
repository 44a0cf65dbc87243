"""Whether the kernel has ended a process because the memory of the machine, or of its container, was used up.

Pure but for the files that it reads: the counters of Linux. They say how many processes were ended so, and not which:
one that was killed while they grew, by nobody known, is taken to be one of them. Elsewhere nothing is known.
"""

from __future__ import annotations

from pathlib import Path
from signal import SIGKILL

ROOT = Path("/")
KILLED = (-SIGKILL, 128 + SIGKILL)  # how a process ended; and a shell that waited for one that did
WORDS = "the kernel (OOM killer) has ended it, since RAM was used up"


def oom_kills(root: Path = ROOT) -> int | None:
    """How many processes of our cgroup it has ended so, or of the machine where that is not told; None: nothing is."""
    found = map(_count, (*_of_our_cgroup(root), root / "proc/vmstat"))
    return next((count for count in found if count is not None), None)


def words_of_kill(status: int | None, before: int | None, after: int | None) -> str:
    """Of one that was not to end: why it did, '' if that was something else. `before` and `after`: `oom_kills`."""
    is_counted = before is not None and after is not None and after > before
    return WORDS if status in KILLED and is_counted else ""


def _of_our_cgroup(root: Path) -> list[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return []
    mounts, found = root / "sys/fs/cgroup", []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found.append(mounts / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(mounts / "memory" / path.lstrip("/") / "memory.oom_control")
    return found


def _count(path: Path) -> int | None:
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
        return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == "oom_kill"), None)
    except (OSError, ValueError):
        return None
