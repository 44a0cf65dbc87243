"""The end of a run whose leader has exited: ends the processes of its group, and those that have left the group.

The thread `watch-M` calls this and blocks in it. SIGTERM goes to each process once; when the time for the stop is up,
SIGKILL to all of them, until none is found. Processes that left the group (`setsid`, a daemon) are found by the run's
mark in their environment, see `guard.table`, with their descendants; no process of another run has it. A process that
dropped its environment is found while it is in the group or descends from one that is found.

Never ended: a model that takes the mark away in its own `env` keeps who leaves its group; so does a system without
/proc, where a look takes too long (`ps`) and shows too little.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

from llamaswap_lib.runtime.guard.sweep import NOBODY, SIGKILL, SIGTERM, Sweep, of_run
from llamaswap_lib.runtime.guard.table import HAS_PROC, Entry, look_at_others, parts_of, who_is_there
from llamaswap_lib.runtime.processes.group import ProcessGroup

KILL_GRACE = 5.0  # what survives SIGKILL so long hangs in the kernel: it is reported and left
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # between looks at what outlives a leader; nobody tells us of its end


def strangers() -> Mapping[int, int]:
    """Who is there before a run begins; nobody where that cannot be found out."""
    try:
        return who_is_there() if HAS_PROC else {}
    except OSError:
        return {}


class Ending:
    """Ends the rest of one run."""

    def __init__(
        self,
        group: ProcessGroup,
        mark: str,
        strangers: Mapping[int, int],
        *,
        is_time_up: Callable[[], bool],
        signal: Callable[[Callable[[], None]], None],
        note: Callable[[str], None],
    ) -> None:
        """`mark`: what the processes of the run bear; '' to leave those alone that left the group.

        `strangers`: who was there before the run began, by `who_is_there`: so they are not looked at one by one.
        `is_time_up`: whether SIGKILL is due. `signal` is called with what signals the group, and may not raise.
        """
        self._group = group
        self._mark = mark
        self._strangers = strangers
        self._is_time_up = is_time_up
        self._signal = signal
        self._note = note

    def end_group(self) -> None:
        """Return when nobody of the group is left, or nothing more can be done."""
        self._end(None)

    def end_all(self) -> None:
        """The same, of the group and of those that left it."""
        if not self._mark or not HAS_PROC:
            return self.end_group()
        sweep = Sweep(self._choose, look=functools.partial(look_at_others, self._strangers))
        self._end(sweep)
        sweep.collect()
        for pid in sweep.refused:
            self._note(f"process {pid} belongs to another user: it cannot be ended and goes on")
        return None

    def _choose(self, entries: list[Entry], known: Mapping[int, str]) -> list[Entry]:
        """Who left the group. Its members only lead to their children: they get their signals as a group."""
        group = self._group
        groups = NOBODY if group.has_ended else {group.pid: group.start}
        found = of_run(entries, *parts_of(self._mark), groups, known)
        return [entry for entry in found if entry.group not in groups]

    def _end(self, sweep: Sweep | None) -> None:
        if not _is_gone(self._group):
            self._signal(self._group.terminate)
        pause, give_up_at = _FIRST_PAUSE, None
        while True:
            is_time_up = self._is_time_up()
            if is_time_up and give_up_at is None:
                give_up_at = time.monotonic() + KILL_GRACE
                self._signal(self._group.kill)
            is_gone = _is_gone(self._group)
            left, new = _step(sweep, SIGKILL if is_time_up else SIGTERM) if sweep else (0, 0)
            if is_gone and not left:
                return
            if give_up_at is not None and new:
                give_up_at = time.monotonic() + KILL_GRACE  # and on at once: they may be starting others
            elif give_up_at is not None and time.monotonic() >= give_up_at:
                where = "that left the group" if is_gone else "of the group"
                self._note(f"processes {where} {self._group.pid} do not end after SIGKILL, and go on")
                return
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)


def _step(sweep: Sweep, number: int) -> tuple[int, int]:
    try:
        return sweep.step(number)
    except (OSError, MemoryError):
        return 1, 0  # no descriptor or memory for a look: somebody may be left


def _is_gone(group: ProcessGroup) -> bool:
    try:
        return group.is_gone()
    except (OSError, MemoryError):
        return False  # as above


def await_end(group: ProcessGroup, timeout: float) -> bool:
    """Whether the group ended in time. These are nobody's children any more, so there is nothing to wait for."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not _is_gone(group):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return True
