"""The machine as Linux tells of it: processor, memory, load, network, disks.

Thread `hardware`. Reads small files of /proc and /sys and starts nothing. In a container the memory is that which its
limit leaves.
"""

from __future__ import annotations

import os
import re
import sys
from array import array
from collections.abc import Iterable, Iterator

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.disks import disks
from llamaswap_lib.hardware.readings import Memory, NetworkCounters, System
from llamaswap_lib.hardware.snapshot import Machine
from llamaswap_lib.printable import printable

# Of a core in /proc/stat (proc_stat(5)): user nice system idle iowait irq softirq steal; guests are in user and nice.
_COUNTED, _IDLE, _IOWAIT = 8, 3, 4
_UNLIMITED = 1 << 62  # what version 1 of cgroups says where there is no limit, nearly

# What the firmware of a virtual machine says of itself, in sys_vendor or product_name.
_HYPERVISORS = {
    "qemu": "qemu", "kvm": "kvm", "vmware": "vmware", "virtualbox": "virtualbox", "innotek": "virtualbox",
    "xen": "xen", "bochs": "bochs", "parallels": "parallels", "amazon ec2": "ec2", "google compute engine": "gce",
    "openstack": "openstack", "virtual machine": "hyper-v", "firecracker": "firecracker", "bhyve": "bhyve",
}  # fmt: skip
_CONTAINERS = ("docker", "podman", "libpod", "kubepods", "containerd", "lxc", "garden")

CoreTimes = dict[int, tuple[int, int]]  # core -> busy and whole time, in ticks since the start


class LinuxSystem:
    """Asks again and again: how busy a core was is the difference between two readings."""

    def __init__(self, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._names: tuple[str, ...] = ()
        self._before = core_times(files.read(f"{proc}/stat"))

    def read(self, folders: Iterable[str]) -> System:
        """Now; `folders` are those in which models lie."""
        times = core_times(files.read(f"{self._proc}/stat"))
        cores, self._before = busy_percent(self._before, times), times
        network = traffic(files.text(f"{self._proc}/net/dev"))
        if network.names == self._names:  # so that an hour of samples has the names once
            network = network._replace(names=self._names)
        self._names = network.names
        load = load_averages(files.text(f"{self._proc}/loadavg"))
        return System(cores, self.memory(), load, network, tuple(disks(folders, self._proc)))

    def memory(self) -> Memory | None:
        return read_memory(self._proc, self._cgroups)


# -- processor --


def core_times(stat: bytes) -> CoreTimes:
    """Of each core in /proc/stat."""
    times: CoreTimes = {}
    for line in stat.split(b"\n"):
        if not line.startswith(b"cpu"):
            break  # they stand first
        name, *said = line.split()
        if name[3:].isdigit():
            ticks = [int(word) for word in said[:_COUNTED]]
            whole = sum(ticks)
            times[int(name[3:])] = whole - sum(ticks[_IDLE : _IOWAIT + 1]), whole
    return times


def busy_percent(before: CoreTimes, after: CoreTimes) -> array[float]:
    """How busy each core was in between, in the order of their numbers; one that is new counts from its start."""
    percent = array("f")
    for core in sorted(after):
        busy, whole = after[core]
        busy_before, whole_before = before.get(core, (0, 0))
        passed = whole - whole_before
        percent.append(min(100.0, max(0.0, 100.0 * (busy - busy_before) / passed)) if passed > 0 else 0.0)
    return percent


def load_averages(loadavg: str) -> tuple[float, float, float] | None:
    words = loadavg.split()[:3]
    try:
        one, five, fifteen = map(float, words)
    except ValueError:
        return None
    return one, five, fifteen


# -- memory --


def read_memory(proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> Memory | None:
    """Of the machine, bounded by the limits of the control groups that we are in."""
    said = meminfo(files.text(f"{proc}/meminfo"))
    total = said.get("MemTotal")
    if total is None:
        return None
    free = said.get("MemAvailable", said.get("MemFree", 0))
    for limit, in_use in limits(files.text(f"{proc}/self/cgroup"), cgroups):
        if limit < total or limit - in_use < free:
            total, free = min(total, limit), max(0, min(free, limit - in_use))
    return Memory(total, min(free, total), said.get("SwapTotal", 0), said.get("SwapFree", 0))


def meminfo(text: str) -> dict[str, int]:
    """Bytes by name; also of smaps_rollup and of /proc/PID/status, which are written alike."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) << (10 if words[-1] == "kB" else 0)
    return found


def limits(membership: str, cgroups: str) -> Iterator[tuple[int, int]]:
    """The limit of each group that we are in that has one, and what of it is in use and cannot be taken back.

    `membership` is /proc/self/cgroup. In a container its path may be that of the host: then only the root is there.
    """
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            root = cgroups if os.path.exists(f"{cgroups}/cgroup.controllers") else f"{cgroups}/unified"
            for group in _ancestors(root, path):
                yield from _limit(group, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            for group in _ancestors(f"{cgroups}/memory", path):
                yield from _limit(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _ancestors(root: str, path: str) -> Iterator[str]:
    """The group itself, those above it, and the root."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield "/".join([root, *parts[:count]])


def _limit(group: str, limit_name: str, usage_name: str, inactive: str) -> Iterator[tuple[int, int]]:
    limit = files.number(f"{group}/{limit_name}")  # or max
    if limit is not None and limit < _UNLIMITED:
        in_use = files.number(f"{group}/{usage_name}") or 0
        for line in files.text(f"{group}/memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == inactive:
                in_use -= files.as_number(value) or 0
        yield limit, max(0, in_use)


# -- network --


def traffic(net_dev: str) -> NetworkCounters:
    """Of the interfaces that have ever carried anything; the busiest ones where there are very many."""
    found = []
    for line in net_dev.splitlines():
        name, colon, rest = line.rpartition(":")
        words = rest.split()
        if colon and len(words) >= 9 and words[0].isdigit() and words[8].isdigit():
            received, sent = int(words[0]), int(words[8])
            if received or sent:
                found.append((name.strip(), received, sent))
    return NetworkCounters.of(found)


# -- what does not change while the machine is up --


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
