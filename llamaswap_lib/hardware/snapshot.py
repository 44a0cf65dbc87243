"""What this machine is: the object of `/api/hardware`.

The machine itself is looked at once, on the thread `hardware`; any thread makes the object. What cannot be found out is
None.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.linux import limits, meminfo
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.printable import printable

SCHEMA_VERSION = 1
# What the firmware of a virtual machine says of itself, in sys_vendor or product_name.
_HYPERVISORS = {
    "qemu": "qemu", "kvm": "kvm", "vmware": "vmware", "virtualbox": "virtualbox", "innotek": "virtualbox",
    "xen": "xen", "bochs": "bochs", "parallels": "parallels", "amazon ec2": "ec2", "google compute engine": "gce",
    "openstack": "openstack", "virtual machine": "hyper-v", "firecracker": "firecracker", "bhyve": "bhyve",
}  # fmt: skip
_CONTAINERS = ("docker", "podman", "libpod", "kubepods", "containerd", "lxc", "garden")


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


# -- Linux --


def linux_machine(proc: str = "/proc", sys_folder: str = "/sys", etc: str = "/etc") -> Machine:
    kernel = files.text(f"{proc}/sys/kernel/osrelease")
    release = os_release(files.text(f"{etc}/os-release"))
    cpuinfo = files.text(f"{proc}/cpuinfo")
    known = [limit for limit, _ in limits(files.text(f"{proc}/self/cgroup"), f"{sys_folder}/fs/cgroup")]
    total = meminfo(files.text(f"{proc}/meminfo")).get("MemTotal")
    model, physical = processor(cpuinfo)
    return Machine(
        architecture=os.uname().machine,
        system={
            "name": release.get("NAME", sys.platform),
            "version": release.get("VERSION_ID"),
            "kernel": kernel or None,
        },
        container=container(proc, etc),
        vm=hypervisor(files.text(f"{sys_folder}/class/dmi/id/sys_vendor"), files.text(_product(sys_folder)), cpuinfo),
        is_wsl="microsoft" in kernel.lower(),
        cpu=model,
        physical_cores=physical,
        logical_cores=os.cpu_count(),
        memory=total,
        limit=min(known) if known and total and min(known) < total else None,
    )


def _product(sys_folder: str) -> str:
    return f"{sys_folder}/class/dmi/id/product_name"


def os_release(text: str) -> dict[str, str]:
    return {
        name: printable(value.strip().strip("\"'"))
        for name, equals, value in (line.partition("=") for line in text.splitlines())
        if equals
    }


def processor(cpuinfo: str) -> tuple[str | None, int | None]:
    """Its name, and how many cores it has; ARM tells neither in a way that people know."""
    model = re.search(r"^(?:model name|Model|cpu model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    cores = set()
    package = "0"
    for name, _, value in (line.partition(":") for line in cpuinfo.splitlines()):
        if name.strip() == "physical id":
            package = value.strip()
        elif name.strip() == "core id":
            cores.add((package, value.strip()))
    return printable(model[1].strip()) if model else None, len(cores) or None


def hypervisor(vendor: str, product: str, cpuinfo: str) -> str | None:
    """Which one we run on: its name, `unknown`, or None for a machine of iron."""
    said = f"{vendor} {product}".lower()
    named = next((name for mark, name in _HYPERVISORS.items() if mark in said), None)
    return named or ("unknown" if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) else None)


def container(proc: str, etc: str) -> str | None:
    """Of which kind we are in, or None."""
    root = os.path.dirname(etc.rstrip("/")) or "/"
    for mark, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if os.path.exists(os.path.join(root, mark)):
            return name
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    groups = files.text(f"{proc}/1/cgroup")
    return next((name for name in _CONTAINERS if name in groups), None)
