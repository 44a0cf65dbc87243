"""A server is told to sleep, or to wake, by a command: run as cmdStop is; exit code 0 means that it was done.

Orders are carried out on the thread that waits for what comes of them (`sleep-M`, `probe-M`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from llamaswap_lib.runtime.health.look import wait
from llamaswap_lib.runtime.health.sleep import Order
from llamaswap_lib.runtime.processes.command_run import CommandTookTooLong, run_to_end
from llamaswap_lib.runtime.processes.group import ProcessGroup, describe_exit
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
            status = run_to_end(self._model, self._start(argv), ending, timeout)
        except CommandTookTooLong as error:
            return f"its command {error}"
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            return f"its command could not start: {self._describe(error)}"
        return "" if status == 0 else f"its command {describe_exit(status)}"
