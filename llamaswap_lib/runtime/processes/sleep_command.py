"""A server is told to sleep, or to wake, by a command: run as cmdStop is; exit code 0 means that it was done.

Orders are carried out on the thread that waits for what comes of them (`sleep-M`, `probe-M`). The thread `command-M`
waits for the exit of the command. No process of the command outlives the call: at the end of its time, and once it is
cancelled, they are killed.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from llamaswap_lib.runtime.health.look import wait
from llamaswap_lib.runtime.health.sleep import Order
from llamaswap_lib.runtime.processes.group import KILL_GRACE, ProcessGroup, await_end, describe_exit
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup


class SleepCommands:
    """Those of one run, one at a time. `start` starts one: raises OSError, ValueError, RuntimeError or MemoryError."""

    def __init__(
        self,
        model: str,
        start: Callable[[Sequence[str]], ProcessGroup],
        describe: Callable[[Exception], str],
    ) -> None:
        self._model = model
        self._start = start
        self._describe = describe
        self._is_idle = threading.Event()
        self._is_idle.set()

    # -- any thread --

    def order(self, argv: Sequence[str]) -> Order:
        """Runs this one."""
        return partial(self._carry_out, argv)

    def await_end(self) -> None:
        """Once it was cancelled: until no process of it is left."""
        self._is_idle.wait()

    # -- the thread that waits for what comes of it --

    def _carry_out(self, argv: Sequence[str], ending: Wakeup, timeout: float) -> str:
        """How it failed, '' if it did not. Raises LookCancelled."""
        self._is_idle.clear()
        try:
            wait(ending, 0.0)  # what was cancelled before does not begin
            return self._run(argv, ending, timeout)
        finally:
            self._is_idle.set()

    def _run(self, argv: Sequence[str], ending: Wakeup, timeout: float) -> str:
        try:
            run = _CommandRun(self._model, self._start(argv))
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            return f"its command could not start: {self._describe(error)}"
        try:
            is_over = wait(ending, time.monotonic() + timeout, run.over, select.POLLIN)
        finally:
            run.end()
        if not is_over:
            return f"its command did not end within {timeout:g} s"
        return "" if run.status == 0 else f"its command {describe_exit(run.status)}"


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
