"""Memory as the policy sees it: devices, what models need there, and what they hold now.

Pure, immutable data: one picture of a moment, for any thread. Sizes are bytes; 1 GB is 1024^3, as drivers count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import NamedTuple

GB = 1024**3
MB = 1024**2
CHOSEN = "chosen"  # among floors: of the GPUs that are chosen for a model, whichever those are
MOST_CHOICES = 256  # of so many GPUs of a machine; of more choices those are judged whose GPUs stand side by side


class NeedSource(Enum):
    """Where the figures of a need come from; the values are what APIs show."""

    DECLARED = "declared"
    MEASURED = "measured"
    ESTIMATED = "estimated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or the memory of the machine. `others`: used now by what is no model of ours."""

    capacity: int
    reserve: int = 0
    others: int = 0
    label: str = ""
    """For people: `GPU 0`, `RAM`."""
    yields: bool = False
    """Idle models make room on it for other programs."""

    @property
    def noise(self) -> int:
        """A change of what is in use that means nothing."""
        return min(64 * MB, self.capacity // 100)

    @property
    def is_for_others(self) -> bool:
        """Whether other programs use it now, and come first."""
        return self.yields and self.others > self.noise

    @property
    def spare(self) -> int:
        """What of the reserve a model may take that has shown that it runs there."""
        return 0 if self.is_for_others else self.reserve

    @property
    def usable(self) -> int:
        """What models may have at best."""
        return max(0, self.capacity - self.reserve)


@dataclass(frozen=True, slots=True)
class Need:
    """Of one model: bytes by name of the device.

    Where it is UNKNOWN the devices are those that the model may use, and the bytes mean nothing; none: it may use all.
    """

    devices: Mapping[str, int] = field(default_factory=dict)
    source: NeedSource = NeedSource.UNKNOWN


@lru_cache(maxsize=256)
def choices_of(among: tuple[str, ...], count: int) -> tuple[tuple[str, ...], ...]:
    """Sets of `count` GPUs, or of any number for 0: the fewest first."""
    found: list[tuple[str, ...]] = []
    for number in range(1, len(among) + 1) if count == 0 else (count,):
        if comb(len(among), number) <= MOST_CHOICES:
            found += combinations(among, number)
        else:
            windows = [(among + among)[i : i + number] for i in range(len(among))]
            found += [tuple(name for name in among if name in window) for window in windows]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Movable:
    """A model whose GPUs are chosen for it: `count` of those in `among`, 0 for as few as will do.

    `size`: bytes of GPUs in all; several share it by how large they are. `known`: GPUs -> what it was measured to take
    of each of just these. `beside`: bytes of other devices. `fault`: why there is nothing to choose, for people.
    """

    among: tuple[str, ...]
    count: int = 0
    size: int = 0
    source: NeedSource = NeedSource.UNKNOWN
    known: Mapping[tuple[str, ...], Mapping[str, int]] = field(default_factory=dict)
    beside: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""

    def choices(self) -> tuple[tuple[str, ...], ...]:
        """What of an unknown size may be given any number of GPUs is given one."""
        is_unknown = self.source is NeedSource.UNKNOWN
        return choices_of(self.among, 1 if is_unknown and not self.count else self.count)

    def sizes_on(self, gpus: tuple[str, ...], devices: Mapping[str, Device]) -> Mapping[str, int]:
        """Bytes by GPU, if it is put on these."""
        if (known := self.known.get(gpus)) is not None:
            return known
        capacities = [devices[name].capacity if name in devices else 0 for name in gpus]
        whole = sum(capacities) or 1
        return {name: self.size * capacity // whole for name, capacity in zip(gpus, capacities, strict=True)}

    def need_on(self, gpus: Collection[str], devices: Mapping[str, Device]) -> Need:
        """What it needs, if it is put on these. One of unknown need may use these alone."""
        if self.source is NeedSource.UNKNOWN:
            return Need(self.sizes_on(tuple(gpus), devices))
        return Need({**self.beside, **self.sizes_on(tuple(gpus), devices)}, self.source)


class Reading(NamedTuple):
    """What is free of each device, whatever uses the rest; not of those that nothing reads. `at`: when it began."""

    at: float
    free: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known at one moment. A model without an entry in `needs` is one of unknown need.

    `devices` by name: `ram`, or the uuid of a GPU. `held`: model that runs -> what it is measured to hold now, by
    device; nothing where that is not known. `gaps`: model -> seconds between two requests for it, lately. `grown`:
    model -> how much more of a device it holds than when that had its reserve last, or than it was let in with.
    `movable`: models whose GPUs are chosen; what these need stands in `needs` as it is where they run, or would run
    first. `readings` are the last two, the newest last. `floors`: what models that have run out of memory are taken to
    need by device, and of all GPUs that are chosen for one as `CHOSEN`. `is_read`: False while the first reading is on
    its way, until which nobody starts and nobody goes.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    needs: Mapping[str, Need] = field(default_factory=dict)
    held: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gaps: Mapping[str, float] = field(default_factory=dict)
    grown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    movable: Mapping[str, Movable] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    floors: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    is_read: bool = True

    def placed(self, places: Mapping[str, tuple[str, ...]]) -> Memory:
        """The same with these movable models on these GPUs."""
        found = {model: self.movable[model].need_on(gpus, self.devices) for model, gpus in places.items()}
        return replace(self, needs={**self.needs, **found}) if found else self

    def where(self, names: Collection[str]) -> str:
        """`GPU 0 and GPU 1`."""
        return " and ".join((self.devices[name].label or name) if name in self.devices else name for name in names)

    def need(self, model: str) -> Need:
        return self.needs.get(model, UNKNOWN_NEED)


UNKNOWN_NEED = Need()


def held(memory: Memory, model: str, device: str, *, is_ready: bool) -> int:
    """What it holds of a device; what it needs, if nobody tells, and at least that while it loads."""
    need = memory.need(model)
    needed = 0 if need.source is NeedSource.UNKNOWN else need.devices.get(device, 0)
    known = memory.held.get(model, {}).get(device)
    return needed if known is None else known if is_ready else max(needed, known)


def in_words(size: int) -> str:
    """`6.2 GB`, and `320 MB` below one GB."""
    return f"{size / GB:.1f} GB" if abs(size) >= GB else f"{size / MB:.0f} MB"
