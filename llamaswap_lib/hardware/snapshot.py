"""What this machine is: the object of `/api/hardware`.

The machine itself is looked at once, on the thread `hardware`; any thread makes the object. What cannot be found out is
None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.hardware.readings import Gpu

SCHEMA_VERSION = 1


class Machine(NamedTuple):
    """What does not change while it is up. Memory in bytes; `limit` is that of the container."""

    architecture: str = ""
    system: Mapping[str, str | None] | None = None  # name, version, kernel
    container: str | None = None
    vm: str | None = None
    is_wsl: bool = False
    cpu: str | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    memory: int | None = None
    limit: int | None = None


def snapshot(
    machine: Machine, gpus: Iterable[tuple[int, Gpu]], captured_at: str, sources: Sequence[str], problems: Sequence[str]
) -> dict[str, Any]:
    """`gpus` with their numbers; `sources` say how they were asked, `problems` what kept one from being asked."""
    return {
        "schema_version": SCHEMA_VERSION,
        "captured_at": captured_at,
        "capture": {"sources": list(sources), "problems": list(problems)},
        "architecture": machine.architecture or None,
        "operating_system": dict(machine.system or {}),
        "environment": {"container": machine.container, "vm": machine.vm, "wsl": machine.is_wsl},
        "cpu": {
            "model": machine.cpu,
            "physical_cores": machine.physical_cores,
            "logical_cores": machine.logical_cores,
        },
        "memory": {"capacity_bytes": machine.memory, "limit_bytes": machine.limit},
        "accelerators": [_accelerator(number, gpu, machine) for number, gpu in gpus],
    }


def _accelerator(number: int, gpu: Gpu, machine: Machine) -> dict[str, Any]:
    capacity = machine.memory if gpu.is_shared and gpu.total_bytes is None else gpu.total_bytes
    return {
        "index": number,
        "kind": "gpu",
        "vendor": gpu.vendor,
        "model": gpu.name,
        "architecture": gpu.architecture or None,
        "memory": {"kind": "shared" if gpu.is_shared else "dedicated", "capacity_bytes": capacity},
        "driver": {"name": gpu.driver or None, "version": gpu.driver_version or None},
        "power_limit_watts": gpu.power_limit,
        "uuid": gpu.uuid or None,
        "pci": gpu.pci or None,
    }
