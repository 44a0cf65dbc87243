"""What the controller needs to start models: a process it can give orders to, and a maker of such processes.

Protocols only, so that main can bring the real thing and a test a plain fake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llamaswap_lib.core.events import Event
from llamaswap_lib.runtime.control.lease import Upstream
from llamaswap_lib.runtime.logs.last_words import RunOutput


class ProcessHandle(Protocol):
    """One life of an upstream. None of these blocks."""

    @property
    def pid(self) -> int | None: ...
    @property
    def output(self) -> RunOutput: ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Launcher(Protocol):
    """Makes the process of a run, and says where it will listen; `post` is told when it is ready and when it ended."""

    def __call__(self, run_id: int, model: str, post: Callable[[Event], None]) -> tuple[ProcessHandle, Upstream]: ...
