"""The guardian, a program of its own, told on stdin what runs. How it is started: see `guardian`.

`+PID` is a group that was started, `-PID` one that is gone. Stdin ends when llamaswap ends, for whatever reason: then
the guardian ends all that llamaswap has started, and exits. The system closes the pipe, so this works after a kill or a
crash too. A process between fork and exec holds a copy of the pipe, so when stdin ends every process has its marker.

It starts with all signals blocked that could end it in llamaswap's place, and in a session of its own.
"""

from __future__ import annotations

import os
import sys

from llamaswap_lib.runtime.guard.sweep import end, of_owner
from llamaswap_lib.runtime.guard.table import look_at


def main(token: str) -> None:
    """Guard until stdin ends; then end everybody."""
    os.chdir("/")  # keep nobody from unmounting a disk
    groups: dict[int, str] = {}
    rest = b""
    while data := os.read(0, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            note(groups, line.decode())
    end(lambda entries, known: of_owner(entries, token, groups, known))


def note(groups: dict[int, str], line: str) -> None:
    """Carry out one line. The start is read here: nobody else can have the pid while its group is not told as gone."""
    pid = int(line[1:])
    if line[0] == "-":
        groups.pop(pid, None)
    else:
        leader = look_at(pid)
        groups[pid] = leader.start if leader else ""


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)
