"""What the file says of devices, and of the policy by memory. Frozen, so any thread may read it; it holds no logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.typed_yaml.kinds import Choice, MapOf, Seconds, Section, key
from llamaswap_lib.typed_yaml.nodes import Node, ScalarNode, is_null
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Reader, Schema
from llamaswap_lib.typed_yaml.secrets import hidden
from llamaswap_lib.typed_yaml.sizes import LEAST, MOST, Size, SizeOrShare, size_of

ANYWHERE = ""  # the name of a device under which a size without one stands


class Sizes(MapOf):
    """A size for each of several devices; one alone stands under `ANYWHERE`."""

    expected = "a size such as 18GB, or a mapping from devices to sizes, such as {gpu: 18GB, ram: 2GB}"

    def __init__(self) -> None:
        super().__init__(Size(or_none=True), "device")

    @property
    def summary(self) -> str:
        return "size, or device -> size"

    def schema(self) -> Schema:
        return {"anyOf": [self.item.schema(), super().schema()]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if not isinstance(node, ScalarNode) or is_null(node):
            return super()._value(node, path, reader)
        size = size_of(node.text)
        if size is None or not LEAST <= size <= MOST:
            return reader.bad(self, node, path)
        return {ANYWHERE: size if node.shown is None else hidden(size, node.shown)}

    def show(self, value: Any, *, mask: bool) -> Any:
        if list(value) == [ANYWHERE]:
            return self.item.show(value[ANYWHERE], mask=mask)
        return super().show(value, mask=mask)


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """How much of a device models may have."""

    capacity: int | None = key("capacity", Size(), "what there is of it; as measured unless set")
    reserve: float | None = key(
        "reserve", SizeOrShare(or_none=True), "what is left free, a size or a share of the capacity; 5% unless set"
    )
    yield_to: str = key(
        "yieldTo",
        Choice(("nobody", "others")),
        "`others`: when other programs leave less than the reserve, idle models go",
        "nobody",
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
    settle_timeout: float = key(
        "settleTimeout",
        Seconds(maximum=60),
        "seconds for which a start waits at most until memory of a model that has ended is free; 0 for no wait",
        5.0,
    )
