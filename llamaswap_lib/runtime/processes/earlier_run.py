"""What an earlier run of a model has left where only its commands reach it: a job of a cluster, a container.

`cmdStatus` exits with 0 while there is something. Then `cmdStop` ends it before the model is started anew: two would
take two places, and the first one would never end. On the thread `watch-M`, which blocks meanwhile; a stop or kill of
the run ends that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.health.look import wait
from llamaswap_lib.runtime.processes.command_run import CommandTookTooLong, run_to_end
from llamaswap_lib.runtime.processes.group import ProcessGroup
from llamaswap_lib.runtime.processes.launch import LaunchSpec, describe_error
from llamaswap_lib.runtime.wakeup import Wakeup

_PAUSE = 0.3  # seconds between two questions to a cluster


def end_earlier_run(
    spec: LaunchSpec,
    env: Mapping[str, str],
    output: int,
    guard: Guardian,
    ending: Wakeup,
    note: Callable[[str], None],
) -> str:
    """Why something is left or nobody knows, '' if nothing is. `output` gets what `cmdStop` prints.

    Blocks for three `unload_timeout` at most. Raises `look.LookCancelled` once `ending` is set.
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
        return f"{name}: {describe_error(error)}"
    except CommandTookTooLong as error:
        return f"cmdStatus {error}, so it is not known whether an earlier run has left something"
    finally:
        os.close(nowhere)
    return ""
