"""What is read of the machine, as values. Bytes, percent, degrees Celsius, watts; what is not known is None, never 0.

Pure. Made on the thread `hardware`, read by any.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

MOST_INTERFACES = 32  # a machine with containers may have hundreds


class Gpu(NamedTuple):
    """One GPU, or one part of a GPU that NVIDIA's MIG has divided."""

    key: str  # names it for as long as the machine is up: its uuid, or its PCI address
    vendor: str  # nvidia, amd, intel, apple
    name: str
    uuid: str = ""
    pci: str = ""  # 0000:03:00.0
    used_bytes: int | None = None
    total_bytes: int | None = None
    is_shared: bool = False  # its memory is that of the machine
    temperature: int | None = None
    memory_temperature: int | None = None
    utilization: float | None = None
    memory_utilization: float | None = None  # how busy the memory is, not how full
    fan: float | None = None
    power: float | None = None
    power_limit: float | None = None
    architecture: str = ""
    driver: str = ""
    driver_version: str = ""
    shows_processes: bool = True  # whether the memory of each of our processes can be seen


class Held(NamedTuple):
    """What some processes hold of one GPU, and who says so; None bytes: they are there, nobody says with how much."""

    bytes: int | None
    witness: str  # nvml, fdinfo, kfd


UNREADABLE = Held(None, "unreadable")  # they may hold something there, for what they have open may not be read


class SourceLost(Exception):
    """A driver answers no more; the text says how."""


class GpuSource(Protocol):
    """One way to ask for GPUs. Used by one thread."""

    name: str  # for the snapshot: nvml, nvidia-smi, drm, ioreg
    pause: float  # the fewest seconds between two readings

    def read(self) -> list[Gpu]:
        """All GPUs that it knows, now; raises SourceLost."""

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:
        """What these processes hold, by the key of each GPU, as of the last `read` or now."""

    def close(self) -> None: ...


class Memory(NamedTuple):
    """Of the machine, or of the container that we are in; `free` is what programs can still get."""

    total: int
    free: int
    swap_total: int
    swap_free: int

    @property
    def used(self) -> int:
        return max(0, self.total - self.free)


class NetworkCounters(NamedTuple):
    """Bytes of each network interface since it is there: received and sent in turn, in the order of the names."""

    names: tuple[str, ...] = ()
    counters: array[int] = array("Q")

    @classmethod
    def of(cls, found: list[tuple[str, int, int]]) -> NetworkCounters:
        """Of the name, received and sent of each interface; the busiest ones where there are very many."""
        if len(found) > MOST_INTERFACES:
            found = sorted(heapq.nlargest(MOST_INTERFACES, found, key=lambda row: row[1] + row[2]))
        counters = array("Q", [count for _, received, sent in found for count in (received, sent)])
        return cls(tuple(name for name, _, _ in found), counters)


class Disk(NamedTuple):
    """A file system on which models lie."""

    path: str
    total: int
    free: int


class System(NamedTuple):
    """The machine at one moment."""

    cores: array[float]  # how busy each was since the sample before; empty where that is not known
    memory: Memory | None
    load: tuple[float, float, float] | None
    network: NetworkCounters
    disks: tuple[Disk, ...]


class SystemSource(Protocol):
    """How the machine is asked. Used by one thread."""

    def read(self, folders: Iterable[str]) -> System:
        """Now; what cannot be read is None or empty. `folders` are those in which models lie."""

    def memory(self) -> Memory | None:
        """Its memory alone."""


class Ram(NamedTuple):
    """Memory of the machine that some processes take: their own, and what is mapped from files (such as a model)."""

    own: int
    mapped: int | None


class Usage(NamedTuple):
    """What one run takes of one device."""

    device: str  # the key of a GPU, or ram
    name: str
    kind: str  # gpu, ram
    bytes: int | None
    peak_bytes: int | None  # the most since it is ready; None before that
    mapped_bytes: int | None  # ram only: of files, which the system may drop and read again
    witness: str  # nvml, nvidia-smi, fdinfo, kfd, delta, ram

    def row(self) -> dict[str, object]:
        """For JSON."""
        row: dict[str, object] = {
            "device": self.device,
            "name": self.name,
            "kind": self.kind,
            "bytes": self.bytes,
            "peak_bytes": self.peak_bytes,
            "witness": self.witness,
        }
        return {**row, "mapped_bytes": self.mapped_bytes} if self.kind == "ram" else row


class RunMemory(NamedTuple):
    """What one run takes of each device; `unseen` are devices of which it may take something that nobody tells."""

    model: str
    usages: tuple[Usage, ...]
    unseen: tuple[str, ...] = ()
