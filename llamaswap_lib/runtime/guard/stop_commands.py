"""The commands that stop models (`cmdStop`), as the guardian runs them once llamaswap has died.

What a model has started elsewhere (a job, a container) ends by its command alone. `packed` makes a text of one when its
model is started, in llamaswap; `start` and `await_all` run in the guardian. A command runs as it would have run in
llamaswap, but what it says is lost, and its processes have no marker: the next start of llamaswap waits for the
guardian, and so for them, and does not end them as leftovers.

The guardian imports this file, so it imports nothing that takes time or memory.
"""

from __future__ import annotations

import marshal
import os
import time

from llamaswap_lib.runtime.guard.table import GUARDIAN_MARKER, MARKER, ProcessEntry, has_living_owner, look

TYPE_CHECKING = False  # as in `table`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST_SECONDS = 10.0  # for a command: long enough to give an order to a cluster; nobody waits for its end any more
_MOST_GUARDIAN_SECONDS = 20.0  # with what it takes to stop processes
_PAUSE = 0.02
_FORMAT = 2  # of marshal, which each Python reads: another version of us may be run by another one
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_DEFAULT_SIGNALS = (*(1, 2, 3, 15), _SIGPIPE, _SIGXFSZ)  # Python ignores the last two, and a user may have the others


def packed(argv: Iterable[str], env: Mapping[str, str], folder: str, seconds: float) -> str:
    """A text without spaces. `env` is added to the environment; the command may take so many seconds."""
    seconds = min(float(seconds), MOST_SECONDS)  # of a kind that marshal takes, as words and variables are
    return marshal.dumps((tuple(argv), dict(env), folder, seconds), _FORMAT).hex()


def start(text: str) -> tuple[int, float]:
    """Start the command; its pid, which leads a group, 0 if it cannot be started; and when its time is up.

    Nothing is started for a text of which a piece is missing: the pipe was full.
    """
    try:
        argv, added, folder, seconds = marshal.loads(bytes.fromhex(text))  # noqa: S302 - we have written it ourselves
    except (EOFError, ValueError, TypeError):
        return 0, 0.0
    env = {name: value for name, value in os.environ.items() if name not in (MARKER, GUARDIAN_MARKER)}
    added.pop(MARKER, None)
    try:
        os.chdir(folder)
    except OSError:
        pass  # it has been deleted; most commands need none
    actions = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    try:
        pid = os.posix_spawnp(
            argv[0],
            argv,
            {**env, **added},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    except (OSError, ValueError):
        pid = 0
    return pid, time.monotonic() + seconds


def await_all(started: Iterable[tuple[int, float]]) -> None:
    """Until each has ended; SIGKILL to the group of one whose time is up."""
    for pid, deadline in started:
        while pid and not _has_ended(pid):
            if time.monotonic() >= deadline:
                _kill(pid)
                break
            time.sleep(_PAUSE)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True  # SIGCHLD is ignored


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, _SIGKILL)
    except OSError:
        pass  # it has just ended


# -- llamaswap --


def await_guardians(
    *,
    look: Callable[[], list[ProcessEntry]] = look,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until no guardian is left whose owner is dead: it may be running commands that stop what the owner started.

    Blocks for as long as such a guardian may take at most.
    """
    until = clock() + _MOST_GUARDIAN_SECONDS
    while clock() < until:
        entries = look()
        if not any(
            one.is_guardian and not one.is_dead and not has_living_owner(one.guards, entries) for one in entries
        ):
            return
        sleep(_PAUSE)
