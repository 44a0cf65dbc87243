"""Which gate this build of Python needs: the one without a lock, or the locked one of a free-threaded build.

Any thread. The build decides, not the moment: on a free-threaded build the interpreter lock may be on at the start, and
an extension module or `PYTHON_GIL` says for how long.
"""

from __future__ import annotations

import sysconfig
import threading
from collections.abc import Callable

from llamaswap_lib.core.gate import Gate, LockedGate, Notice

IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def new_gate(
    run_id: int,
    post: Callable[[Notice], None],
    clock: Callable[[], float],
    *,
    is_free_threaded: bool = IS_FREE_THREADED,
) -> Gate:
    """The gate of one run."""
    if is_free_threaded:
        return LockedGate(run_id, post, clock, threading.Lock())
    return Gate(run_id, post, clock)
