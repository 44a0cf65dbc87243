"""`Hardware`: samples of the machine and its GPUs, kept for an hour, and the memory that each model takes.

Thread `hardware`, which alone asks drivers and reads /proc; any thread reads what it has found, without waiting for it.
A sample that takes long holds up the next one and nobody else. With `performance.disabled` there are no samples, but
memory is still read, more seldom: which models fit together goes by it.
"""

from __future__ import annotations

import importlib
import math
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from llamaswap_lib.hardware.attribution import SETTLE, Finding, MemoryOfRuns
from llamaswap_lib.hardware.history import History, LatestSample, MachineSample, gpu_rows, system_row
from llamaswap_lib.hardware.readings import Gpu, Memory, Ram, RunMemory, System, SystemSource
from llamaswap_lib.hardware.snapshot import Machine, snapshot
from llamaswap_lib.hardware.sources import SILENT, Gpus, Open, Reports, openers
from llamaswap_lib.runtime.control.board import RunDetail
from llamaswap_lib.runtime.vital import Failures, VitalThread
from llamaswap_lib.runtime.wakeup import seconds_until
from llamaswap_lib.wire.rfc3339 import moment_text

# What each platform needs of this folder; on others nobody pays for it. `smi` is for those who start with a driver of
# NVIDIA that has no library, and is imported then: it needs a parser of XML.
LINUX_MODULES = ("linux", "processes", "nvml", "drm")
MODULES = {"darwin": ("mac",)}
FIRST = 1.0  # seconds after the start until the first sample: how busy a core is shows only after a while
COARSE = 30.0  # the fewest seconds between two readings of memory where no samples are wanted
DELAY = 0.1  # seconds from a change of what runs to a reading: nobody is to wait for the interpreter at a swap
CLOSE = 0.1  # seconds between two readings while a start waits for memory to become free
LEAST_PAUSE = 1.0  # seconds between two readings because of changes of what runs
DEAREST = 10  # times what a reading took until the next one, where all are to be close
AFTERWARDS = SETTLE + 0.1  # seconds from such a reading to another one, when a driver has freed what has ended
AFTER_FAILURE = 60.0  # seconds; a mistake of ours would otherwise be reported at every sample
CLOSE_TIMEOUT = 2.0  # seconds for the thread to end; a driver may hang, and is left to itself


class SamplerSettings(NamedTuple):
    """`every` is in seconds; models lie in the `folders`."""

    every: float = 5.0
    is_disabled: bool = False
    folders: tuple[str, ...] = ()
    is_gone_by: bool = False  # models stay or go by what is read of the memory

    @property
    def pause(self) -> float:
        return max(self.every, COARSE) if self.is_disabled and not self.is_gone_by else self.every


class Roots(NamedTuple):
    """Where what the system tells is found."""

    proc: str = "/proc"
    sys: str = "/sys"
    etc: str = "/etc"


USUAL, ROOTS = SamplerSettings(), Roots()


class ProcessSource(Protocol):
    """Who belongs to which run, and what of the machine's memory they take."""

    elsewhere: frozenset[int]  # runs of whose processes not all may be seen
    hidden: frozenset[int]  # those of which none that computes is seen

    def trees(self, roots: Mapping[int, int]) -> dict[int, set[int]]: ...
    def ram(self, run_id: int, pids: Collection[int], *, is_forced: bool = False) -> Ram | None: ...


class Hardware:
    """Built once; `start`, then `close`. One that was not started knows nothing."""

    def __init__(
        self,
        settings: SamplerSettings = USUAL,
        runs: Callable[[], Iterable[RunDetail]] = tuple,
        reports: Reports = SILENT,
        *,
        roots: Roots = ROOTS,
        platform: str = sys.platform,
        open_sources: Iterable[Open] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`runs`: those that there are; quick. `open_sources`: how GPUs are asked, if not as the platform has it."""
        self._settings = settings
        self._runs = runs
        self._reports = reports
        self._roots = roots
        self._platform = platform
        self._clock = clock
        self._wall = wall
        opened = openers(platform, sys_folder=roots.sys, proc=roots.proc) if open_sources is None else open_sources
        self._gpus = Gpus(tuple(opened), reports, sys_folder=roots.sys, proc=roots.proc)
        self._history = History()
        self._memory = MemoryOfRuns()
        self._of_machine: Memory | None = None
        self._ready: frozenset[int] = frozenset()  # runs, as of the last reading
        self._listeners: list[Callable[[], None]] = []
        self._parts: _Parts | None = None
        self._due = clock() + FIRST  # the next sample
        self._soon = math.inf  # the next reading beside the samples
        self._next_close = math.inf  # the same while somebody waits for memory to become free
        self._has_changed = False  # what runs
        self._last = -math.inf  # the last reading
        self._took = 0.0  # seconds, that one
        self._turn = threading.Condition()
        self._asked = self._answered = 0  # how often `read_now` was called, and up to which call that is done
        self._has_read = False  # at all
        self._is_good = False  # whether the last turn has worked
        self._is_closed = False
        self._thread: VitalThread | None = None

    # -- any thread --

    def start(self) -> None:
        """From here on nothing of ours is imported: an installation may be replaced while it runs."""
        for name in MODULES.get(self._platform, LINUX_MODULES):
            importlib.import_module(f"{__package__}.{name}")
        self._thread = VitalThread(self._work, "hardware")
        self._thread.start()

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the thread. One that hangs in a driver is left to itself after `timeout` seconds."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def change(self, settings: SamplerSettings) -> None:
        """Go by other settings from now on."""
        with self._turn:
            if settings == self._settings:
                return
            self._settings = settings
            self._due = min(self._due, self._clock() + settings.pause)
            self._turn.notify_all()
        if settings.is_disabled:
            self._history.clear()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have it called on the thread `hardware` after each reading of memory. Before `start`."""
        self._listeners.append(listener)

    def note_change(self) -> None:
        """What runs has changed, or somebody waits: have the memory read soon. Takes no time."""
        with self._turn:
            self._has_changed = True
            self._soon = min(self._soon, max(self._last + LEAST_PAUSE, self._clock() + DELAY))
            self._turn.notify_all()

    def look_again(self) -> None:
        """Have the memory read once more within `LEAST_PAUSE`; later where that would take a tenth of the time."""
        with self._turn:
            pause = max(LEAST_PAUSE, DEAREST * self._took)
            self._soon = min(self._soon, max(self._last + pause, self._clock() + DELAY))
            self._turn.notify_all()

    def read_closely(self) -> None:
        """A start waits for memory to become free: have it read at once, or a moment after the last reading."""
        with self._turn:
            self._next_close = self._last + CLOSE
            self._turn.notify_all()

    @property
    def last_read(self) -> float:
        """When the last reading of memory began, in monotonic seconds."""
        return self._last

    @property
    def is_enabled(self) -> bool:
        """Whether there are samples."""
        return not self._settings.is_disabled

    def read_now(self, timeout: float) -> bool:
        """Have all memory read again; whether that was done within `timeout` seconds."""
        with self._turn:
            self._asked += 1
            asked = self._asked
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._answered >= asked or self._is_closed, timeout)
            return self._answered >= asked and self._is_good

    def system_samples(self, after: int | None = None) -> list[dict[str, Any]]:
        """Those after a moment in nanoseconds since 1970, oldest first."""
        return [system_row(sample) for sample in self._history.since(after)]

    def gpu_samples(self, after: int | None = None) -> list[dict[str, Any]]:
        """As above; those of one moment stand together."""
        return list(gpu_rows(self._history.since(after)))

    def latest(self) -> LatestSample:
        """The newest sample, as objects of the two lists above."""
        return self._history.latest()

    def gpus(self) -> list[tuple[int, Gpu]]:
        """All GPUs with their numbers, as of the last reading, whether there are samples or not."""
        return [(self._gpus.number(gpu), gpu) for gpu in self._gpus.now]

    def stale_gpus(self) -> frozenset[str]:
        """Keys of those that are as they were at an earlier reading: their source takes long, and is asked seldom."""
        return self._gpus.stale

    def memory_of_models(self) -> Mapping[int, RunMemory]:
        """What each run takes of each device, by its run id, as of the last reading."""
        return self._memory.now

    def machine_memory(self) -> Memory | None:
        """Of the machine, or the container that we are in, as of the last reading; None where nothing tells."""
        return self._of_machine

    def snapshot(self, timeout: float = 0.0) -> dict[str, Any] | None:
        """What the machine has, for `/api/hardware`; None if it has not been looked at within `timeout` seconds."""
        with self._turn:
            self._turn.wait_for(lambda: self._has_read or self._is_closed, timeout)
        parts = self._parts
        if parts is None or not self._has_read:
            return None
        return snapshot(parts.machine, self.gpus(), self._now_text()[1], self._gpus.sources, self._gpus.problems)

    # -- hardware thread only --

    def _work(self) -> None:
        failures = Failures("hardware", self._reports.error)
        while self._wait():
            self._try_turn(failures)
        self._gpus.close()

    def _try_turn(self, failures: Failures) -> None:
        try:
            self.take_turn()
            failures.forget()
        except Exception:  # noqa: BLE001 - the top of the thread: the next reading may work
            failures.endure()
            self._due = self._clock() + AFTER_FAILURE
            self._end_turn(self._asked, is_good=False)

    def _wait(self) -> bool:
        """Until there is something to do; False at the end."""
        with self._turn:
            while not self._is_closed and self._has_read and self._asked == self._answered:
                pause = seconds_until(min(self._due, self._soon, self._next_close), self._clock())
                if not pause:
                    break
                self._turn.wait(pause)
            return not self._is_closed

    def take_turn(self) -> None:
        """Read the memory, and take a sample if it is time for one."""
        now = self._clock()
        with self._turn:
            asked, settings, is_change = self._asked, self._settings, self._has_changed
            self._has_changed, self._last, self._next_close = False, now, math.inf
            if is_change:
                self._soon = now + AFTERWARDS
            elif now >= self._soon:
                self._soon = math.inf
        parts = self._parts = self._parts or _Parts.of(self._platform, self._roots, self._clock)
        is_due = now >= self._due
        self._read_memory(parts, now, is_forced=asked > self._answered)
        self._took = self._clock() - now
        if is_due:
            self._due = now + settings.pause
            if not settings.is_disabled:
                self._take_sample(parts, settings.folders)
        self._end_turn(asked, is_good=True)

    def _end_turn(self, asked: int, *, is_good: bool) -> None:
        with self._turn:
            self._answered, self._has_read, self._is_good = asked, True, is_good
            self._turn.notify_all()

    def _read_memory(self, parts: _Parts, now: float, *, is_forced: bool) -> None:
        begun_ready = self._ready_now(self._runs())  # what another one takes may have come after GPUs were read
        gpus = self._gpus.read(now, is_forced=is_forced)
        runs = list(self._runs())
        trees = parts.processes.trees({run.run.run_id: run.pid for run in runs if run.pid is not None})
        before, self._ready = self._ready, begun_ready & self._ready_now(runs)
        findings = {
            run_id: Finding(
                self._gpus.held_by(pids) if gpus else {},
                # what it takes once it has loaded is read at once, whatever that costs
                parts.processes.ram(run_id, pids, is_forced=is_forced or run_id in self._ready - before),
                run_id in parts.processes.elsewhere,
                run_id in parts.processes.hidden,
            )
            for run_id, pids in trees.items()
            if pids
        }
        self._memory.update(runs, findings, gpus, now, self._gpus.stale, self._ready)
        self._of_machine = parts.system.memory()
        for listener in self._listeners:
            listener()

    @staticmethod
    def _ready_now(runs: Iterable[RunDetail]) -> frozenset[int]:
        return frozenset(run.run.run_id for run in runs if run.run.ready_at is not None)

    def _take_sample(self, parts: _Parts, folders: Iterable[str]) -> None:
        system = parts.system.read(folders)
        at, text = self._now_text()
        gpus = tuple((number, _with_shared(gpu, system)) for number, gpu in self.gpus())
        self._history.add(MachineSample(at, text, system, gpus))

    def _now_text(self) -> tuple[int, str]:
        """Milliseconds since 1970, and the same as RFC 3339."""
        at = int(self._wall() * 1000)
        return at, moment_text(at)


def _with_shared(gpu: Gpu, system: System) -> Gpu:
    """With the memory of the machine, where the GPU has none of its own and does not tell what it may take."""
    memory = system.memory
    if not gpu.is_shared or gpu.total_bytes is not None or memory is None:
        return gpu
    used = memory.used if gpu.used_bytes is None else gpu.used_bytes
    return gpu._replace(total_bytes=memory.total, used_bytes=used)


class _Parts(NamedTuple):
    """What the thread opens when it begins."""

    system: SystemSource
    processes: ProcessSource
    machine: Machine = Machine()

    @classmethod
    def of(cls, platform: str, roots: Roots, clock: Callable[[], float]) -> _Parts:
        """What a platform lacks is not even imported."""
        if platform == "darwin":
            from llamaswap_lib.hardware import mac  # noqa: PLC0415 - see above

            return cls(mac.MacSystem(), mac.MacProcesses(), mac.machine())
        from llamaswap_lib.hardware.linux import LinuxSystem, linux_machine  # noqa: PLC0415
        from llamaswap_lib.hardware.processes import Processes  # noqa: PLC0415

        system = LinuxSystem(roots.proc, f"{roots.sys}/fs/cgroup")
        return cls(system, Processes(roots.proc, clock), linux_machine(roots.proc, roots.sys, roots.etc))
