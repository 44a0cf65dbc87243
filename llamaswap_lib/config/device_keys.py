"""Which GPUs a model gets, and how much of each device, as the file says it.

Frozen, so any thread may read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.typed_yaml import scalars
from llamaswap_lib.typed_yaml.kinds import MACRO, MapOf
from llamaswap_lib.typed_yaml.nodes import Node, ScalarNode, SequenceNode, is_null
from llamaswap_lib.typed_yaml.problems import KeyPath
from llamaswap_lib.typed_yaml.reader import Kind, Reader, Schema
from llamaswap_lib.typed_yaml.secrets import changed, hidden, text_of, visible
from llamaswap_lib.typed_yaml.sizes import LEAST, MOST, Size, size_of

AUTO = "auto"
_is_name = re.compile(r"[0-9]{1,3}|[0-9A-Za-z]+[-:][0-9A-Za-z:.-]+").fullmatch  # a number, a UUID, a PCI address
MOST_GPUS = 64
# Variables by which a server is told the GPUs that it may use.
DEVICE_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    *("ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK", "GGML_VK_VISIBLE_DEVICES"),
)


@dataclass(frozen=True, slots=True)
class Gpus:
    """`count` of those that there are, 0 for as few as will do; or just those that are `named`."""

    count: int = 0
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(visible, self.named)) or (str(visible(self.count)) if self.count else AUTO)


class GpuChoice(Kind):
    """`auto`, a number, or a list of numbers and UUIDs of GPUs."""

    expected = "auto, how many GPUs, or a list of their numbers and UUIDs, each once, such as [0, 1]"
    summary = "auto, number, or list of GPUs"

    def schema(self) -> Schema:
        named = {"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}}
        return {"anyOf": [{"const": AUTO}, {"type": "integer", "minimum": 1, "maximum": MOST_GPUS}, named, MACRO]}

    def _value(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        if isinstance(node, SequenceNode):
            items = [item for item in node.items if isinstance(item, ScalarNode) and not is_null(item)]
            texts = [text_of(item.text, item.shown) for item in items]
            named = tuple(name for name in (changed(text, str.strip) for text in texts) if _is_name(name))
            is_good = named and len({*map(str.lower, named)}) == len(node.items)
            return Gpus(len(named), named) if is_good else reader.bad(self, node, path)
        if isinstance(node, ScalarNode):
            if node.text.strip().lower() == AUTO:
                return Gpus()
            number = scalars.number_of(node.text) if node.plain else None
            if isinstance(number, int) and 1 <= number <= MOST_GPUS:
                return Gpus(number if node.shown is None else hidden(number, node.shown))
        return reader.bad(self, node, path)

    def read(self, node: Node, path: KeyPath, reader: Reader) -> Any:
        return self._value(node, path, reader)

    def show(self, value: Any, *, mask: bool) -> Any:
        if value.named:
            told = [visible(name) if mask else str(name) for name in value.named]
            return [int(name) if name.isdigit() else name for name in told]
        return (visible(value.count) if mask else int(value.count)) or AUTO


def names_devices(entry: str) -> str:
    """The variable of this entry of `env` that says which GPUs a server sees, unless it says what was chosen."""
    name, equals, value = entry.partition("=")
    return name if equals and name in DEVICE_VARIABLES and "${GPUS}" not in value else ""


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
