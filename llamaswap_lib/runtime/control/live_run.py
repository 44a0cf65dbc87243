"""What exists of one run: its gate, its process, and where it listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from llamaswap_lib.core.effects import CheckOrder, KillProcess, PutToSleep, WakeUp
from llamaswap_lib.core.events import Event
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.runtime.logs.last_words import RunOutput
from llamaswap_lib.runtime.logs.logger import Logger


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a run listens; `proxy` is a URL whose path and query are joined in front of those of a request.

    It is '' for a run that has yet to say so itself.
    """

    run_id: int
    model: str
    proxy: str
    port: int | None = None
    """The automatic port that this run was given; None for a model that has a fixed one."""
    given: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What tells it of the GPUs that were chosen for it; none where nothing was chosen."""


class ProcessHandle(Protocol):
    """One life of an upstream, as the controller gives it orders. None of these blocks.

    A protocol, so that the controller and what it is made of do not depend on how processes are started.
    """

    @property
    def pid(self) -> int | None: ...
    @property
    def output(self) -> RunOutput: ...

    def hand_over(self) -> tuple[dict[str, Any], list[int]] | None: ...
    def let_go(self) -> bool: ...
    def keep(self) -> None: ...
    def start(self) -> None: ...
    def probe(self, address: str) -> None: ...
    def sleep(self) -> None: ...
    def wake(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(slots=True)
class LiveRun:
    """What exists of one run; `upstream` is another one once the run has said where it listens."""

    gate: Gate
    process: ProcessHandle
    upstream: Upstream

    def probe(self, address: str) -> None:
        """It listens there, by its own words: send requests there, and look whether it is ready. Controller thread."""
        self.upstream = replace(self.upstream, proxy=address)
        self.process.probe(address)

    def obey(self, order: PutToSleep | WakeUp | KillProcess, log: Logger) -> None:
        """Controller thread."""
        model = self.upstream.model
        match order:
            case PutToSleep(_, reason):
                log.info(f"{model}: going to sleep, {reason}")
                self.process.sleep()
            case WakeUp():
                log.info(f"{model}: waking")
                self.process.wake()
            case KillProcess():
                self.process.kill()
                log.warn(f"{model}: did not stop in time, killing it")


class RunChecks(Protocol):
    """Looks whether runs live, as the scheduler orders; see `health/watchdog.py`. Controller thread."""

    is_unseen: Callable[[int], bool]
    """Whether the run has requests of another process, whose bytes are not seen here."""

    def obey(self, order: CheckOrder, run: LiveRun, post: Callable[[Event], None]) -> None: ...
    def forget(self, run_id: int) -> None:
        """The run has ended, or is elsewhere."""

    def close(self) -> None: ...


Launch = Callable[[int, str, tuple[str, ...], Callable[[Event], None]], tuple[ProcessHandle, Upstream]]
"""Makes the process of a run, by its number, its model and the GPUs chosen for it, and says where it will listen.

The last argument is told when it is ready and when it has ended.
"""
