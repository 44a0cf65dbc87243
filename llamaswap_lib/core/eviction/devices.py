"""Memory as the policy sees it: devices, what models need there, and what they hold now.

Pure, immutable data: one picture of a moment, for any thread. Sizes are bytes; 1 GB is 1024^3, as drivers count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

GB = 1024**3
MB = 1024**2


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


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known at one moment. A model without an entry in `needs` is one of unknown need.

    `devices` by name: `ram`, or the uuid of a GPU. `held`: model that runs -> what it is measured to hold now, by
    device; nothing where that is not known. `gaps`: model -> seconds between two requests for it, lately. `grown`:
    model -> how much more of a device it holds than when that had its reserve last, or than it was let in with.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    needs: Mapping[str, Need] = field(default_factory=dict)
    held: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gaps: Mapping[str, float] = field(default_factory=dict)
    grown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def need(self, model: str) -> Need:
        return self.needs.get(model, UNKNOWN_NEED)


UNKNOWN_NEED = Need()


def in_words(size: int) -> str:
    """`6.2 GB`, and `320 MB` below one GB."""
    return f"{size / GB:.1f} GB" if abs(size) >= GB else f"{size / MB:.0f} MB"
