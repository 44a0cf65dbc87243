"""The devices: how much there is of each, and which of them a model may use. Pure, any thread.

A device is the machine's memory, `ram`, or a GPU that has memory of its own, by its key. A GPU that has none takes of
`ram`; one of AMD that has a pool of the machine's memory for itself is a device, and takes of `ram` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llamaswap_lib.config.device_keys import ANYWHERE, Gpus
from llamaswap_lib.config.routing_keys import DeviceKeys
from llamaswap_lib.core.eviction.devices import Device
from llamaswap_lib.hardware.readings import Gpu, Memory
from llamaswap_lib.typed_yaml.secrets import visible

RAM = "ram"
ANY_GPU = "gpu"
RESERVE = 0.05  # of a device, for what nobody foresees: contexts of drivers, buffers that grow, the page cache
CUDA = "CUDA_VISIBLE_DEVICES"
NUMBERED = (CUDA, "HIP_VISIBLE_DEVICES")
OUTER = "ROCR_VISIBLE_DEVICES"  # HIP's numbers count what it leaves
VARIABLES = (OUTER, *NUMBERED, "CUDA_DEVICE_ORDER")
MOST_TOLD = 8
NOT_THERE: DeviceKeys = DeviceKeys()


class Measured(NamedTuple):
    """A device, and how much is in use of it by anybody. `aside`: bytes beyond the capacity that models may have.

    `is_read`: it is known how much is in use.
    """

    device: Device
    used: int
    aside: int = 0
    gpu: Gpu | None = None
    number: int = 0
    is_read: bool = True

    @property
    def free(self) -> int:
        """What nobody uses, as far as models may have it."""
        return max(0, min(self.device.capacity, self.device.capacity + self.aside - self.used))


def takes_of_ram(gpu: Gpu) -> bool:
    """Whether what a model takes of it is the machine's memory."""
    return gpu.is_shared


def measured(
    gpus: Iterable[tuple[int, Gpu]], memory: Memory | None, settings: Mapping[str, DeviceKeys]
) -> dict[str, Measured]:
    """All devices by name. `gpus` are with their numbers; `settings` by `ram`, number or UUID."""
    found: dict[str, Measured] = {}
    if memory is not None:
        device = _device("RAM", memory.total, settings.get(RAM, NOT_THERE))
        found[RAM] = Measured(device, memory.used, memory.total - device.capacity)
    for number, gpu in gpus:
        has_own = not gpu.is_shared or gpu.vendor == "amd"
        said = next((settings[name] for name in _names_of_gpu(number, gpu) if name in settings), NOT_THERE)
        capacity = said.capacity if gpu.total_bytes is None else gpu.total_bytes
        if has_own and capacity is not None:
            device = _device(f"GPU {number}", capacity, said)
            is_read, aside = gpu.used_bytes is not None, capacity - device.capacity
            found[gpu.key] = Measured(device, gpu.used_bytes or 0, aside, gpu, number, is_read)
    return found


def names_of(key: str, one: Measured) -> tuple[str, ...]:
    """By which its settings name a device."""
    return (key,) if one.gpu is None else _names_of_gpu(one.number, one.gpu)


def _names_of_gpu(number: int, gpu: Gpu) -> tuple[str, ...]:
    return (str(number), gpu.key, gpu.uuid, gpu.pci)


def _device(label: str, capacity: int, said: DeviceKeys) -> Device:
    if said.capacity is not None:
        capacity = min(said.capacity, capacity)
    reserve = RESERVE if said.reserve is None else said.reserve
    return Device(
        capacity,
        int(reserve * capacity) if isinstance(reserve, float) else int(reserve),
        0,
        label,
        said.yield_to == "others",
    )


def usable_by(env: Mapping[str, str], devices: Mapping[str, Measured]) -> tuple[str, ...]:
    """The GPUs that a server with these variables sees; all, where it is not sure which those are."""
    gpus = {name: one for name, one in devices.items() if one.gpu is not None}
    is_ordered = env.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if OUTER in env and CUDA not in env:
        left = _named_in(env[OUTER], gpus, is_ordered=is_ordered)
        is_ordered = is_ordered or len(left) < len(gpus)
        gpus = {name: gpus[name]._replace(number=number) for number, name in enumerate(left)}
    said = next((env[name] for name in NUMBERED if name in env), None)
    return tuple(gpus) if said is None else _named_in(said, gpus, is_ordered=is_ordered)


def _named_in(said: str, gpus: Mapping[str, Measured], *, is_ordered: bool) -> tuple[str, ...]:
    """Those that such a variable names; all where it has numbers, and GPUs are not sure to be numbered like that."""
    is_ordered = is_ordered or len({one.gpu.name for one in gpus.values() if one.gpu is not None}) <= 1
    found = []
    for word in filter(None, map(str.strip, said.split(","))):
        if word.isdigit() and not is_ordered:
            return tuple(gpus)
        name = named_gpu(word, gpus)
        if name is None:
            break  # a driver looks no further either
        found.append(name)
    return tuple(found)


def named_gpu(word: str, gpus: Mapping[str, Measured]) -> str | None:
    """The device that a number, a PCI address, or a UUID or its beginning, means."""
    there = {name: one.gpu for name, one in gpus.items() if one.gpu is not None}
    if word in there:
        return word
    said = word.lower()
    for name, gpu in there.items():
        is_uuid = len(word) > 3 and gpu.uuid.lower().startswith(said)
        if is_uuid or said == gpu.pci.lower() or word == str(gpus[name].number):
            return name
    return None


def candidates(gpus: Gpus, usable: Sequence[str], devices: Mapping[str, Measured]) -> tuple[tuple[str, ...], str]:
    """Names of those from which is chosen, and why nothing can be, of a model that says `gpus`."""
    there = [name for name, one in devices.items() if one.gpu is not None]
    if gpus.named:
        found = {word: named_gpu(word, devices) for word in gpus.named}
        missing = [visible(word) for word, name in found.items() if name is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            return (), f"gpus names {' and '.join(missing)}, which {verb} not there; {_told(there, devices)}"
        names = {name for name in found.values() if name is not None}
        if len(names) < len(found):
            return (), "gpus names a GPU twice"
        return tuple(name for name in there if name in names), ""
    among = _of_one_vendor([name for name in there if name in usable], devices)
    if gpus.count > len(among):
        asked = f"{gpus.count} GPU{'s' if gpus.count > 1 else ''}"
        return (), f"gpus asks for {asked}, and there {'is' if len(among) == 1 else 'are'} {len(among)} to choose from"
    return among, ""


def _told(names: Sequence[str], devices: Mapping[str, Measured]) -> str:
    if not names:
        return "there is no GPU whose memory can be read"
    told = [f"{devices[name].number} ({name})" for name in names[:MOST_TOLD]]
    return f"there {'is' if len(told) == 1 else 'are'} {', '.join(told)}"


def _of_one_vendor(names: Iterable[str], devices: Mapping[str, Measured]) -> tuple[str, ...]:
    by_vendor: dict[tuple[bool, str], list[str]] = {}
    for name in names:
        gpu = devices[name].gpu
        if gpu is not None:
            by_vendor.setdefault((not gpu.is_shared, gpu.vendor), []).append(name)

    def worth(kind: tuple[bool, str]) -> tuple[bool, int]:
        return kind[0], sum(devices[name].device.capacity for name in by_vendor[kind])

    return tuple(by_vendor[max(by_vendor, key=worth)]) if by_vendor else ()


class Declared(NamedTuple):
    """What a model is said to need, by device; and the names that lead to no device."""

    sizes: Mapping[str, int]
    unknown: tuple[str, ...] = ()


def declared(said: Mapping[str, int], usable: Sequence[str], devices: Mapping[str, Measured]) -> Declared:
    """`said` as in the file; `usable` are the GPUs that it sees."""
    sizes: dict[str, int] = {}
    unknown = []
    gpus = {name: one for name, one in devices.items() if one.gpu is not None}
    for name, size in said.items():
        if name == RAM or (name == ANYWHERE and not usable):
            sizes[RAM] = sizes.get(RAM, 0) + size
        elif name in (ANY_GPU, ANYWHERE):
            whole = sum(devices[gpu].device.capacity for gpu in usable)
            for gpu in usable:  # as llama.cpp does: by how large they are
                sizes[gpu] = sizes.get(gpu, 0) + size * devices[gpu].device.capacity // whole
        elif (named := named_gpu(name, gpus)) is not None:
            sizes[named] = sizes.get(named, 0) + size
        else:
            unknown.append(name)
    return Declared(sizes, tuple(unknown))
