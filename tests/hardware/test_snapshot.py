"""What this machine is: files of the shapes that Linux has, and the object that is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.hardware.linux import container, hypervisor, linux_machine, processor
from llamaswap_lib.hardware.readings import Gpu
from llamaswap_lib.hardware.snapshot import Machine, snapshot
from tests.hardware.folders import write

GIB = 1 << 30
CPUINFO = """processor\t: 0
model name\t: AMD Test 9
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu sse hypervisor

processor\t: 1
model name\t: AMD Test 9
physical id\t: 0
core id\t\t: 0

processor\t: 2
model name\t: AMD Test 9
physical id\t: 1
core id\t\t: 0
"""


def test_a_machine_is_described(tmp_path: Path) -> None:
    proc = write(
        tmp_path / "proc",
        {
            "cpuinfo": CPUINFO,
            "meminfo": f"MemTotal: {16 * GIB >> 10} kB\n",
            "self/cgroup": "0::/\n",
            "1/cgroup": "0::/kubepods/x\n",
            "sys/kernel/osrelease": "6.8.0-microsoft-standard-WSL2\n",
        },
    )
    sys_folder = write(
        tmp_path / "sys",
        {
            "fs/cgroup/cgroup.controllers": "",
            "fs/cgroup/memory.max": f"{4 * GIB}",
            "class/dmi/id/sys_vendor": "QEMU\n",
            "class/dmi/id/product_name": "Standard PC\n",
        },
    )
    etc = write(tmp_path / "etc", {"os-release": 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\n# no\n'})
    machine = linux_machine(proc, sys_folder, etc)
    assert machine.system == {
        "name": "Debian GNU/Linux",
        "version": "13",
        "kernel": "6.8.0-microsoft-standard-WSL2",
    }
    assert (machine.cpu, machine.physical_cores, machine.vm, machine.is_wsl) == ("AMD Test 9", 2, "qemu", True)
    assert (machine.memory, machine.limit) == (16 * GIB, 4 * GIB)
    assert machine.architecture


def test_a_machine_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    machine = linux_machine(str(tmp_path), str(tmp_path), str(tmp_path))
    assert (machine.cpu, machine.physical_cores, machine.memory, machine.limit, machine.vm) == (None,) * 5
    assert snapshot(machine, [], "now", [], [])["memory"] == {"capacity_bytes": None, "limit_bytes": None}


@pytest.mark.parametrize(
    ("vendor", "product", "flags", "expected"),
    [
        ("Microsoft Corporation", "Virtual Machine", "hypervisor", "hyper-v"),
        ("Microsoft Corporation", "Surface Book", "", None),
        ("Amazon EC2", "g5.xlarge", "hypervisor", "ec2"),
        ("innotek GmbH", "VirtualBox", "", "virtualbox"),
        ("", "", "hypervisor", "unknown"),
        ("Dell Inc.", "R750", "sse", None),
    ],
)
def test_the_firmware_or_the_processor_tells_of_a_virtual_machine(
    vendor: str, product: str, flags: str, expected: str | None
) -> None:
    assert hypervisor(vendor, product, f"flags\t: fpu {flags}\n") == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"proc/1/cgroup": "0::/lxc/web\n"}, "lxc"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_the_kind_of_container_is_told(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    root = write(tmp_path, {**files, "etc/x": ""})
    assert container(f"{root}/proc", f"{root}/etc") == expected


def test_a_processor_that_names_no_cores_has_none_that_are_known() -> None:
    assert processor("processor : 0\nBogoMIPS : 50\n") == (None, None)


def test_each_accelerator_is_told_with_its_memory_and_driver() -> None:
    own = Gpu(
        *("GPU-1", "nvidia", "Card", "GPU-1", "0000:65:00.0"),
        total_bytes=24 * GIB,
        power_limit=350.0,
        architecture="Ada",
        driver="nvidia",
        driver_version="580.1",
    )
    shared = Gpu("0000:00:02.0", "intel", "Intel GPU", is_shared=True)
    told = snapshot(Machine(memory=16 * GIB), [(0, own), (1, shared)], "now", ["nvml"], ["one is lost"])
    assert told["schema_version"] == 1
    assert told["capture"] == {"sources": ["nvml"], "problems": ["one is lost"]}
    first, second = told["accelerators"]
    assert first == {
        "index": 0,
        "kind": "gpu",
        "vendor": "nvidia",
        "model": "Card",
        "architecture": "Ada",
        "memory": {"kind": "dedicated", "capacity_bytes": 24 * GIB},
        "driver": {"name": "nvidia", "version": "580.1"},
        "power_limit_watts": 350.0,
        "uuid": "GPU-1",
        "pci": "0000:65:00.0",
    }
    assert second["memory"] == {"kind": "shared", "capacity_bytes": 16 * GIB}
    assert (second["power_limit_watts"], second["driver"]["name"], second["uuid"]) == (None, None, None)
