"""Which processes to stop, and how: all that an owner, or one run of it, has started, and no others.

`of_owner`, `of_run` and `leftovers` choose among the processes of one look. A `Sweep` signals them: SIGTERM once, and
SIGKILL when its user says so. `end` looks and signals until no process is left. Each signal follows a new look at the
process, and only that look counts: a pid that was ours before may belong to another process now, and then it is not
signalled.

The guardian imports this file, so it imports nothing that takes time or memory. Never stopped: this process, its
ancestors, and the guardians of others, which stop what they guard and then end.
"""

from __future__ import annotations

import os
import time

from llamaswap_lib.runtime.guard.table import ProcessEntry, has_living_owner, is_there, look, owner_of, read_stat

TYPE_CHECKING = False  # as in `table`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SIGTERM, SIGKILL = 15, 9  # the module `signal` would cost the guardian a tenth of its memory
GRACE = 1.0  # from SIGTERM to SIGKILL
PATIENCE = 5.0  # seconds to wait for what survives SIGKILL, or may not be signalled
PAUSE = 0.02  # seconds between looks: these are not our children, so the system does not tell us of their end

NOBODY: Mapping[int, str] = {}


# -- which; `groups` and `known` are pids with the start of their processes --


def of_owner(
    entries: list[ProcessEntry], token: str, groups: Mapping[int, str], known: Mapping[int, str] = NOBODY
) -> list[ProcessEntry]:
    """The processes with the token, in one of the groups (by leader) or known before, and their descendants."""
    assert token, "an empty token would match every process"
    return _related(entries, lambda entry: entry.token == token, groups, known)


def of_run(
    entries: list[ProcessEntry], token: str, run: str, groups: Mapping[int, str], known: Mapping[int, str] = NOBODY
) -> list[ProcessEntry]:
    """The same, with the processes that have the token and the run."""
    assert token, "an empty token would match every process"
    assert run, "a run has a name"
    return _related(entries, lambda entry: entry.token == token and entry.run == run, groups, known)


def leftovers(
    entries: list[ProcessEntry],
    uid: int,
    is_there: Callable[[int], bool] = is_there,
    known: Mapping[int, str] = NOBODY,
) -> list[ProcessEntry]:
    """This user's processes with the token of an owner that is dead, and their descendants; no living owner."""
    tokens = {entry.token for entry in entries if entry.token}
    dead = {token for token in tokens if not has_living_owner(token, entries, is_there)}
    owners = {owner for token in tokens - dead if (owner := owner_of(token)) is not None}  # another llamaswap, at work
    owners.update(entry.pid for entry in entries if entry.heir_of)
    return _related(
        entries, lambda entry: entry.token in dead and entry.uid == uid and entry.pid not in owners, NOBODY, known
    )


def _related(
    entries: list[ProcessEntry],
    is_marked: Callable[[ProcessEntry], bool],
    groups: Mapping[int, str],
    known: Mapping[int, str],
) -> list[ProcessEntry]:
    """The processes that are marked, in one of the groups or known before, and their descendants."""
    leaders = {entry.pid: entry for entry in entries if entry.pid in groups}

    def is_member(entry: ProcessEntry) -> bool:
        start = groups.get(entry.group)
        if start is None:
            return False
        leader = leaders.get(entry.group)
        # While it has members the number is taken, also without a leader. The leader of a session has it as its pid.
        return entry.session == entry.group if leader is None else leader.start == start

    return _with_descendants(
        entries, lambda entry: is_marked(entry) or is_member(entry) or known.get(entry.pid) == entry.start
    )


def _with_descendants(entries: list[ProcessEntry], is_ours: Callable[[ProcessEntry], bool]) -> list[ProcessEntry]:
    """The processes that `is_ours` names and all their descendants, as far as they may be signalled."""
    spared = _line_of(entries, os.getpid())
    children: dict[int, list[ProcessEntry]] = {}
    for entry in entries:
        children.setdefault(entry.parent, []).append(entry)
    found: dict[int, ProcessEntry] = {}
    todo = [entry for entry in entries if is_ours(entry)]
    while todo:
        entry = todo.pop()
        if entry.pid in found or entry.is_guardian or entry.pid in spared:
            continue
        found[entry.pid] = entry
        todo += children.get(entry.pid, ())
    return [entry for entry in found.values() if not entry.is_dead]


def _line_of(entries: Iterable[ProcessEntry], pid: int) -> set[int]:
    """The process and its ancestors."""
    parents = {entry.pid: entry.parent for entry in entries}
    line = {0, 1}
    while pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


# -- how --


class Sweep:
    """Stops the processes that `choose` finds, one look at a time.

    `choose` gets the processes of a look and those that were found before (pid -> start): so a process is found even if
    it has lost its marker, or the parent by which it was known. Processes that may not be signalled are in `refused`.
    """

    def __init__(
        self,
        choose: Callable[[list[ProcessEntry], Mapping[int, str]], list[ProcessEntry]],
        *,
        look: Callable[[], list[ProcessEntry]] = look,
        send: Callable[[int, int], None] = os.kill,
    ) -> None:
        self._choose = choose
        self._look = look
        self._send = send
        self._known: dict[int, str] = {}
        self._killed: set[tuple[int, str]] = set()
        self.refused: dict[int, str] = {}

    def step(self, number: int) -> tuple[int, int]:
        """Look once and signal: SIGTERM to each process that has had none, SIGKILL to all.

        How many were found, and how many of them are new to this signal. Does not block.
        """
        entries = self._look()
        found = [entry for entry in self._choose(entries, self._known) if self.refused.get(entry.pid) != entry.start]
        told = self._killed if number == SIGKILL else set(self._known.items())
        new = [entry for entry in found if (entry.pid, entry.start) not in told]
        self._known.update((entry.pid, entry.start) for entry in found)
        if number == SIGKILL:
            self._killed.update((entry.pid, entry.start) for entry in found)
            for group in _whole_groups(entries, found):
                self._signal(-group, "", number)  # at once, so that none of them can start another one meanwhile
        for entry in found if number == SIGKILL else new:
            self._signal(entry.pid, entry.start, number)
        return len(found), len(new)

    def collect(self) -> None:
        """Take the exit status of those that became our children when their parents ended, as if we are PID 1.

        No other thread may wait for any of the processes that were found.
        """
        for pid, start in self._known.items():
            entry = read_stat(pid)
            if entry is not None and entry.is_dead and entry.start == start and entry.parent == os.getpid():
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # SIGCHLD is ignored

    def _signal(self, pid: int, start: str, number: int) -> None:
        try:
            self._send(pid, number)
        except PermissionError:
            if start:
                self.refused[pid] = start  # another user's, as with sudo
        except OSError:
            pass  # it has just ended


def _whole_groups(entries: Iterable[ProcessEntry], found: Iterable[ProcessEntry]) -> set[int]:
    """The groups of which every living process was found."""
    pids = {entry.pid for entry in found}
    strangers = {entry.group for entry in entries if entry.pid not in pids and not entry.is_dead}
    # 0 is the kernel's, or a group outside our PID namespace; a signal to the group 1 goes to every process.
    return {entry.group for entry in found if entry.group > 1} - strangers


def end(
    choose: Callable[[list[ProcessEntry], Mapping[int, str]], list[ProcessEntry]],
    *,
    look: Callable[[], list[ProcessEntry]] = look,
    send: Callable[[int, int], None] = os.kill,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Stop what `choose` finds (see `Sweep`), until a look finds no process: then True.

    Blocks for GRACE + PATIENCE and a look at most, or longer while new processes are being started.
    """
    sweep = Sweep(choose, look=look, send=send)
    give_up_at = clock() + GRACE + PATIENCE
    kill_at = clock() + GRACE
    while True:
        number = SIGKILL if clock() >= kill_at else SIGTERM
        found, new = sweep.step(number)
        if not found:
            return not sweep.refused
        if new:
            give_up_at = max(kill_at, clock()) + PATIENCE
        elif clock() >= give_up_at:
            return False
        if not new or number == SIGTERM:  # else they may be starting others faster than that
            sleep(PAUSE)
