"""Folders that look like /proc and /sys, made by a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LINK = "-> "  # what begins so is a link to what follows
HOST = {"self/ns/pid": LINK + "pid:[4026531836]"}  # of the host's own /proc


def write(root: Path, content: Mapping[str, str | bytes]) -> str:
    """Write the files below `root`; the folder as text."""
    for name, what in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            path.write_bytes(what)
        elif what.startswith(LINK):
            path.unlink(missing_ok=True)
            path.symlink_to(what.removeprefix(LINK))
        else:
            path.write_text(what)
    return str(root)


def stat_line(pid: int, parent: int, group: int, name: str = "server", begun: int = 5000) -> str:
    """/proc/PID/stat, as far as anybody reads it."""
    return f"{pid} ({name}) S {parent} {group} {group} 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {begun} 0 0\n"


def process(pid: int, parent: int, group: int, **more: str) -> dict[str, str]:
    """The files of one process."""
    files = {"stat": stat_line(pid, parent, group), **more}
    return {f"{pid}/{name}": content for name, content in files.items()}
