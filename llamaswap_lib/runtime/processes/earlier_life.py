"""What an earlier life of a model has left where only its commands reach it: a job of a cluster, a container.

`cmdStatus` exits with 0 while there is something. Then `cmdStop` ends it before the model is started anew: two would
take two places, and the first one would never end. On the thread `watch-M`, which blocks meanwhile; a stop or kill of
the run ends that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.health.look import wait
from llamaswap_lib.runtime.processes.group import KILL_GRACE, ProcessGroup, await_end
from llamaswap_lib.runtime.processes.launch import LaunchSpec, describe_error
from llamaswap_lib.runtime.wakeup import Wakeup

_LOOK, _PAUSE = 0.01, 0.3  # between looks whether a command has ended, and between two questions to a cluster


def end_earlier_life(
    spec: LaunchSpec,
    env: Mapping[str, str],
    output: int,
    guard: Guardian,
    ending: Wakeup,
    note: Callable[[str], None],
) -> str:
    """Why something is left, '' if there is nothing. `output` gets what `cmdStop` prints.

    Blocks for two `unload_timeout` at most. Raises `look.LookCancelled` once `ending` is set.
    """
    if not spec.status_argv:
        return ""
    deadline = time.monotonic() + spec.unload_timeout

    def runs(argv: Sequence[str], descriptor: int) -> bool:
        """Whether it exits with 0; False too if it takes too long."""
        group = ProcessGroup.start(argv, env, descriptor, guard)
        try:
            while not group.is_gone() and time.monotonic() < deadline:
                wait(ending, time.monotonic() + _LOOK)
        finally:
            if not group.is_gone():
                group.kill()
                await_end(group, KILL_GRACE)
        return group.wait() == 0

    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    name = "cmdStatus"
    try:
        if not runs(spec.status_argv, nowhere):
            return ""
        note("cmdStatus says that an earlier run has left something: it is ended by cmdStop")
        name, deadline = "cmdStop", time.monotonic() + spec.unload_timeout
        runs(spec.stop_argv, output)
        name = "cmdStatus"
        while runs(spec.status_argv, nowhere):
            if time.monotonic() >= deadline:
                return "cmdStatus says that an earlier run has left something, which cmdStop has not ended"
            wait(ending, time.monotonic() + _PAUSE)
    except (OSError, ValueError) as error:
        return f"{name}: {describe_error(error)}"
    finally:
        os.close(nowhere)
    return ""
