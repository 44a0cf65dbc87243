"""A command that is run to its end: one that has a server sleep or wake, one that asks what an earlier run has left.

On the thread that needs it, which blocks meanwhile. The thread `command-M` waits for the exit of the command. No
process of the command outlives the call: at the end of its time, and once it is cancelled, they are killed.
"""

from __future__ import annotations

import select
import time

from llamaswap_lib.runtime.health.look import wait
from llamaswap_lib.runtime.processes.group import KILL_GRACE, ProcessGroup, await_end
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup


class CommandTookTooLong(Exception):
    """It was killed; the text says after how long: `did not end within 10 s`."""


def run_to_end(model: str, group: ProcessGroup, ending: Wakeup, timeout: float) -> int | None:
    """How the command, just started, has ended; see `ProcessGroup.wait`. `timeout`: seconds.

    Raises CommandTookTooLong, `look.LookCancelled` once `ending` is set, and OSError, RuntimeError or MemoryError where
    the system has no thread for it.
    """
    run = _CommandRun(model, group)
    try:
        is_over = wait(ending, time.monotonic() + timeout, run.over, select.POLLIN)
    finally:
        run.end()
    if not is_over:
        raise CommandTookTooLong(f"did not end within {timeout:g} s")
    return run.status


class _CommandRun:
    """The command while it runs; `over` can be waited for."""

    def __init__(self, model: str, group: ProcessGroup) -> None:
        """Raises OSError, RuntimeError or MemoryError; then it was killed."""
        self.status: int | None = None
        self._group = group
        try:
            self.over = Wakeup()
            self._waiter = Thread(self._await, f"command-{model}")
            self._waiter.start()
        except (OSError, RuntimeError, MemoryError):
            if _kill(group):
                group.wait()
                await_end(group, KILL_GRACE)
            raise

    def end(self) -> None:
        """Kill what is left of it, and wait for that. What runs as another user, and cannot be killed, is left."""
        if self._group.is_gone() or _kill(self._group):
            self._waiter.join()
            self.over.close()
            await_end(self._group, KILL_GRACE)

    # -- thread command-M --

    def _await(self) -> None:
        self.status = self._group.wait()
        self.over.set()


def _kill(group: ProcessGroup) -> bool:
    try:
        group.kill()
    except PermissionError:
        return False
    return True
