"""Whether the processes of a run are stopped by a signal, as Ctrl-Z and SIGSTOP do: then none of them does anything.

Any thread; one look at /proc each time, some 10 us a process. Where there is no /proc nobody knows, and the answer
is no.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from llamaswap_lib.runtime.guard.table import HAS_PROC, Entry, read_stat
from llamaswap_lib.runtime.ports import listening_among


def is_tree_stopped(leader: int, port: int | None) -> bool:
    """Whether all that descends from `leader` is stopped, or, of several, all that listen on `port`.

    A shell around the server waits for it, and is not stopped with it; a stopped shell says nothing of the server.
    """
    if not HAS_PROC:
        return False
    stats = (read_stat(int(pid)) for pid in os.listdir("/proc") if pid.isdigit())  # noqa: PTH208 - some end meanwhile
    members = tree_of(leader, [entry for entry in stats if entry is not None and not entry.is_dead])
    stopped = {entry.pid for entry in members if entry.is_stopped}
    if not stopped or len(stopped) == len(members) or port is None:
        return bool(stopped) and len(stopped) == len(members)
    servers = listening_among((entry.pid for entry in members), port)
    return bool(servers) and stopped.issuperset(servers)


def tree_of(leader: int, entries: Iterable[Entry]) -> list[Entry]:
    """Those in the leader's group or session, and all that they started, wherever it went."""
    others = list(entries)
    pids: set[int] = {leader}
    members: list[Entry] = []
    while found := [entry for entry in others if entry.parent in pids or leader in _names(entry)]:
        members += found
        pids.update(entry.pid for entry in found)
        others = [entry for entry in others if entry.pid not in pids]
    return members


def _names(entry: Entry) -> tuple[int, int, int]:
    return entry.pid, entry.group, entry.session
