"""What each run takes of each device, which witness says so, and the most that it took since it is ready.

Thread `hardware` changes it; what it gives away is never changed, only replaced. Witnesses, in this order: the driver,
by the processes of the run (`nvml`, `nvidia-smi`, `fdinfo`, `kfd`); where processes cannot be seen (in a container,
under WSL), `delta`: how much more of a device is in use since the run came, while nothing else came or went. `ram` is
memory of the machine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from llamaswap_lib.core.snapshot import RunView
from llamaswap_lib.hardware.readings import UNREADABLE, Gpu, Held, Ram, RunMemory, Usage
from llamaswap_lib.runtime.control.board import RunDetail

SETTLE = 2.0  # seconds without a change of what runs; a driver frees memory for a while after the end of a process
MOST_WORLDS = 16  # sets of runs whose use of the devices is remembered
LEAST_DELTA = 64 << 20  # bytes; less may be anybody, and a model that computes takes more

RAM = "ram"


class Finding(NamedTuple):
    """What was found of one run: by its processes, by the key of each GPU; and in the machine's memory.

    `is_elsewhere`: processes of it may be where they cannot be seen; `is_hidden`: all that compute are.
    """

    held: Mapping[str, Held] = MappingProxyType({})
    ram: Ram | None = None
    is_elsewhere: bool = False
    is_hidden: bool = False


class MemoryOfRuns:
    """Of all runs that there are."""

    def __init__(self) -> None:
        self.now: Mapping[int, RunMemory] = {}
        """By run."""
        self._peaks: dict[tuple[int, str], int] = {}  # by run and device
        self._ready: Collection[int] = ()
        self._deltas = Deltas()

    def update(
        self,
        runs: Collection[RunDetail],
        findings: Mapping[int, Finding],
        gpus: Collection[Gpu],
        now: float,
        stale: Collection[str],
        ready: Collection[int],
    ) -> None:
        """`findings` are by run; `now` is in monotonic seconds; `stale` are GPUs of which nothing new is known.

        `ready` are runs that were ready before anything was read: of others there is no peak yet.
        """
        self._ready = ready
        self._deltas.look([detail.run for detail in runs], [gpu for gpu in gpus if gpu.key not in stale], now)
        memory = {}
        for detail in runs:
            run = detail.run
            finding = findings.get(run.run_id)
            if finding is not None:
                usages = [*self._of_gpus(run, finding, gpus), *self._of_ram(run, finding)]
                unseen = self._unseen(run, finding, usages, gpus, stale)
                memory[run.run_id] = RunMemory(run.model, tuple(usages), tuple(unseen))
        self._peaks = {key: peak for key, peak in self._peaks.items() if key[0] in memory}
        self.now = memory

    def _of_gpus(self, run: RunView, finding: Finding, gpus: Iterable[Gpu]) -> Iterator[Usage]:
        for gpu in gpus:
            held = finding.held.get(gpu.key)
            if held is None or held.bytes is None:
                is_seen = gpu.shows_processes and held is None and not finding.is_elsewhere
                delta = None if is_seen else self._deltas.of(run.run_id, gpu.key)
                known = None if held is UNREADABLE else held
                held = known if delta is None else Held(delta, "delta")
            if held is not None:
                peak = self._peak(run, gpu.key, held.bytes)
                yield Usage(gpu.key, gpu.name, "gpu", held.bytes, peak, None, held.witness)

    def _unseen(
        self, run: RunView, finding: Finding, usages: Iterable[Usage], gpus: Iterable[Gpu], stale: Collection[str]
    ) -> Iterator[str]:
        told = {usage.device for usage in usages if usage.bytes is not None}
        if RAM not in told or finding.is_hidden:
            yield RAM
        for gpu in gpus:
            is_seen = gpu.shows_processes and gpu.key not in {*finding.held, *stale} and not finding.is_elsewhere
            is_maybe = finding.held.get(gpu.key, UNREADABLE) is UNREADABLE
            is_none = is_maybe and self._deltas.is_none(run.run_id, gpu.key)
            if gpu.key not in told and not is_seen and not is_none and not gpu.is_shared:
                yield gpu.key

    def _of_ram(self, run: RunView, finding: Finding) -> Iterator[Usage]:
        ram = finding.ram
        if ram is not None:
            yield Usage(RAM, RAM, "ram", ram.own, self._peak(run, RAM, ram.own), ram.mapped, "ram")

    def _peak(self, run: RunView, device: str, size: int | None) -> int | None:
        if run.run_id not in self._ready:
            return None
        if size is not None:
            self._peaks[run.run_id, device] = max(size, self._peaks.get((run.run_id, device), 0))
        return self._peaks.get((run.run_id, device))


class Deltas:
    """How much more of each device is in use with a run than without it.

    What is in use is remembered for each set of models that stood alone for a while: none, A, A and B. What B takes is
    the difference between the last two, or between B alone and none. A model counts as another one while it sleeps.
    """

    def __init__(self) -> None:
        self._worlds: dict[frozenset[tuple[str, bool]], dict[str, int]] = {}  # by model, and whether it sleeps
        self._found: dict[tuple[int, str], int] = {}  # by run and device; 0: so little that it may be anybody
        self._standing: frozenset[tuple[int, bool, bool]] | None = None  # what runs, is ready or asleep, and sleeps
        self._since = 0.0

    def look(self, runs: Collection[RunView], gpus: Iterable[Gpu], now: float) -> None:
        """Remember what is in use, if nothing has changed for a while. `gpus`: those that were asked now."""
        standing = frozenset((run.run_id, run.is_settled, run.is_asleep) for run in runs)
        if standing != self._standing:
            is_first, before = self._standing is None, {(run_id, slept) for run_id, _, slept in self._standing or ()}
            same = {run.run_id for run in runs if (run.run_id, run.is_asleep) in before}
            self._standing, self._since = standing, now
            self._found = {key: size for key, size in self._found.items() if key[0] in same}
            if not (is_first and not runs):  # before the first run nothing has to settle
                return
        elif now - self._since < SETTLE:
            return
        if all(run.is_settled for run in runs):
            used = {gpu.key: gpu.used_bytes for gpu in gpus if gpu.used_bytes is not None}
            models = frozenset((run.model, run.is_asleep) for run in runs)
            self._worlds[models] = {**self._worlds.pop(models, {}), **used}
            while len(self._worlds) > MOST_WORLDS:
                del self._worlds[next(iter(self._worlds))]
            for run in runs:
                self._compare(run, models, used)

    def _compare(self, run: RunView, models: frozenset[tuple[str, bool]], used: Mapping[str, int]) -> None:
        without = self._worlds.get(models - {(run.model, run.is_asleep)})
        for device, size in used.items() if without is not None else ():
            if without is not None and device in without:
                delta = size - without[device]
                if delta >= LEAST_DELTA:
                    self._found[run.run_id, device] = delta
                elif delta > -LEAST_DELTA:  # less in use than before: others have ended, which may hide what it takes
                    self._found.setdefault((run.run_id, device), 0)

    def of(self, run_id: int, device: str) -> int | None:
        """None where nothing is known, or so little that it may be anybody."""
        return self._found.get((run_id, device)) or None

    def is_none(self, run_id: int, device: str) -> bool:
        """Whether as much was in use with it as without it, as far as that can be told."""
        return self._found.get((run_id, device)) == 0
