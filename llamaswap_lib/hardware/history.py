"""Samples of the last hour, and how they are told: the objects of `/api/performance`.

Written on the thread `hardware`, read by any. Bounded in time and in number. A sample is kept small and becomes an
object for JSON when it is asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.hardware.readings import Gpu, System

HOUR = 3_600_000  # milliseconds
MOST_SAMPLES = 1000
NANOSECONDS = 1_000_000  # in a millisecond


class MachineSample(NamedTuple):
    """`at` is in milliseconds since 1970, `gpus` are with their numbers."""

    at: int
    text: str
    system: System
    gpus: tuple[tuple[int, Gpu], ...]


class LatestSample(NamedTuple):
    """The newest objects; `system` is None before there is any."""

    system: dict[str, Any] | None
    gpus: list[dict[str, Any]]


class History:
    """Empty at first."""

    def __init__(self) -> None:
        self._samples: deque[MachineSample] = deque(maxlen=MOST_SAMPLES)
        self._lock = threading.Lock()

    def add(self, sample: MachineSample) -> None:
        with self._lock:
            self._samples.append(sample)
            while sample.at - self._samples[0].at > HOUR:
                self._samples.popleft()

    def clear(self) -> None:
        with self._lock:
            self._samples.clear()

    def since(self, after: int | None) -> Sequence[MachineSample]:
        """Those after a moment in nanoseconds since 1970, oldest first; all without one."""
        with self._lock:
            samples = list(self._samples)
        return samples if after is None else [sample for sample in samples if sample.at * NANOSECONDS > after]

    def latest(self) -> LatestSample:
        with self._lock:
            newest = self._samples[-1] if self._samples else None
        return LatestSample(None, []) if newest is None else LatestSample(system_row(newest), list(gpu_rows([newest])))


def system_row(sample: MachineSample) -> dict[str, Any]:
    """One of `sys_stats`. MB are those of 1,048,576 bytes."""
    system = sample.system
    memory, load = system.memory, system.load or (None, None, None)
    counters = system.network.counters
    return {
        "timestamp": sample.text,
        "cpu_util_per_core": [round(percent, 1) for percent in system.cores],
        "mem_total_mb": megabytes(memory and memory.total),
        "mem_used_mb": megabytes(memory and memory.used),
        "mem_free_mb": megabytes(memory and memory.free),
        "swap_total_mb": megabytes(memory and memory.swap_total),
        "swap_used_mb": megabytes(memory and max(0, memory.swap_total - memory.swap_free)),
        "load_avg_1": load[0],
        "load_avg_5": load[1],
        "load_avg_15": load[2],
        "net_io": [
            {"name": name, "bytes_recv": counters[2 * place], "bytes_sent": counters[2 * place + 1]}
            for place, name in enumerate(system.network.names)
        ],
        "disks": [
            {"path": disk.path, "total_mb": megabytes(disk.total), "free_mb": megabytes(disk.free)}
            for disk in system.disks
        ],
    }


def gpu_rows(samples: Iterable[MachineSample]) -> Iterable[dict[str, Any]]:
    """Those of `gpu_stats`; what is not known is None."""
    for sample in samples:
        for number, gpu in sample.gpus:
            yield {
                "timestamp": sample.text,
                "id": number,
                "name": gpu.name,
                "uuid": gpu.uuid,
                "temp_c": gpu.temperature,
                "vram_temp_c": gpu.memory_temperature,
                "gpu_util_pct": gpu.utilization,
                "mem_util_pct": gpu.memory_utilization,
                "mem_used_mb": megabytes(gpu.used_bytes),
                "mem_total_mb": megabytes(gpu.total_bytes),
                "fan_speed_pct": gpu.fan,
                "power_draw_w": gpu.power,
            }


def megabytes(size: int | None) -> int | None:
    return None if size is None else size >> 20
