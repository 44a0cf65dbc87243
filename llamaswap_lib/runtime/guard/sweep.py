"""Whom to end, and how: everybody a run has started, and nobody else.

`of_run` and `leftovers` choose among the processes of one look; `end` looks, signals, and looks again until nobody is
left: SIGTERM once, SIGKILL after the grace. Each signal follows a fresh look, and what that says of a process counts,
never that a number once was ours: one that was given away again is not signalled.

The guardian imports this: nothing that takes it time or memory. Never ended: ourselves, whoever started us, and the
guardians of others, which end what they guard and then themselves.
"""

from __future__ import annotations

import os
import time

from llamaswap_lib.runtime.guard.table import Entry, has_living_owner, is_there, look, owner_of

TYPE_CHECKING = False  # as in `table`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SIGTERM, SIGKILL = 15, 9  # the module `signal` would cost the guardian a tenth of its memory
GRACE = 1.0  # from SIGTERM to SIGKILL
PATIENCE = 5.0  # with what survives SIGKILL, or may not be signalled
PAUSE = 0.02  # between looks; these are nobody's children any more, so nobody tells us of their end


def of_run(entries: list[Entry], token: str, groups: Mapping[int, str]) -> list[Entry]:
    """Who carries the token or is in one of the groups (leader's pid -> its start), and their descendants."""
    assert token, "nobody is everybody"
    leaders = {entry.pid: entry for entry in entries if entry.pid in groups}

    def is_member(entry: Entry) -> bool:
        start = groups.get(entry.group)
        if start is None:
            return False
        leader = leaders.get(entry.group)
        # Members hold the number, so that without a leader it is still theirs. Whoever leads a session got it as pid.
        return entry.session == entry.group if leader is None else leader.start == start

    return _with_descendants(entries, lambda entry: entry.token == token or is_member(entry))


def leftovers(entries: list[Entry], uid: int, is_there: Callable[[int], bool] = is_there) -> list[Entry]:
    """Who carries the token of an owner that is dead, of this user's, and their descendants; no living owner."""
    tokens = {entry.token for entry in entries if entry.token}
    dead = {token for token in tokens if not has_living_owner(token, entries, is_there)}
    owners = {owner for token in tokens - dead if (owner := owner_of(token)) is not None}  # another llamaswap, at work
    return _with_descendants(
        entries, lambda entry: entry.token in dead and entry.uid == uid and entry.pid not in owners
    )


def _with_descendants(entries: list[Entry], is_ours: Callable[[Entry], bool]) -> list[Entry]:
    """Those of the entries, and all below them, that may be signalled."""
    spared = _line_of(entries, os.getpid())
    children: dict[int, list[Entry]] = {}
    for entry in entries:
        children.setdefault(entry.parent, []).append(entry)
    found: dict[int, Entry] = {}
    todo = [entry for entry in entries if is_ours(entry)]
    while todo:
        entry = todo.pop()
        if entry.pid in found or entry.is_guardian or entry.pid in spared:
            continue
        found[entry.pid] = entry
        todo += children.get(entry.pid, ())
    return [entry for entry in found.values() if not entry.is_dead]


def _line_of(entries: Iterable[Entry], pid: int) -> set[int]:
    """The process and its ancestors."""
    parents = {entry.pid: entry.parent for entry in entries}
    line = {0, 1}
    while pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def end(
    choose: Callable[[list[Entry]], list[Entry]],
    *,
    look: Callable[[], list[Entry]] = look,
    send: Callable[[int, int], None] = os.kill,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """End whom `choose` finds, until a look finds nobody: then True. Blocks, at most GRACE + PATIENCE and a look."""
    told: set[tuple[int, str]] = set()
    begun = clock()
    while found := choose(look()):
        waited = clock() - begun
        if waited >= GRACE + PATIENCE:
            return False
        for entry in found:
            if waited >= GRACE:
                _signal(send, entry.pid, SIGKILL)
            elif (entry.pid, entry.start) not in told:  # once: many servers break off on a second one
                told.add((entry.pid, entry.start))
                _signal(send, entry.pid, SIGTERM)
        sleep(PAUSE)
    return True


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    try:
        send(pid, number)
    except OSError:
        pass  # it has just ended, or became another user's, as with sudo
