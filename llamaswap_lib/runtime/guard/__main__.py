"""The guardian, a program of its own, which reads on stdin what runs. How it is started: see `guardian`.

`+PID` is a group that was started, `-PID` one that is gone. Stdin ends when llamaswap ends, for whatever reason: then
the guardian stops all that llamaswap has started, and exits. The system closes the pipe, so this works after a kill or
a crash too. A process between fork and exec holds a copy of the pipe, so every process has its marker when stdin ends.

It runs in a session of its own, with all signals blocked that are meant for llamaswap and could end it too.
"""

from __future__ import annotations

import os
import sys

from llamaswap_lib.runtime.guard.sweep import end, of_owner
from llamaswap_lib.runtime.guard.table import look_at


def main(token: str) -> None:
    """Guard until stdin ends; then stop all processes of llamaswap."""
    os.chdir("/")  # so that no disk is kept from being unmounted
    groups: dict[int, str] = {}
    rest = b""
    while data := os.read(0, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            note(groups, line.decode())
    end(lambda entries, known: of_owner(entries, token, groups, known))


def note(groups: dict[int, str], line: str) -> None:
    """Carry out one line. The start is read here: no other process can have the pid until its group is told as gone."""
    pid = int(line[1:])
    if line[0] == "-":
        groups.pop(pid, None)
    else:
        leader = look_at(pid)
        groups[pid] = leader.start if leader else ""


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)
