"""Commands that are run to their end: they have a server sleep or wake, or ask what an earlier run has left and end it.

On the thread that needs it (`watch-M`, `sleep-M`, `probe-M`), which blocks meanwhile. The thread `command-M` waits for
the exit of the command. No process of a command outlives the call: at the end of its time, and once it is cancelled,
they are killed.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from llamaswap_lib.runtime.health.look import Order, wait
from llamaswap_lib.runtime.processes.group import KILL_GRACE, Guard, ProcessGroup, await_end, describe_exit
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import Wakeup

_PAUSE = 0.3  # seconds between two questions to a cluster


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


class SleepCommands:
    """Those that have the server of one run sleep or wake, one at a time; exit code 0 means that it was done.

    They are carried out on the thread that waits for what comes of them (`sleep-M`, `probe-M`). `start` starts one:
    raises OSError, ValueError, RuntimeError or MemoryError.
    """

    def __init__(
        self, model: str, start: Callable[[Sequence[str]], ProcessGroup], describe: Callable[[Exception], str]
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
            status = run_to_end(self._model, self._start(argv), ending, timeout)
        except CommandTookTooLong as error:
            return f"its command {error}"
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            return f"its command could not start: {self._describe(error)}"
        return "" if status == 0 else f"its command {describe_exit(status)}"


def end_earlier_run(
    spec: LaunchSpec, env: Mapping[str, str], output: int, guard: Guard, ending: Wakeup, note: Callable[[str], None]
) -> str:
    """End what an earlier run of a model has left where only its commands reach it: a job of a cluster, a container.

    `cmdStatus` exits with 0 while there is something. Then `cmdStop` ends it before the model is started anew: two
    would take two places, and the first one would never end. Returns why something is left or nobody knows, '' if
    nothing is. `output` gets what `cmdStop` prints. Blocks for three `unload_timeout` at most. Raises
    `look.LookCancelled` once `ending` is set.
    """
    if not spec.status_argv:
        return ""

    def runs(argv: Sequence[str], descriptor: int) -> bool:
        """Whether it exits with 0; raises CommandTookTooLong."""
        group = ProcessGroup.start(argv, env, descriptor, guard)
        return run_to_end(spec.model, group, ending, spec.unload_timeout) == 0

    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    name = "cmdStatus"
    try:
        if not runs(spec.status_argv, nowhere):
            return ""
        note("cmdStatus says that an earlier run has left something: it is ended by cmdStop")
        name, deadline = "cmdStop", time.monotonic() + spec.unload_timeout
        with suppress(CommandTookTooLong):  # what counts is what is left
            runs(spec.stop_argv, output)
        name = "cmdStatus"
        while runs(spec.status_argv, nowhere):
            if time.monotonic() >= deadline:
                return "cmdStatus says that an earlier run has left something, which cmdStop has not ended"
            wait(ending, time.monotonic() + _PAUSE)
    except (OSError, ValueError) as error:
        return f"{name}: {spec.describe(error)}"
    except CommandTookTooLong as error:
        return f"cmdStatus {error}, so it is not known whether an earlier run has left something"
    finally:
        os.close(nowhere)
    return ""
