"""Which gate this interpreter needs: the one without a lock, or the locked one where there is no interpreter lock."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from llamaswap_lib.core.gate import Gate, LockedGate, Notice


def new_gate(run_id: int, post: Callable[[Notice], None], clock: Callable[[], float]) -> Gate:
    is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if is_gil_enabled():
        return Gate(run_id, post, clock)
    return LockedGate(run_id, post, clock, threading.Lock())
