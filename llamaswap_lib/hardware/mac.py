"""The machine as the tools of macOS tell of it: vm_stat, sysctl, netstat, ioreg, ps.

Thread `hardware`. Each is given a few seconds, and has said nothing where it takes longer. None of them tells how busy
each core is, nor what of the GPU's memory a process holds, which is memory of the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from llamaswap_lib.hardware.disks import disks
from llamaswap_lib.hardware.files import as_number
from llamaswap_lib.hardware.readings import Gpu, Held, Memory, NetworkCounters, Ram, System
from llamaswap_lib.hardware.snapshot import Machine

TIMEOUT = 3.0

Run = Callable[[Sequence[str]], str]


def output_of(argv: Sequence[str]) -> str:
    """What a program prints; '' where there is none, or it fails or hangs."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


class MacSystem:
    """Asks again and again."""

    def __init__(self, run: Run = output_of) -> None:
        self._run = run

    def read(self, folders: Iterable[str]) -> System:
        """Now; `folders` are those in which models lie."""
        network = traffic(self._run(("netstat", "-ibn")))
        return System(array("f"), self.memory(), os.getloadavg(), network, tuple(disks(folders)))

    def memory(self) -> Memory | None:
        return read_memory(self._run)


def read_memory(run: Run = output_of) -> Memory | None:
    said = run(("sysctl", "-n", "hw.memsize")).strip()
    if not said.isdigit():
        return None
    swap_total, swap_free = swap(run(("sysctl", "-n", "vm.swapusage")))
    return Memory(int(said), min(int(said), free_bytes(run(("vm_stat",)))), swap_total, swap_free)


def free_bytes(vm_stat: str) -> int:
    """What programs can still get: pages that are free, inactive, speculative or may be purged."""
    size = re.search(r"page size of (\d+) bytes", vm_stat)
    pages = {name: int(count) for name, count in re.findall(r"^Pages ([\w ]+): +(\d+)\.", vm_stat, re.MULTILINE)}
    free = sum(pages.get(name, 0) for name in ("free", "inactive", "speculative", "purgeable"))
    return free * (int(size[1]) if size else 4096)


def swap(swapusage: str) -> tuple[int, int]:
    """Total and free, of `total = 2048.00M  used = 1024.00M  free = 1024.00M  (encrypted)`."""
    said = {name: float(count) * 2**20 for name, count in re.findall(r"(\w+) = ([\d.]+)M", swapusage)}
    return int(said.get("total", 0)), int(said.get("free", 0))


def traffic(netstat: str) -> NetworkCounters:
    """Of `netstat -ibn`: one line of an interface tells of its link, the others of its addresses."""
    head, *lines = netstat.splitlines() or [""]
    columns = head.split()
    found = []
    for line in lines:
        words = line.split()
        if len(words) < 4 or not words[2].startswith("<Link#"):
            continue
        from_end = {name: place - len(columns) for place, name in enumerate(columns)}  # an address may be missing
        received, sent = words[from_end["Ibytes"]], words[from_end["Obytes"]]
        if received.isdigit() and sent.isdigit() and (int(received) or int(sent)):
            found.append((words[0].rstrip("*"), int(received), int(sent)))
    return NetworkCounters.of(found)


class AppleGpu:
    """The GPU of a Mac, by `ioreg`. Its memory is that of the machine."""

    name = "ioreg"
    pause = 0.0

    def __init__(self, run: Run = output_of) -> None:
        self._run = run
        said = run(("sysctl", "-n", "hw.memsize")).strip()
        self._total = int(said) if said.isdigit() else None
        self._model = run(("sysctl", "-n", "machdep.cpu.brand_string")).strip() or "Apple GPU"

    def read(self) -> list[Gpu]:
        told = self._run(("ioreg", "-r", "-c", "IOGPU", "-d", "1", "-f"))
        told = told or self._run(("ioreg", "-r", "-c", "AGXAccelerator", "-d", "1", "-f"))
        return [accelerator(told, self._model, self._total)]

    def held_by(self, pids: Collection[int]) -> Mapping[str, Held]:  # noqa: ARG002 - nothing tells
        return {}

    def close(self) -> None: ...


def accelerator(ioreg: str, model: str, total: int | None) -> Gpu:
    used = re.search(r'"In use system memory"=(\d+)', ioreg)
    busy = re.search(r'"Device Utilization %"=(\d+)', ioreg)
    return Gpu(
        *("apple", "apple", model),
        used_bytes=int(used[1]) if used else None,
        total_bytes=total,
        is_shared=True,
        utilization=float(busy[1]) if busy else None,
        driver="metal",
        shows_processes=False,
    )


class MacProcesses:
    """Who descends from whom, and the memory of each, by one call of `ps`."""

    def __init__(self, run: Run = output_of) -> None:
        self._run = run
        self._resident: dict[int, int] = {}
        self.elsewhere: frozenset[int] = frozenset()
        self.hidden: frozenset[int] = frozenset()

    def trees(self, roots: Mapping[int, int]) -> dict[int, set[int]]:
        """The processes of each run, whose first process is given."""
        rows = list(ps_rows(self._run(("ps", "-axo", "pid=,ppid=,pgid=,rss="))))
        self._resident = {pid: resident for pid, _, _, resident in rows}
        owners = {root: run for run, root in roots.items()}
        trees: dict[int, set[int]] = {run: set() for run in roots}
        parents = {pid: (parent, group) for pid, parent, group, _ in rows}
        for pid in parents:
            at, seen = pid, set()
            while at in parents and at not in seen:
                seen.add(at)
                parent, group = parents[at]
                owner = owners.get(at, owners.get(group))
                if owner is not None:
                    trees[owner].add(pid)
                    break
                at = parent
        return trees

    def ram(self, run_id: int, pids: Collection[int], *, is_forced: bool = False) -> Ram | None:  # noqa: ARG002
        """Resident memory; on macOS it has the pages of mapped files in it that are in memory."""
        known = [self._resident[pid] for pid in pids if pid in self._resident]
        return Ram(sum(known), None) if known else None


def ps_rows(text: str) -> Iterable[tuple[int, int, int, int]]:
    """Pid, parent, group, and resident bytes, of `ps -axo pid=,ppid=,pgid=,rss=`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and all(word.isdigit() for word in words):
            yield int(words[0]), int(words[1]), int(words[2]), int(words[3]) << 10


def machine(run: Run = output_of) -> Machine:
    """What does not change, by sysctl and sw_vers."""
    names = ("machdep.cpu.brand_string", "hw.physicalcpu", "hw.logicalcpu", "hw.memsize", "kern.hv_vmm_present")
    said = {name: run(("sysctl", "-n", name)).strip() for name in names}
    return Machine(
        architecture=os.uname().machine,
        system={
            "name": "macOS",
            "version": run(("sw_vers", "-productVersion")).strip() or None,
            "kernel": os.uname().release,
        },
        vm="unknown" if said["kern.hv_vmm_present"] == "1" else None,
        cpu=said["machdep.cpu.brand_string"] or None,
        physical_cores=as_number(said["hw.physicalcpu"]),
        logical_cores=as_number(said["hw.logicalcpu"]),
        memory=as_number(said["hw.memsize"]),
    )
