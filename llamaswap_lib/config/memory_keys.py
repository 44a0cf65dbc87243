"""What the file says of devices, and of the policy by memory. Frozen, so any thread may read it; it holds no logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamaswap_lib.typed_yaml.kinds import MapOf, Seconds, Section, key
from llamaswap_lib.typed_yaml.sizes import Size, SizeOrShare


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """How much of a device models may have."""

    capacity: int | None = key("capacity", Size(), "what there is of it; as measured unless set")
    reserve: float | None = key(
        "reserve", SizeOrShare(), "what is left free, a size or a share of the capacity; 5% unless set"
    )


@dataclass(frozen=True, slots=True)
class MemoryKeys:
    """Models stay as long as they fit."""

    devices: Mapping[str, DeviceKeys] = key(
        "devices", MapOf(Section(DeviceKeys), "device"), "`ram`, or a GPU by its number or UUID"
    )
    min_residency: float = key(
        "minResidency",
        Seconds(),
        "seconds that a model stays after it was loaded, unless somebody has waited for `maxWait`",
        10.0,
    )
