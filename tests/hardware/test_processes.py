"""Which processes belong to a run, and the memory of the machine that they take: folders like /proc, and real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llamaswap_lib.hardware import processes
from llamaswap_lib.hardware.processes import Processes
from llamaswap_lib.hardware.readings import Ram
from tests.children import python
from tests.hardware.folders import process, stat_line, write
from tests.shortage import no_descriptor_left

KIB = 1 << 10
ROLLUP = """55d000-7ffe000 ---p 00000000 00:00 0                          [rollup]
Rss:             9000 kB
Pss:             5000 kB
Pss_Dirty:       1000 kB
Pss_Anon:        1500 kB
Pss_File:        3000 kB
Pss_Shmem:        500 kB
"""
ID = "ab" * 32
# It has 30 MB, which it shares with a child that leaves its group; both end with its standard input.
FAMILY = """
import os, sys
data = b"x" * (30 << 20)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(write, b"%d\\n" % os.getpid())
    sys.stdin.read()
    os._exit(0)
os.write(1, os.read(read, 100))
sys.stdin.read()
"""
KEPT = "kept so that its inode is not used again"
REAL_PROC = Path("/proc/self/stat").exists()


class Clock:
    """Each look at it takes `step` seconds."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def remove(root: Path, pid: int) -> None:
    shutil.rmtree(root / str(pid))


def left_by_its_parent(root: Path) -> Processes:
    """A look has found 100, its child 101 and the child of that, 102; then 101 has ended."""
    write(root, {**process(100, 1, 100), **process(101, 100, 101), **process(102, 101, 102)})
    table = Processes(str(root))
    assert table.trees({7: 100}) == {7: {100, 101, 102}}
    remove(root, 101)
    return table


# -- who belongs to whom --


def test_the_processes_of_a_run_are_those_below_its_first_one_and_those_of_its_group(tmp_path: Path) -> None:
    content = {
        **process(1, 0, 1),
        **process(100, 1, 100, comm="a shell"),
        **process(101, 100, 100),
        **process(102, 101, 555),  # a group of its own, below
        **process(103, 1, 100),  # its parent has ended, its group is ours
        **process(200, 1, 200),
        **process(201, 200, 200),
        **process(300, 1, 300),
    }
    table = Processes(write(tmp_path, content))
    assert table.trees({7: 100, 8: 200, 9: 999}) == {7: {100, 101, 102, 103}, 8: {200, 201}, 9: set()}


def test_a_name_with_brackets_and_blanks_misleads_nobody(tmp_path: Path) -> None:
    write(tmp_path, process(100, 1, 100))
    write(tmp_path, {"101/stat": stat_line(101, 100, 101, ") S 1 1 (x")})
    assert Processes(str(tmp_path)).trees({7: 100}) == {7: {100, 101}}


def test_a_process_stays_with_its_run_when_its_parent_ends(tmp_path: Path) -> None:
    table = left_by_its_parent(tmp_path)
    write(tmp_path, {"102/stat": stat_line(102, 1, 102)})
    assert table.trees({7: 100}) == {7: {100, 102}}


def test_a_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    write(tmp_path, {**process(100, 1, 100), **process(101, 100, 101)})
    table = Processes(str(tmp_path))
    assert table.trees({7: 100}) == {7: {100, 101}}
    (tmp_path / "101").rename(tmp_path / KEPT)
    write(tmp_path, {"101/stat": stat_line(101, 1, 101, begun=6000)})
    assert table.trees({7: 100}) == {7: {100}}


def test_a_folder_that_the_kernel_makes_anew_is_of_the_same_process(tmp_path: Path) -> None:
    table = left_by_its_parent(tmp_path)
    (tmp_path / "102").rename(tmp_path / KEPT)  # as where memory is short
    write(tmp_path, {"102/stat": stat_line(102, 1, 102)})
    assert table.trees({7: 100}) == {7: {100, 102}}


def test_a_look_for_which_there_is_no_descriptor_changes_nothing(tmp_path: Path) -> None:
    table = left_by_its_parent(tmp_path)
    write(tmp_path, {"102/stat": stat_line(102, 1, 102)})
    with no_descriptor_left():
        assert table.trees({7: 100}) == {7: {100, 101, 102}}
    assert table.trees({7: 100}) == {7: {100, 102}}


def test_a_process_of_a_run_that_is_gone_belongs_to_nobody(tmp_path: Path) -> None:
    write(tmp_path, {**process(100, 1, 100), **process(101, 100, 101), **process(200, 1, 200)})
    table = Processes(str(tmp_path))
    assert table.trees({7: 100})[7] == {100, 101}
    remove(tmp_path, 100)
    assert table.trees({8: 200}) == {8: {200}}
    assert table.trees({}) == {}


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, {**process(100, 101, 5), **process(101, 100, 5), **process(200, 1, 200)})
    assert Processes(str(tmp_path)).trees({7: 200}) == {7: {200}}


@pytest.mark.skipif(not REAL_PROC, reason="no /proc here")
def test_real_processes_are_found_with_their_memory() -> None:
    with subprocess.Popen(
        python(FAMILY), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        table = Processes()
        assert table.trees({7: parent.pid}) == {7: {parent.pid, child}}
        ram = table.ram(7, [parent.pid, child])
        parent.communicate()
    assert ram is not None
    assert 30 << 20 <= ram.own < 60 << 20  # what both have is not counted twice


# -- containers --


def containers_of(tmp_path: Path) -> Processes:
    """Two clients of containers, and what runs in two containers below a service."""
    first, second = (f"0::/system.slice/docker-{number}.scope\n" for number in (ID, "cd" * 32))
    content = {
        **process(1, 0, 1),
        **process(50, 1, 50, cgroup="0::/system.slice/containerd.service\n"),
        **process(60, 50, 60, cgroup=first, cmdline=_words("server --port 5801 -m a")),
        **process(61, 60, 60, cgroup=first),
        **process(70, 50, 70, cgroup=second, cmdline=_words("x --port 5802 -m b")),
        **process(100, 1, 100, cmdline=_words("docker run --gpus all image --port 5801 -m a")),
        **process(200, 1, 200, cmdline=_words("/usr/bin/podman run image --port 5802 -m b")),
        **process(300, 1, 300, cmdline=_words("llama-server --port 5801 -m a")),
    }
    return Processes(write(tmp_path, content))


def _words(command: str) -> str:
    return command.replace(" ", "\0") + "\0"


def test_what_runs_in_a_container_belongs_to_the_run_whose_client_started_it(tmp_path: Path) -> None:
    table = containers_of(tmp_path)
    expected = {1: {100, 60, 61}, 2: {200, 70}, 3: {300}}
    assert table.trees({1: 100, 2: 200, 3: 300}) == expected
    assert table.elsewhere == {1, 2}
    write(tmp_path, process(62, 60, 62))  # it has a child later
    assert table.trees({1: 100, 2: 200, 3: 300}) == {**expected, 1: {100, 60, 61, 62}}


def test_a_client_and_a_process_that_become_what_they_are_after_the_first_look_are_found(tmp_path: Path) -> None:
    table = containers_of(tmp_path)
    write(tmp_path, {"100/cmdline": _words("sh -c start"), "60/cgroup": "0::/\n", "60/cmdline": _words("runc init")})
    assert table.trees({1: 100, 2: 200})[1] == {100}
    containers_of(tmp_path)
    assert table.trees({1: 100, 2: 200})[1] == {100, 60, 61}


def test_two_clients_that_could_both_have_started_it_get_nothing(tmp_path: Path) -> None:
    table = containers_of(tmp_path)
    write(tmp_path, {"200/cmdline": _words("docker run other --port 5801 -m a")})
    assert table.trees({1: 100, 2: 200})[1] == {100}


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", ID),
        (f"12:memory:/docker/{ID}\n0::/\n", ID),
        (f"0::/user.slice/user@1000.service/user.slice/libpod-{ID}.scope/container\n", ID),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n", ID),
        ("0::/user.slice/session-2.scope\n", ""),
        ("", ""),
    ],
)
def test_the_container_of_a_process_is_read_from_its_control_group(cgroup: str, expected: str) -> None:
    assert processes.container_id(cgroup) == expected


# -- memory of the machine --


def test_shares_of_all_processes_are_summed_and_mapped_files_told_apart(tmp_path: Path) -> None:
    content = {**process(100, 1, 100, smaps_rollup=ROLLUP), **process(101, 100, 100, smaps_rollup=ROLLUP)}
    table = Processes(write(tmp_path, content))
    assert table.ram(7, [100, 101, 102]) == Ram(2 * 2000 * KIB, 2 * 3000 * KIB)


def test_a_process_whose_shares_may_not_be_seen_counts_with_what_is_resident(tmp_path: Path) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    table = Processes(write(tmp_path, process(100, 1, 100, statm="9000 500 200 1 0 800 0\n")))
    assert table.ram(7, [100]) == Ram(300 * page, 200 * page)


def test_a_kernel_that_does_not_tell_files_apart_leaves_them_unknown() -> None:
    assert processes.share_of("Rss: 9 kB\nPss: 5 kB\n") == Ram(5 * KIB, None)


def test_no_process_that_tells_anything_is_unknown_and_not_zero(tmp_path: Path) -> None:
    content = {"100/statm": "0 0 0 0 0 0 0\n", "101/smaps_rollup": "", "102/statm": "x"}
    assert Processes(write(tmp_path, content)).ram(7, [100, 101, 102, 103]) is None


def test_a_reading_that_took_long_is_not_repeated_soon_unless_it_is_forced(tmp_path: Path) -> None:
    write(tmp_path, process(100, 1, 100, smaps_rollup=ROLLUP))
    clock = Clock(step=1.0)  # so each reading costs a second
    table = Processes(str(tmp_path), clock)
    roots = {7: 100}
    pids = table.trees(roots)[7]
    first = table.ram(7, pids)
    write(tmp_path, {"100/smaps_rollup": ROLLUP.replace("5000", "9000")})
    table.trees(roots)
    assert table.ram(7, pids) == first
    assert table.ram(7, pids, is_forced=True) == Ram(6000 * KIB, 3000 * KIB)
    write(tmp_path, {"100/smaps_rollup": ROLLUP})
    clock.now += processes.SHARE
    table.trees(roots)
    assert table.ram(7, pids) == first


def test_one_sample_reads_so_many_shares_and_the_next_one_the_others(tmp_path: Path) -> None:
    content = {**process(100, 1, 100, smaps_rollup=ROLLUP), **process(200, 1, 200, smaps_rollup=ROLLUP)}
    clock = Clock(step=processes.BUDGET)
    table = Processes(write(tmp_path, content), clock)
    roots = {7: 100, 8: 200}
    table.trees(roots)
    assert [table.ram(7, [100]), table.ram(8, [200])] == [Ram(2000 * KIB, 3000 * KIB)] * 2  # never read before
    write(tmp_path, {f"{pid}/smaps_rollup": ROLLUP.replace("5000", "9000") for pid in (100, 200)})
    clock.now += 1000.0
    table.trees(roots)
    assert table.ram(7, [100]) == Ram(6000 * KIB, 3000 * KIB)
    assert table.ram(8, [200]) == Ram(2000 * KIB, 3000 * KIB)
    table.trees(roots)
    assert table.ram(8, [200]) == Ram(6000 * KIB, 3000 * KIB)
