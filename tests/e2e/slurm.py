"""A cluster of Slurm with several nodes on this machine, and programs that use it as if its nodes were elsewhere.

Each node is a slurmd in a PID and UTS namespace of its own, with the address 127.0.0.1N, and a device file for a GPU.
`Front` is the program in a PID namespace beside them: outside of it the guardian would find the processes of jobs, for
srun carries the environment, and end what it cannot end on another machine. Files and the network are shared. Needs
root, `unshare`, and Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.ports import PortBlock
from tests.e2e.program import DEADLINE, ROOT, Program, wait_until

_PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "unshare")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_INIT = (sys.executable, "-S", str(Path(__file__).with_name("namespace_init.py")))
THERE = ROOT / "llamaswap_lib" / "there.py"
SERVER = Path(__file__).with_name("job_server.py")

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
InactiveLimit=0
KillWait=2
Waittime=0
CommunicationParameters=NoAddrCache
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs=8 RealMemory=1000 Gres=gpu:1 State=UNKNOWN"
)
_PARTITIONS = """
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_impossible() -> str:
    """Why there can be no cluster here; '' if there can."""
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]:
        return f"there is no {', '.join(missing)} here"
    if os.geteuid() != 0:
        return "slurmd and namespaces need root"
    tried = subprocess.run((*_NAMESPACE, "--uts", "true"), capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


def children_of(pid: int) -> list[int]:
    """The living ones."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(folder.name))
    return found


class Cluster:
    """Up within a `with` block: nodes `node1`, `node2`... with one GPU each."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        self.names = [f"node{number}" for number in range(1, nodes + 1)]
        self.env = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        self._ports = PortBlock()
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._write_files()
            self._start("munged", "--foreground", "--force", *self._munge_flags())
            wait_until((self.folder / "munge.sock").exists, "munged listens")
            self._start("slurmctld", "-D", "-i", "-f", self.env["SLURM_CONF"])
            for name in self.names:
                self.start_node(name)
            wait_until(lambda: set(self.states().values()) == {"idle"}, "all nodes are idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._nodes.values(), *self._daemons):
            process.kill()
        for process in (*self._nodes.values(), *self._daemons):
            process.wait(DEADLINE)
        self._ports.close()

    def _write_files(self) -> None:
        folder, host, port = self.folder, socket.gethostname(), self._ports.first
        lines = [_CONFIG.format(folder=folder, host=host, port=port)]
        gpus = []
        (folder / "state").mkdir()
        for number, name in enumerate(self.names, 1):
            (folder / f"spool.{name}").mkdir()
            gpu = folder / f"gpu.{name}"
            os.mknod(gpu, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a real device: Slurm looks at its kind
            gpus.append(f"NodeName={name} Name=gpu File={gpu}\n")
            lines.append(_NODE.format(name=name, host=host, address=address_of(name), port=port + number) + "\n")
        (folder / "slurm.conf").write_text("".join((*lines, _PARTITIONS)))
        (folder / "gres.conf").write_text("".join(gpus))
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        on_node = folder / "on_node"
        host_here = "127.0.0.1${SLURMD_NODENAME#node}"
        on_node.write_text(f'#!/bin/sh\nexec {sys.executable} -S {THERE} --host {host_here} "$@"\n')
        on_node.chmod(0o755)

    def _munge_flags(self) -> Iterator[str]:
        names = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
        for flag, name in {**names, "log-file": "munged.log", "seed-file": "munge.seed"}.items():
            yield f"--{flag}={self.folder / name}"

    def _start(self, *words: str) -> None:
        self._daemons.append(self._spawn(*words))

    def _spawn(self, *words: str) -> subprocess.Popen[bytes]:
        output = (self.folder / "daemons.log").open("ab")
        with output:
            return subprocess.Popen(
                words, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    # -- nodes --

    def start_node(self, name: str) -> None:
        """slurmd is not process 1 of its namespace: else its end would be that of the node."""
        script = f"hostname {name}; slurmd -D -N {name} -f {self.env['SLURM_CONF']} & while :; do wait; sleep 1; done"
        self._nodes[name] = self._spawn(*_NAMESPACE, "--uts", "sh", "-c", script)

    def power_off(self, name: str) -> None:
        """All that runs there ends at once."""
        self._nodes[name].kill()
        self._nodes[name].wait(DEADLINE)

    def signal_all(self, name: str, number: int) -> None:
        """To all that runs there: SIGSTOP is a network that is cut, SIGCONT mends it."""
        for pid in self._pids(name):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_slurmd(self, name: str) -> None:
        """Its jobs live on."""
        for pid in self._pids(name):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "slurmd\n":
                    os.kill(pid, signal.SIGKILL)

    def _pids(self, name: str) -> list[int]:
        [init] = children_of(self._nodes[name].pid)
        namespace = os.readlink(f"/proc/{init}/ns/pid")  # noqa: PTH115 - it leads to no file
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(folder / "ns" / "pid") == namespace:  # noqa: PTH115 - as above
                    found.append(int(folder.name))
        return found

    def states(self) -> dict[str, str]:
        """How the nodes are."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t", is_checked=False).splitlines()
        return dict(line.split() for line in lines) if len(lines) == len(self.names) else {"": "unknown"}

    def await_idle(self) -> None:
        """Until no job is left, and each node may have one."""
        wait_until(lambda: not self.jobs() and set(self.states().values()) == {"idle"}, "all nodes are idle again")

    # -- jobs --

    def run(self, *words: str, is_checked: bool = True) -> str:
        done = subprocess.run(
            words, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 0 or not is_checked, done.stderr
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Those that are not over: their names and states."""
        return dict(line.split() for line in self.run("squeue", "-h", "-o", "%j %T").splitlines())

    def job_id(self, name: str) -> str:
        return self.run("squeue", "-h", "-n", name, "-o", "%i").strip()

    def fill(self, name: str, *flags: str) -> None:
        """A job on each node, so that others have to wait; it runs until `cancel`."""
        nodes = f"-N{len(self.names)}"
        self.run("sbatch", nodes, "--gres=gpu:1", "-J", name, "-o", "/dev/null", *flags, "--wrap", "srun sleep 1000")
        wait_until(lambda: self.jobs().get(name) == "RUNNING", f"{name} runs")

    def cancel(self, name: str) -> None:
        self.run("scancel", "-n", name)

    # -- models --

    def model(self, job: str, *, client: Sequence[str] = ("srun",), there: str = "", **more: Any) -> dict[str, Any]:
        """A model whose server runs on a node of Slurm's choice, with a GPU. `there`: flags of the helper."""
        words = (*client, "-N1", "--gres=gpu:1", "-J", job, str(self.folder / "on_node"), there, "--")
        server = f"{sys.executable} -S {SERVER} HOST PORT ${{MODEL_ID}}"
        cmd = f"{' '.join(filter(None, words))} {server}"
        return {"cmd": cmd, "cmdStop": f"scancel -n {job}", "proxy": "announced", **more}


def address_of(node: str) -> str:
    return f"127.0.0.1{node.removeprefix('node')}"


class Front(Program):
    """The program where it does not see what runs on the nodes."""

    def __init__(self, cluster: Cluster, folder: Path, config: Mapping[str, Any], **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, config, wrapper=(*_NAMESPACE, *_INIT), env=cluster.env, **options)

    def __enter__(self) -> Front:
        super().__enter__()
        return self

    def signal(self, number: int) -> None:
        """To the program, which is the first that process 1 of its namespace has started."""
        [init] = children_of(self.process.pid)
        os.kill(min(children_of(init)), number)

    def lose_power(self) -> None:
        """Nothing of it is left in the same moment, no guardian either."""
        self.process.kill()
        self.wait()
