"""The machine as Linux tells: parsers on texts of the shapes that kernels write, and folders that look like /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamaswap_lib.hardware import linux
from llamaswap_lib.hardware.disks import disks
from llamaswap_lib.hardware.linux import LinuxSystem
from llamaswap_lib.hardware.readings import MOST_INTERFACES, Memory
from tests.hardware.folders import write

GB = 1 << 30
STAT = """cpu  300 0 300 1400 100 0 0 0 0 0
cpu0 100 0 100 700 50 0 0 0 40 0
cpu1 200 0 200 700 50 0 0 0 0 0
intr 1 2 3
ctxt 5
"""
LATER = """cpu  400 0 400 2200 200 0 0 0 0 0
cpu0 150 0 150 750 100 0 0 0 90 0
cpu1 200 0 200 750 100 0 0 0 0 0
cpu2 30 0 0 70 0 0 0 0 0 0
intr 1 2 3
"""
MEMINFO = f"""MemTotal:       {16 * GB >> 10} kB
MemFree:         1048576 kB
MemAvailable:   {8 * GB >> 10} kB
SwapTotal:       2097152 kB
SwapFree:        1048576 kB
HugePages_Total:       0
"""
NET = """Inter-|   Receive                                  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0   0   0
  eth0: 5000000    4000    0    0    0     0          0         0  7000000    3000    0    0    0     0   0   0
 wlan0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0   0   0
"""


# -- processor --


def test_how_busy_a_core_was_is_the_difference_between_two_readings() -> None:
    before, after = linux.core_times(STAT.encode()), linux.core_times(LATER.encode())
    # core 0: 100 busy of 200; core 1: nothing of 100; core 2 came meanwhile: 30 of 100
    assert list(linux.busy_percent(before, after)) == [50.0, 0.0, 30.0]


def test_a_core_without_a_tick_meanwhile_and_one_whose_counters_went_back_are_not_busy() -> None:
    before = linux.core_times(LATER.encode())
    assert list(linux.busy_percent(before, before)) == [0.0, 0.0, 0.0]
    assert list(linux.busy_percent(before, linux.core_times(STAT.encode()))) == [0.0, 0.0]


@pytest.mark.parametrize("text", ["", "1.0", "a b c"])
def test_a_load_that_is_not_told_is_unknown(text: str) -> None:
    assert linux.load_averages(text) is None


# -- memory --


def test_the_memory_is_that_of_the_machine_where_no_group_has_a_limit(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/a/b\n"})
    groups = write(tmp_path / "cgroup", {"cgroup.controllers": "memory", "a/b/memory.max": "max\n"})
    memory = linux.read_memory(proc, groups)
    assert memory == Memory(16 * GB, 8 * GB, 2 * GB, GB)
    assert memory.used == 8 * GB


def test_the_smallest_limit_above_counts_without_the_files_that_can_be_dropped(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/a/b\n"})
    content = {
        "cgroup.controllers": "memory",
        "a/memory.max": f"{6 * GB}\n",
        "a/memory.current": f"{5 * GB}\n",
        "a/memory.stat": f"anon 1\ninactive_file {2 * GB}\nactive_file 7\n",
        "a/b/memory.max": f"{12 * GB}\n",
        "a/b/memory.current": f"{GB}\n",
    }
    groups = write(tmp_path / "cgroup", content)
    assert linux.read_memory(proc, groups) == Memory(6 * GB, 3 * GB, 2 * GB, GB)


def test_a_container_that_sees_the_path_of_the_host_goes_by_its_root(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/system.slice/docker-ab.scope\n"})
    groups = write(
        tmp_path / "cgroup",
        {"cgroup.controllers": "memory", "memory.max": f"{4 * GB}\n", "memory.current": f"{GB}\n"},
    )
    assert linux.read_memory(proc, groups) == Memory(4 * GB, 3 * GB, 2 * GB, GB)


def test_limits_of_version_1_count_alike(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "5:cpu,cpuacct:/x\n3:memory:/x\n0::/\n"})
    content = {
        "memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
        "memory/x/memory.limit_in_bytes": f"{4 * GB}\n",
        "memory/x/memory.usage_in_bytes": f"{2 * GB}\n",
        "memory/x/memory.stat": f"inactive_file 5\ntotal_inactive_file {GB}\n",
    }
    assert linux.read_memory(proc, write(tmp_path / "cgroup", content)) == Memory(4 * GB, 3 * GB, 2 * GB, GB)


def test_memory_that_is_used_beyond_its_limit_leaves_nothing_free(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": MEMINFO, "self/cgroup": "0::/\n"})
    groups = write(
        tmp_path / "cgroup", {"cgroup.controllers": "", "memory.max": f"{GB}", "memory.current": f"{2 * GB}"}
    )
    memory = linux.read_memory(proc, groups)
    assert memory is not None
    assert (memory.total, memory.free, memory.used) == (GB, 0, GB)


# -- network and disks --


def test_interfaces_that_carried_something_are_told() -> None:
    traffic = linux.traffic(NET)
    assert traffic.names == ("lo", "eth0")
    assert list(traffic.counters) == [100, 100, 5000000, 7000000]


def test_of_very_many_interfaces_the_busiest_are_told() -> None:
    rows = [f"veth{number}: {number} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0" for number in range(1, 200)]
    traffic = linux.traffic("\n".join(rows))
    assert len(traffic.names) == MOST_INTERFACES
    assert {"veth199", "veth168"} <= set(traffic.names)
    assert "veth1" not in traffic.names


def test_each_file_system_is_told_once_and_one_of_another_machine_is_not_asked(tmp_path: Path) -> None:
    one, other = tmp_path / "models", tmp_path / "more models"
    for folder in (one, other, tmp_path / "far"):
        folder.mkdir()
    mounts = "\n".join(
        [
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw",
            f"30 20 0:50 / {str(other).replace(' ', chr(92) + '040')} rw shared:1 - nfs4 box:/models rw",
            f"31 20 0:51 / {tmp_path}/far rw - fuse.sshfs box:/ rw",
            f"32 20 0:52 / {tmp_path}/für rw - nfs box:/ rw",
        ]
    )
    proc = write(tmp_path / "proc", {"self/mountinfo": mounts})
    (tmp_path / "für").mkdir()
    folders = [str(one), str(other), *(f"{tmp_path}/{name}" for name in ("far/x", "missing", "für", "no\0name"))]
    assert list(disks(folders[1:], proc)) == []
    found = list(disks([*folders, str(tmp_path)], proc))
    assert [disk.path for disk in found] == [str(tmp_path)]
    assert 0 < found[0].free <= found[0].total


# -- all of it --


def test_a_machine_is_read_again_and_again(tmp_path: Path) -> None:
    proc = write(tmp_path, {"stat": STAT, "meminfo": MEMINFO, "net/dev": NET, "loadavg": "0.50 1.25 2.00 1/200 4000\n"})
    system = LinuxSystem(proc, str(tmp_path / "none"))
    write(tmp_path, {"stat": LATER})
    first, second = system.read([]), system.read([])
    assert list(first.cores) == [50.0, 0.0, 30.0]
    assert list(second.cores) == [0.0, 0.0, 0.0]
    assert first.load == (0.5, 1.25, 2.0)
    assert first.memory == Memory(16 * GB, 8 * GB, 2 * GB, GB)
    assert second.network.names is first.network.names


def test_a_system_that_tells_nothing_is_unknown_and_not_zero(tmp_path: Path) -> None:
    read = LinuxSystem(str(tmp_path), str(tmp_path)).read([])
    assert (list(read.cores), read.memory, read.load, read.network.names, read.disks) == ([], None, None, (), ())


def test_this_machine_tells_something() -> None:
    read = LinuxSystem().read(["/"])
    assert read.memory is not None
    assert 0 < read.memory.free <= read.memory.total
    assert len(read.cores) > 0
    assert read.load is not None
