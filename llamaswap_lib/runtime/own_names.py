"""The names of this machine: its host name, and the other names that `hosts` has for it.

Any thread; reads two files at each call, and asks no name server, which may take long.
"""

from __future__ import annotations

import socket
from pathlib import Path


def own_names(etc: Path = Path("/etc"), hostname: str = "") -> frozenset[str]:
    """The names of this machine in lower case: its host name, with its domains, and its other names in `hosts`.

    `hostname` is the system's unless given.
    """
    full = (hostname or socket.gethostname()).lower().rstrip(".")
    short = full.partition(".")[0]
    found = {full, short}
    for words in _lines_of(etc / "hosts"):
        names = {name.lower().rstrip(".") for name in words[1:]}
        if names & {full, short}:
            found |= names
    for words in _lines_of(etc / "resolv.conf"):
        if words[0] in ("search", "domain"):
            found |= {f"{short}.{domain.lower().strip('.')}" for domain in words[1:]}
    return frozenset(found - {""})


def _lines_of(file: Path) -> list[list[str]]:
    """The words of each line that has any; [] for a file that cannot be read."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return []
    return [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
