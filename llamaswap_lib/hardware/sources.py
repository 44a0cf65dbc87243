"""Which GPUs can be asked, and how: each source that this machine has, opened once, again when the hardware changes.

Thread `hardware`. A machine without GPUs pays for one look at two folders a minute. A source that fails is closed and
opened again later; a GPU that was there and is not any more is one warning, and one line when it is back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.readings import Gpu, GpuSource, Held, SourceLost
from llamaswap_lib.runtime.vital import report

LOOK_AGAIN = 60.0  # seconds between two looks whether hardware has come, or a source that failed works again


def _say_nothing(_line: str) -> None: ...


class Reports(NamedTuple):
    """Who is given lines for the log, by level."""

    info: Callable[[str], None] = _say_nothing
    warn: Callable[[str], None] = _say_nothing
    error: Callable[[str], None] = _say_nothing


SILENT = Reports()
Open = Callable[[], "GpuSource | None"]


def openers(platform: str, *, sys_folder: str = "/sys", proc: str = "/proc") -> Sequence[Open]:
    """One for each kind of GPU that the platform may have; what it cannot have is not even imported."""
    if platform == "darwin":
        return (_open_apple,)
    return (lambda: _open_nvidia(sys_folder, proc), lambda: _open_drm(sys_folder, proc))


def _open_apple() -> GpuSource | None:
    from llamaswap_lib.hardware.mac import AppleGpu  # noqa: PLC0415 - as above

    return AppleGpu()


def _open_nvidia(sys_folder: str, proc: str) -> GpuSource | None:
    from llamaswap_lib.hardware.nvml import open_nvml  # noqa: PLC0415

    if (nvml := open_nvml(proc, sys_folder)) is not None:
        return nvml
    if not files.names(f"{proc}/driver/nvidia"):
        return None
    from llamaswap_lib.hardware.smi import open_smi  # noqa: PLC0415

    return open_smi(proc)


def _open_drm(sys_folder: str, proc: str) -> GpuSource | None:
    if not any("-" not in name and name.startswith("card") for name in files.names(f"{sys_folder}/class/drm")):
        return None
    from llamaswap_lib.hardware.drm import open_drm  # noqa: PLC0415

    return open_drm(sys_folder, proc)


class _Slot:
    """One kind of source, and what came of opening it."""

    def __init__(self, open_source: Open) -> None:
        self.open = open_source
        self.source: GpuSource | None = None
        self.problem = ""
        self.gpus: list[Gpu] = []
        self.due = -math.inf  # when it may be read again

    def close(self) -> None:
        source, self.source, self.gpus, self.due = self.source, None, [], -math.inf
        if source is not None:
            source.close()

    def add_held(self, found: dict[str, Held], pids: Collection[int]) -> None:
        if self.source is not None:
            found.update(self.source.held_by(pids))


class Gpus:
    """All that there are."""

    def __init__(
        self,
        open_sources: Sequence[Open],
        reports: Reports,
        *,
        sys_folder: str = "/sys",
        proc: str = "/proc",
    ) -> None:
        """`reports` are told of GPUs that go and come back, and of mistakes of ours."""
        self._slots = [_Slot(open_source) for open_source in open_sources]
        self._reports = reports
        self._folders = (f"{sys_folder}/class/drm", f"{proc}/driver/nvidia/gpus")
        self._signature: object = None  # of what hardware there is
        self._look_at = -math.inf
        self._numbers: dict[str, int] = {}  # by key, in the order in which they were first seen
        self._missing: set[str] = set()
        self.now: tuple[Gpu, ...] = ()
        self.stale: frozenset[str] = frozenset()  # keys of those whose source was not asked at the last reading

    def read(self, now: float, *, is_forced: bool = False) -> tuple[Gpu, ...]:
        """All GPUs; a source that takes long is asked less often, unless it `is_forced`."""
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN
            self._open()
        stale: list[str] = []
        for slot in self._slots:
            if slot.source is not None and (is_forced or now >= slot.due):
                slot.due = now + slot.source.pause
                self._try(slot, self._read)
            else:
                stale += [gpu.key for gpu in slot.gpus]
        self.stale = frozenset(stale)
        self._note_changes([gpu for slot in self._slots for gpu in slot.gpus])
        return self.now

    def _open(self) -> None:
        if any(map(files.is_out_of_reach, self._folders)):
            return  # what is there is not known now
        signature = [files.names(folder) for folder in self._folders]
        has_changed, self._signature = signature != self._signature, signature
        for slot in self._slots:
            if has_changed:
                slot.close()
            if slot.source is None and (has_changed or slot.problem):
                self._try(slot, self._open_one)

    def _open_one(self, slot: _Slot) -> None:
        slot.source = slot.open()
        if slot.source is None:
            slot.problem = ""

    def _read(self, slot: _Slot) -> None:
        if slot.source is not None:
            slot.gpus, slot.problem = slot.source.read(), ""

    def _try(self, slot: _Slot, do: Callable[[_Slot], None]) -> None:
        """Do it with the source. One that fails is tried again later; one with a mistake of ours in it is not."""
        try:
            do(slot)
        except SourceLost as error:
            slot.close()
            self._note_problem(slot, str(error))
        except Exception:  # noqa: BLE001 - the others are still to be read
            slot.close()
            slot.problem = ""
            report("hardware", self._reports.error)

    def _note_problem(self, slot: _Slot, problem: str) -> None:
        if problem != slot.problem:
            self._reports.warn(f"GPUs cannot be read: {problem}")
        slot.problem = problem

    def _note_changes(self, gpus: Sequence[Gpu]) -> None:
        keys = {gpu.key for gpu in gpus}
        for gpu in self.now:
            if gpu.key not in keys:
                self._missing.add(gpu.key)
                self._reports.warn(f"GPU {self.number(gpu)} ({gpu.name}) cannot be read any more")
        for gpu in gpus:
            if gpu.key in self._missing:
                self._missing.discard(gpu.key)
                self._reports.info(f"GPU {self.number(gpu)} ({gpu.name}) can be read again")
            self._numbers.setdefault(gpu.key, len(self._numbers))
        self.now = tuple(gpus)

    def number(self, gpu: Gpu) -> int:
        return self._numbers.get(gpu.key, 0)

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        """What these processes hold of each, by its key."""
        found: dict[str, Held] = {}
        for slot in self._slots:
            if slot.source is not None:
                self._try(slot, lambda slot: slot.add_held(found, pids))
        return found

    @property
    def sources(self) -> list[str]:
        """How they are asked; any thread."""
        return [source.name for slot in self._slots if (source := slot.source) is not None]

    @property
    def problems(self) -> list[str]:
        """What keeps some from being asked; any thread."""
        return [problem for slot in self._slots if (problem := slot.problem)]

    def close(self) -> None:
        for slot in self._slots:
            slot.close()
