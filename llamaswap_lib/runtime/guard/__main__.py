"""The guardian, a program of its own, which reads on stdin what runs. How it is started: see `guardian`.

`+PID` is a group that was started, `-PID` one that is gone. `>PID TEXT` comes before `+PID`, once or more often: a
piece of the command that stops it (see `stop_commands`). Stdin ends when llamaswap ends, for whatever reason: then the
guardian runs the commands of the groups that there are, stops all that llamaswap has started, and exits. The system
closes the pipe, so this works after a kill or a crash too. A process between fork and exec holds a copy of the pipe, so
every process has its marker when stdin ends.

It runs in a session of its own, with all signals blocked that are meant for llamaswap and could end it too.
"""

from __future__ import annotations

import os
import sys

from llamaswap_lib.runtime.guard.stop_commands import await_all, start
from llamaswap_lib.runtime.guard.sweep import end, of_owner
from llamaswap_lib.runtime.guard.table import look_at


class Known:
    """What runs: the groups by their leaders' pids, with the start of the leader, and the commands that stop them."""

    def __init__(self) -> None:
        self.groups: dict[int, str] = {}
        self.commands: dict[int, str] = {}

    def note(self, line: str) -> None:
        """Carry out one line.

        The start is read here: no other process can have the pid until its group is told as gone.
        """
        word, _, text = line[1:].partition(" ")
        pid = int(word)
        if line[0] == ">":
            self.commands[pid] = self.commands.get(pid, "") + text
        elif line[0] == "-":
            self.groups.pop(pid, None)
            self.commands.pop(pid, None)
        else:
            leader = look_at(pid)
            self.groups[pid] = leader.start if leader else ""


def main(token: str) -> None:
    """Guard until stdin ends; then stop all processes of llamaswap."""
    os.chdir("/")  # so that no disk is kept from being unmounted
    known = Known()
    rest = b""
    while data := os.read(0, 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            known.note(line.decode())
    started = [start(known.commands[pid]) for pid in known.groups if pid in known.commands]
    end(lambda entries, found: of_owner(entries, token, known.groups, found))
    await_all(started)


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)
