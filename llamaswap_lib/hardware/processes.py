"""Which processes belong to which run, and how much memory of the machine they take: by /proc.

Thread `hardware`. A process belongs to the run of its parent, or of the process group that it is in, and stays so when
its parent ends. A look costs a microsecond for each process of the machine, for only new ones are read: those whose
folder has another inode than before. Where memory is short the kernel makes folders anew, so what tells a process from
another one that has the same pid later is when it began.

`docker run` asks a service, so what runs in the container descends from that, and not from the command. Both end with
the same arguments: those behind the image's name are handed to the program inside. They show whose container it is.

The share of memory (PSS) of a process costs the kernel time for each page of it: 30 GB take a tenth of a second. So it
is read as often as takes one percent of a processor, and for few processes at a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.linux import meminfo
from llamaswap_lib.hardware.readings import Ram

SHARE = 100  # what a reading cost, as a part of the time until the next one
LOOKS = 3  # a process that is being started is put into its container a moment later
BUDGET = 0.005  # seconds of one sample for such readings, from which on the others wait for the next sample
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BEGUN = 19  # of the words behind the name in /proc/PID/stat: when it began, in ticks since the start of the machine
CLIENTS = frozenset(("docker", "podman", "nerdctl", "docker-compose", "podman-compose"))
LEAST_WORDS = 2  # that both ends must have in common; one alone (`serve`) may be the end of any command
# docker/ID, docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, kubepods/.../ID, lxc.payload.NAME
_ID = re.compile(r"(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)


class _Process:
    __slots__ = ("begun", "container", "group", "inode", "looks", "parent", "run")

    def __init__(self, inode: int, parent: int, group: int, begun: bytes) -> None:
        self.inode = inode
        self.parent = parent
        self.group = group
        self.begun = begun
        self.run: int | None = None  # that it belongs to
        self.container = ""
        self.looks = 0  # how often it was looked at which container it is in


class Processes:
    """All of this machine that can be seen."""

    def __init__(self, proc: str = "/proc", clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._known: dict[int, _Process] = {}
        self._shares: dict[int, _Share] = {}  # by run
        self._spent = 0.0  # seconds for shares in this sample
        self.elsewhere: frozenset[int] = frozenset()
        """Runs whose command is a container's client, as of the last look: not all that they started may be seen."""
        self.hidden: frozenset[int] = frozenset()
        """Those of them of whose container no process is seen."""

    # -- who belongs to whom --

    def trees(self, roots: Mapping[int, int]) -> dict[int, set[int]]:
        """The processes of each run, whose first process is given."""
        self._spent = 0.0
        self._shares = {run: share for run, share in self._shares.items() if run in roots}
        if not roots:
            self._known.clear()
            self.elsewhere = self.hidden = frozenset()
            return {}
        self._look()
        trees = self._assign(roots)
        if self._adopt(trees):
            trees = self._assign(roots)
        self.hidden = frozenset(run for run in self.elsewhere if not any(self._known[p].container for p in trees[run]))
        return trees

    def _look(self) -> None:
        known, now = self._known, {}
        for pid, inode in self._there():
            process = before = known.get(pid)
            if before is None or before.inode != inode:
                process = self._read(pid, inode)
                if before is not None and process is not None and process.begun == before.begun:
                    process, before.inode = before, inode
            if process is not None:
                now[pid] = process
        self._known = now or known

    def _there(self) -> list[tuple[int, int]]:
        """Each pid, and the inode of its folder; [] where there is no /proc, or it cannot be read now."""
        try:
            with os.scandir(self._proc) as folders:
                return [(int(folder.name), folder.inode()) for folder in folders if folder.name.isdigit()]
        except OSError:
            return []

    def _read(self, pid: int, inode: int) -> _Process | None:
        """None for one that has ended."""
        stat = files.read(f"{self._proc}/{pid}/stat")
        fields = stat[stat.rfind(b")") + 1 :].split()
        return _Process(inode, int(fields[1]), int(fields[2]), fields[_BEGUN]) if len(fields) > _BEGUN else None

    def _assign(self, roots: Mapping[int, int]) -> dict[int, set[int]]:
        known, first = self._known, {pid: run for run, pid in roots.items()}
        trees: dict[int, set[int]] = {run: set() for run in roots}
        for pid, process in known.items():
            if process.run not in roots:
                process.run = self._owner(pid, roots, first)
            if process.run is not None:
                trees[process.run].add(pid)
        return trees

    def _owner(self, pid: int, roots: Collection[int], first: Mapping[int, int]) -> int | None:
        """The run of the process, or of the nearest one above it that has one."""
        for _ in range(1000):  # so deep no tree is; parents that were read at two moments may form a circle
            process = self._known.get(pid)
            if process is None:
                return None
            run = first.get(pid, first.get(process.group, process.run))
            if run in roots:
                return run
            pid = process.parent
        return None

    # -- containers --

    def _adopt(self, trees: Mapping[int, Collection[int]]) -> bool:
        """Have what runs in a container belong to the run whose client started it; whether anything has changed."""
        clients = {run: argv for run, pids in trees.items() if (argv := self._client(pids))}
        self.elsewhere = frozenset(clients)
        if not clients:
            return False
        found = False
        for pid, process in self._known.items():
            if process.run is None and not process.container and process.looks < LOOKS:
                process.looks += 1
                process.container = container_id(files.text(f"{self._proc}/{pid}/cgroup"))
        for pid, process in self._known.items():
            if process.run is None and process.container and self._is_first(process):
                run = started_by(clients, self._argv(pid))
                if run is not None:
                    process.run, found = run, True
        return found

    def _client(self, pids: Collection[int]) -> list[str]:
        """The arguments of the container's client among the processes; [] where there is none."""
        for pid in sorted(pids):
            argv = self._argv(pid)
            if is_container_client(argv):
                return argv
        return []

    def _is_first(self, process: _Process) -> bool:
        """Whether its parent is outside of its container."""
        parent = self._known.get(process.parent)
        return parent is None or parent.container != process.container

    def _argv(self, pid: int) -> list[str]:
        """Read each time: a process may become another program."""
        return files.read(f"{self._proc}/{pid}/cmdline").decode(errors="replace").rstrip("\0").split("\0")

    # -- memory of the machine --

    def ram(self, run_id: int, pids: Collection[int], *, is_forced: bool = False) -> Ram | None:
        """What the run's processes take, each page that several have in equal shares; None where nothing tells.

        As of the last reading, where it is too early for another one; now if it `is_forced`.
        """
        share = self._shares.setdefault(run_id, _Share())
        began = self._clock()
        is_due = share.ram is None or began >= share.due
        if is_forced or (is_due and (share.ram is None or self._spent < BUDGET)):
            share.ram = _sum(_shares(pids, self._proc))
            cost = self._clock() - began
            self._spent += cost
            share.due = began + SHARE * cost
        return share.ram


class _Share:
    """The last reading of a run, and when there may be another one."""

    __slots__ = ("due", "ram")

    def __init__(self) -> None:
        self.ram: Ram | None = None
        self.due = 0.0


def _sum(rams: Iterator[Ram]) -> Ram | None:
    own, mapped, is_any, is_whole = 0, 0, False, True
    for ram in rams:
        own, is_any = own + ram.own, True
        mapped, is_whole = mapped + (ram.mapped or 0), is_whole and ram.mapped is not None
    return Ram(own, mapped if is_whole else None) if is_any else None


def _shares(pids: Collection[int], proc: str) -> Iterator[Ram]:
    for pid in pids:
        ram = share_of(files.text(f"{proc}/{pid}/smaps_rollup")) or resident_of(files.text(f"{proc}/{pid}/statm"))
        if ram is not None:
            yield ram


def share_of(smaps_rollup: str) -> Ram | None:
    """Kernels before 5.4 do not tell what of it is of files."""
    said = meminfo(smaps_rollup)
    whole, mapped = said.get("Pss"), said.get("Pss_File")
    if whole is None:
        return None
    return Ram(whole, None) if mapped is None else Ram(max(0, whole - mapped), mapped)


def resident_of(statm: str) -> Ram | None:
    """Of a process whose shares we may not see: another user's."""
    words = statm.split()
    if len(words) < 3 or not (words[1].isdigit() and words[2].isdigit()) or words[1] == "0":
        return None
    resident, shared = int(words[1]) * _PAGE, int(words[2]) * _PAGE
    return Ram(max(0, resident - shared), shared)


# -- which container a process is in, and whose command started it; pure --


def container_id(cgroup: str) -> str:
    """Of /proc/PID/cgroup; '' for a process in no container."""
    found = _ID.search(cgroup)
    return found[1] if found else ""


def is_container_client(argv: Sequence[str]) -> bool:
    """Whether the command has containers run by a service."""
    return bool(argv) and argv[0].rpartition("/")[2] in CLIENTS


def started_by(clients: Mapping[int, Sequence[str]], argv: Sequence[str]) -> int | None:
    """The one whose arguments end as those of the process; None where none does, or two do as well."""
    ends = sorted(((_common_end(client, argv), run) for run, client in clients.items()), reverse=True)
    if not ends or ends[0][0] < LEAST_WORDS or (len(ends) > 1 and ends[1][0] == ends[0][0]):
        return None
    return ends[0][1]


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words, without the program's name, are the same at the end of both."""
    count = 0
    for word, same in zip(reversed(one[1:]), reversed(other[1:])):  # noqa: B905 - one may be longer
        if word != same:
            break
        count += 1
    return count
