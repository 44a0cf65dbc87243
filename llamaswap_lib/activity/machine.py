"""The machine in `/metrics`: its newest sample, as `/api/performance` tells it, and what each model takes of memory.

Pure. The names are those of llama-swap, for which there are dashboards. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from llamaswap_lib.activity.exposition import Family, Labels, counter, gauge
from llamaswap_lib.core.eviction.devices import Memory as Picture
from llamaswap_lib.core.eviction.devices import NeedSource
from llamaswap_lib.hardware.readings import RunMemory

MEGABYTE = 1 << 20
_OF_SYSTEM = (
    ("llamaswap_memory_total_bytes", "Memory of the machine.", "mem_total_mb"),
    ("llamaswap_memory_used_bytes", "Memory of the machine that is in use.", "mem_used_mb"),
    ("llamaswap_memory_free_bytes", "Memory of the machine that is free.", "mem_free_mb"),
    ("llamaswap_swap_total_bytes", "Swap space.", "swap_total_mb"),
    ("llamaswap_swap_used_bytes", "Swap space that is in use.", "swap_used_mb"),
)
_LOADS = (("1m", "load_avg_1"), ("5m", "load_avg_5"), ("15m", "load_avg_15"))
_OF_GPU = (
    ("temperature_celsius", "Temperature of each GPU.", "temp_c", 1),
    ("vram_temperature_celsius", "Temperature of the memory of each GPU.", "vram_temp_c", 1),
    ("util_percent", "How busy each GPU is.", "gpu_util_pct", 1),
    ("memory_util_percent", "How busy the memory of each GPU is.", "mem_util_pct", 1),
    ("memory_used_bytes", "Memory of each GPU that is in use.", "mem_used_mb", MEGABYTE),
    ("memory_total_bytes", "Memory of each GPU.", "mem_total_mb", MEGABYTE),
    ("fan_speed_percent", "How fast the fan of each GPU turns.", "fan_speed_pct", 1),
    ("power_draw_watts", "What each GPU draws.", "power_draw_w", 1),
)


MachineSamples = tuple[Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]
"""The newest one of the system, None before there is any, and the newest one of each GPU."""


def machine_families(samples: MachineSamples) -> Iterator[Family]:
    """What the samples say."""
    system, gpus = samples
    if system is not None:
        yield from _system(system)
    for name, text, key, factor in _OF_GPU:
        values = [(_gpu_labels(gpu), gpu[key] * factor) for gpu in gpus if gpu.get(key) is not None]
        yield gauge(f"llamaswap_gpu_{name}", text, values)


def _system(system: Mapping[str, Any]) -> Iterator[Family]:
    cores = (((("core", str(core)),), percent) for core, percent in enumerate(system["cpu_util_per_core"]))
    yield gauge("llamaswap_cpu_util_percent", "How busy each core is.", cores)
    for name, text, key in _OF_SYSTEM:
        yield gauge(name, text, [((), system[key] * MEGABYTE)] if system.get(key) is not None else [])
    loads = [((("interval", interval),), system[key]) for interval, key in _LOADS if system.get(key) is not None]
    yield gauge("llamaswap_load_average", "Processes that run or want to, on average.", loads)
    moved: list[tuple[Labels, float]] = [
        ((("interface", link["name"]), ("direction", direction)), link[key])
        for link in system["net_io"]
        for direction, key in (("recv", "bytes_recv"), ("sent", "bytes_sent"))
    ]
    yield counter("llamaswap_network_bytes", "Bytes that each network interface has moved.", moved)


def _gpu_labels(gpu: Mapping[str, Any]) -> Labels:
    labels = (("id", str(gpu["id"])), ("name", str(gpu["name"])))
    return (*labels, ("uuid", str(gpu["uuid"]))) if gpu.get("uuid") else labels


def memory_families(memories: Iterable[RunMemory]) -> Iterator[Family]:
    """What each model takes, summed up over its runs."""
    sums: dict[Labels, float] = {}
    for memory in memories:
        for usage in memory.usages:
            if usage.bytes is not None:
                labels: Labels = (("model", memory.model), ("device", usage.device), ("kind", usage.kind))
                sums[labels] = sums.get(labels, 0) + usage.bytes
    yield gauge("llamaswap_model_memory_bytes", "Memory that each model takes of each device.", sums.items())


def device_families(picture: Picture) -> Iterator[Family]:
    """What there is of each device, and what each model needs of it."""
    for name, text, size_of in (
        ("llamaswap_memory_device_capacity_bytes", "What there is of each device.", attrgetter("capacity")),
        ("llamaswap_memory_device_reserve_bytes", "What is left free of each device.", attrgetter("reserve")),
        ("llamaswap_memory_device_others_bytes", "What others than models use of each device.", attrgetter("others")),
    ):
        yield gauge(name, text, [((("device", key),), int(size_of(device))) for key, device in picture.devices.items()])
    needs = [
        ((("model", model), ("device", device), ("source", need.source.value)), size)
        for model, need in picture.needs.items()
        if need.source is not NeedSource.UNKNOWN
        for device, size in need.devices.items()
    ]
    yield gauge("llamaswap_model_memory_need_bytes", "What each model needs of each device.", needs)
