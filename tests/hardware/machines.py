"""GPUs, runs and logs as plain values, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llamaswap_lib.core.run import RunState
from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.readings import Gpu, Held, SourceLost
from llamaswap_lib.hardware.sources import Reports
from llamaswap_lib.runtime.control.board import RunDetail

MIB, GIB = 1 << 20, 1 << 30


def gpu(
    key: str = "GPU-1", used: int | None = 0, total: int | None = 24 * GIB, *, name: str = "Card", sees: bool = True
) -> Gpu:
    return Gpu(key, "nvidia", name, key, used_bytes=used, total_bytes=total, shows_processes=sees)


class Run(RunView):
    """As the controller tells of it."""

    def __init__(self, run_id: int, model: str, ready_at: float | None = 1.0, state: RunState = RunState.READY) -> None:
        since = 0.0 if state is RunState.SLEEPING else None
        super().__init__(run_id, model, 1, state.public_name, state, 0.0, ready_at, asleep_since=since)


class Detail(RunDetail):
    """The same with its process."""

    def __init__(self, run: RunView, pid: int | None = 100, *, in_flight: int = 0) -> None:
        super().__init__(run, pid, in_flight=in_flight)


class Cards:
    """A source of GPUs that says what a test puts in."""

    def __init__(self, *gpus: Gpu, pause: float = 0.0) -> None:
        self.name = "cards"
        self.pause = pause
        self.gpus = list(gpus)
        self.held: dict[int, dict[str, Held]] = {}  # by pid
        self.lost = ""  # why it answers no more
        self.readings = self.ends = 0
        self._read: dict[int, dict[str, Held]] = {}  # what was held at the last reading

    def read(self) -> list[Gpu]:
        self.readings += 1
        if self.lost:
            raise SourceLost(self.lost)
        self._read = dict(self.held)
        return list(self.gpus)

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        return {key: held for pid in sorted(pids) for key, held in self._read.get(pid, {}).items()}

    def close(self) -> None:
        self.ends += 1


class Log:
    """What was said, by level."""

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.reports = Reports(self.infos.append, self.warnings.append, self.errors.append)
