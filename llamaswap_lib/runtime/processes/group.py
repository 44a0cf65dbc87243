"""A process group: a program started as its leader, signals to all of it, and its end (`RunEnding`).

Any thread may signal a group; the thread that made it waits for the leader and looks for the rest.

The group's number is the leader's pid, and the system uses a number again when no process has it as pid or group any
more. So the exit status of the leader is collected under the lock that signals take, the first look that finds no
process is under it too, and after that no signal is sent. While the group has members, the number is taken, whether the
leader was collected or not.

Rejected: being a child subreaper. Processes that left the group would then be ours to collect as well, which only a
reaper for the whole program could do, beside every other wait; and macOS has none. Where orphans come to us anyway
(llamaswap is PID 1 of a container), those of the group are collected here.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from llamaswap_lib.runtime.descriptors import at_first_soft_limit, keep_inherited_descriptors
from llamaswap_lib.runtime.guard.sweep import NOBODY, Sweep, of_run
from llamaswap_lib.runtime.guard.table import HAS_PROC, ProcessEntry, look_at_others, parts_of, read_stat, who_is_there

_PROC = Path("/proc")
KILL_GRACE = 5.0  # what survives SIGKILL so long hangs in the kernel: it is reported and left
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # between looks at what outlives a leader: nothing tells us of its end

# The signals that Python ignores, and those that a stop needs: children get the default, whatever we inherited.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class _GroupState(Enum):
    RUNNING = "running"
    ASKED = "asked to end"
    GONE = "gone"


class Guard(Protocol):
    """Ends what is left of groups if we die; see `guard/guardian.py`."""

    def marks(self, run_id: int) -> Mapping[str, str]: ...
    def add(self, group: int, stop_command: str = "") -> None: ...
    def remove(self, group: int) -> None: ...


class ProcessGroup:
    """One group, from the start of its leader to the end of its last member."""

    def __init__(self, pid: int, begun: str, guard: Guard) -> None:
        """`begun`: when the leader started, as /proc says; '' where there is no /proc. `guard` knows the group."""
        self._guard = guard
        self._lock = threading.Lock()
        self._state = _GroupState.RUNNING
        self._collected: dict[int, int] = {}
        self._known: list[str] = []
        self.pid = pid
        self.begun = begun

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: int,
        guard: Guard,
        stop_command: Callable[[int], str] = lambda _: "",
    ) -> ProcessGroup:
        """Start `argv` with the descriptor `output` as stdout and stderr; raises OSError or ValueError.

        `env` must hold the marks of `guard`. `stop_command`: what stops the group with this leader, packed for `guard`.
        What cannot be guarded is killed, and the error raised.
        """
        pid = _spawn(argv, env, output)
        leader = read_stat(pid)
        group = cls(pid, leader.start if leader else "", guard)
        try:
            guard.add(pid, stop_command(pid))
        except BaseException:
            group.kill()
            group.wait()
            raise
        return group

    # -- any thread --

    def terminate(self) -> None:
        """SIGTERM to every member, once: many servers break off on a second one. Raises PermissionError.

        A member that a signal has stopped would not act on it: SIGCONT has it go on.
        """
        with self._lock:
            if self._state is _GroupState.RUNNING:
                self._state = _GroupState.ASKED
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to every member. Raises PermissionError."""
        with self._lock:
            self._signal(signal.SIGKILL)

    @property
    def has_ended(self) -> bool:
        """Whether no process is left: from then on the number may belong to another group."""
        return self._state is _GroupState.GONE

    # -- the thread that made it only --

    def wait(self) -> int | None:
        """Block until the leader has exited; its exit code, or minus the signal that ended it; None if it is unknown.

        It is unknown if the system has collected it, as where SIGCHLD is ignored.
        """
        try:
            # macOS has no waitid before Python 3.13: there the leader is collected outside the lock.
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            else:
                self._collected[self.pid] = os.waitpid(self.pid, 0)[1]
        except ChildProcessError:
            pass
        with self._lock:
            self._collect()
        status = self._collected.get(self.pid)
        return None if status is None else os.waitstatus_to_exitcode(status)

    def is_gone(self) -> bool:
        """Whether every member has exited; cheap when none is left, else one look at /proc. Never blocks."""
        with self._lock:
            self._collect()
            if self._state is _GroupState.GONE or not self._is_number_taken():
                self._end()
                return True
        if not HAS_PROC:
            return False
        # Zombies whose parent does not collect them hold the number; only /proc tells them from the living.
        self._known = _living(self.pid, self._known) or _living(self.pid, (path.name for path in _PROC.iterdir()))
        if self._known:
            return False
        with self._lock:
            self._signal(signal.SIGKILL)  # zombies are not affected, and a process born since the look does not survive
            self._collect()  # what exited since the first look is ours to collect, if we are PID 1
            self._end()
        return True

    # -- under the lock --

    def _end(self) -> None:
        if self._state is not _GroupState.GONE:
            self._state = _GroupState.GONE
            self._guard.remove(self.pid)

    def _signal(self, number: int) -> None:
        if self._state is not _GroupState.GONE:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass  # all of them have exited; the next look will say so

    def _collect(self) -> None:
        """Take the exit statuses of the members that are children of ours: the leader, and orphans if we are PID 1."""
        try:
            while self._state is not _GroupState.GONE:
                pid, status = os.waitpid(-self.pid, os.WNOHANG)
                if not pid:
                    return
                self._collected[pid] = status
        except ChildProcessError:
            pass

    def _is_number_taken(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return HAS_PROC  # members that changed user; on macOS, which has no /proc, zombies
        return True


def _living(group: int, candidates: Iterable[str]) -> list[str]:
    """Those of the pids that belong to the group and have not exited."""
    entries = [(pid, read_stat(int(pid))) for pid in candidates if pid.isdigit()]
    return [pid for pid, entry in entries if entry is not None and entry.group == group and not entry.is_dead]


def _spawn(argv: Sequence[str], env: Mapping[str, str], output: int) -> int:
    """Start a program as the leader of a new session, which is a new group; the pid. PATH is our own.

    Not `subprocess`: it would hand down the signal mask that our own parent left us, and a child that has SIGTERM
    blocked cannot be stopped politely. `preexec_fn` is not safe beside threads.
    """
    if not argv or not argv[0]:
        raise ValueError("the command is empty")
    keep_inherited_descriptors()
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    )
    with at_first_soft_limit(argv, env) as (program, arguments):
        return os.posix_spawnp(
            program, arguments, env, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
        )


def describe_exit(status: int | None) -> str:
    """`exited with code 3`, `killed by SIGKILL`."""
    if status is None:
        return "exited"
    if status >= 0:
        return f"exited with code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


# -- the end of a run --


def strangers() -> Mapping[int, int]:
    """The processes that exist before a run begins; none if that cannot be found out."""
    try:
        return who_is_there() if HAS_PROC else {}
    except OSError:
        return {}


class RunEnding:
    """The end of a run whose leader has exited: ends the processes of its group, and those that have left the group.

    The thread `watch-M` blocks in it. SIGTERM goes to each process once; when the time for the stop is up, SIGKILL to
    all of them, until none is found. Processes that left the group (`setsid`, a daemon) are found by the run's mark in
    their environment, see `guard.table`, with their descendants; no process of another run has it. A process that
    dropped its environment is found while it is in the group or descends from one that is found.

    Never ended: a model that takes the mark away in its own `env` keeps who leaves its group; so does a system without
    /proc, where a look takes too long (`ps`) and shows too little.
    """

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
        """`mark`: what the processes of the run have in their environment; '' to leave those alone that left the group.

        `strangers`: the processes from before the run, by `who_is_there`; they are skipped in each look.
        `is_time_up`: whether SIGKILL is due. `signal` is called with what signals the group, and may not raise.
        """
        self._group = group
        self._mark = mark
        self._strangers = strangers
        self._is_time_up = is_time_up
        self._signal = signal
        self._note = note

    def end_group(self) -> None:
        """Return when no process of the group is left, or nothing more can be done."""
        self._end(None)

    def end_all(self) -> None:
        """The same for the group and for the processes that left it."""
        if not self._mark or not HAS_PROC:
            return self.end_group()
        sweep = Sweep(self._choose, look=functools.partial(look_at_others, self._strangers))
        self._end(sweep)
        sweep.collect()
        for pid in sweep.refused:
            self._note(f"process {pid} belongs to another user: it cannot be stopped and keeps running")
        return None

    def _choose(self, entries: list[ProcessEntry], known: Mapping[int, str]) -> list[ProcessEntry]:
        """The processes that left the group. Its members get their signals as a group."""
        group = self._group
        groups = NOBODY if group.has_ended else {group.pid: group.begun}
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
            left, new = _step(sweep, signal.SIGKILL if is_time_up else signal.SIGTERM) if sweep else (0, 0)
            if is_gone and not left:
                return
            if give_up_at is not None and new:
                give_up_at = time.monotonic() + KILL_GRACE  # and look again at once: they may be starting others
            elif give_up_at is not None and time.monotonic() >= give_up_at:
                where = "that left the group" if is_gone else "of the group"
                self._note(f"processes {where} {self._group.pid} still run after SIGKILL")
                return
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)


def _step(sweep: Sweep, number: int) -> tuple[int, int]:
    try:
        return sweep.step(number)
    except (OSError, MemoryError):
        return 1, 0  # no descriptor or memory for a look: a process may be left


def _is_gone(group: ProcessGroup) -> bool:
    try:
        return group.is_gone()
    except (OSError, MemoryError):
        return False  # as above


def await_end(group: ProcessGroup, timeout: float) -> bool:
    """Whether the group ended in time. Its processes may have no parent here, so there is no exit to wait for."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not _is_gone(group):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return True
