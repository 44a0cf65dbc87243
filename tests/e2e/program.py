"""The real program as a child of a test: its configuration, requests to it, and its end.

Leaving the `with` block ends it with SIGTERM, and checks what holds for every test: exit code 0 unless the test ended
it, no process of any upstream left behind, nothing on stderr, no traceback anywhere. Ports come from `ports`, every
wait has a deadline.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tests.e2e.ports import PortBlock
from tests.e2e.talk import Reply, Wire, ask

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "llamaswap.py"
# The command that starts the program, to test another build of it, or with another Python: `PYTHON [-I] FILE`.
COMMAND = tuple(shlex.split(os.environ.get("LLAMASWAP_TEST_COMMAND", ""))) or (sys.executable, str(SCRIPT))
IS_CHECKOUT = COMMAND[-1] == str(SCRIPT)
IS_BARE = os.environ.get("LLAMASWAP_TEST_ENVIRONMENT") == "empty"
DEADLINE = 60.0  # of every wait for what must come; none should come near it, on a busy machine either
MARKER = "LLAMASWAP_TEST"
GUARDIAN_MARKER = "LLAMASWAP_GUARDIAN"
_own_tracebacks = re.compile(r"^(?! {4}\| ).*Traceback", re.MULTILINE).findall  # not those in a model's last words
HELLO = {"messages": [{"role": "user", "content": "Hello there, my friend"}]}
ENDLESS = {**HELLO, "stream": True, "max_tokens": 90_000, "ignore_eos": True}


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the program: that of the tests, or where they are told so an empty one, and what is given."""
    return {**({} if IS_BARE else os.environ), **(more or {})}


def demo(*flags: str) -> str:
    """The command of a demo model."""
    return (
        shlex.join((sys.executable, "-S", str(ROOT / "llamaswap_lib" / "demo")))
        + " --port ${PORT} --model "
        + (" ".join(("${MODEL_ID}", *flags)))
    )


def upstream(*flags: str) -> str:
    """The command of `upstream.py`, which echoes requests and answers oddly."""
    return (
        shlex.join((sys.executable, "-S", str(Path(__file__).with_name("upstream.py")))) + " ${PORT} " + " ".join(flags)
    )


def python(source: str, *arguments: str) -> str:
    """The command of a few lines of Python; the port is their last argument."""
    return " ".join(shlex.quote(word) for word in (sys.executable, "-S", "-c", source, *arguments)) + " ${PORT}"


def models(**commands: str | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's `models`, from commands or whole entries."""
    return {"models": {name: {"cmd": it} if isinstance(it, str) else dict(it) for name, it in commands.items()}}


def wait_until(is_so: Callable[[], bool], what: str, timeout: float = DEADLINE) -> None:
    """Look every few milliseconds until it is so; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        threading.Event().wait(pause)
        pause = min(pause * 1.2, 0.02)


@contextmanager
def soft_limit(number: int) -> Iterator[None]:
    """So many descriptors, for us and for what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _read(path: Path) -> bytes:
    """Of a process that may end meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Foreign:
    """A process that is no child of ours, as far as it looks like one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """None while it lives; how it ended nobody tells."""
        return 0 if select.select([self._descriptor], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        wait_until(lambda: self.poll() is not None, f"process {self.pid} ends", timeout or DEADLINE)
        return 0

    def close(self) -> None:
        os.close(self._descriptor)


class Program:
    """`python llamaswap.py -c config.yaml -listen 127.0.0.1:PORT`, with a configuration of the test's own."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        stdout: int | None = None,
        log_level: str = "info",
        flags: Sequence[str] = (),
        context: ssl.SSLContext | None = None,
        tracebacks: int = 0,
        is_hurt: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        host: str = "127.0.0.1",
        ports: PortBlock | None = None,
        wrapper: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`stdout` is a descriptor to write to in place of the file `stdout` in `folder`, with that many tracebacks.

        `context` is for TLS. `${OWN_PORT}` in the configuration is where it listens, on `host`; it closes `ports`.
        `wrapper` is a command that becomes the program, which is its arguments: `nohup`. `command` starts the program.
        `is_hurt`: the test takes something from the program that it needs, of which it may complain.
        """
        self._context = context
        self._tracebacks = tracebacks
        self._is_hurt = is_hurt
        self.folder = folder
        self.code: int | None = None  # of its exit, once it has ended
        self._ports = ports or PortBlock()
        self.port = self._ports.first
        self._id = uuid.uuid4().hex
        self._log_level = log_level
        self.config_path = folder / "config.yaml"
        self.write_config(config)
        self._out: IO[bytes] = (folder / "stdout").open("wb")
        self._err: IO[bytes] = (folder / "stderr").open("wb")
        self.process: subprocess.Popen[bytes] | Foreign = subprocess.Popen(
            (
                *(*wrapper, *command, "-c", str(self.config_path)),
                *("-listen", f"{host}:{self.port}", *flags),
            ),
            stdin=subprocess.DEVNULL,
            stdout=self._out if stdout is None else stdout,
            stderr=self._err,
            cwd=cwd or folder,
            env=environment({**(env or {}), MARKER: self._id}),
            start_new_session=True,
        )
        self._before: list[subprocess.Popen[bytes] | Foreign] = []  # whom upgrades have replaced

    def __enter__(self) -> Program:
        try:
            wait_until(self._is_listening, "the program listens")
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end_well()
        finally:
            left = self._clean_up()
        if kind is None:
            assert not left, f"left behind: {left}"
            assert self.stderr == "" or self._is_hurt
            assert self._is_hurt or len(_own_tracebacks(self.stdout)) == self._tracebacks, self.stdout
        else:
            sys.stderr.write(f"--- its stdout ---\n{self.stdout[-4000:]}--- its stderr ---\n{self.stderr[-4000:]}")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Change the file; the program does not know of it yet."""
        self._models: Mapping[str, Mapping[str, Any]] = config.get("models", {})
        whole = {"startPort": self.port + 1, "logLevel": self._log_level, **config}
        self.config_path.write_text(json.dumps(whole).replace("${OWN_PORT}", str(self.port)))

    def _is_listening(self) -> bool:
        assert self.process.poll() is None, f"it ended: {self.stdout}{self.stderr}"
        try:
            return self.get("/health").status == 200
        except ConnectionRefusedError:
            return False

    def _end_well(self) -> None:
        for process in self._before:
            assert process.wait(DEADLINE) == 0, self.stdout
        if self.code is None:
            self.signal(signal.SIGTERM)
            assert self.wait() == 0, self.stdout

    def _clean_up(self) -> list[str]:
        """Kill what is left; the command lines of what should not have been."""
        try:
            for process in self._before:
                process.kill()
                process.wait(DEADLINE)
            left = self.relatives() if self.process.poll() is not None else {}
            self.process.kill()
            self.process.wait(DEADLINE)
            wait_until(lambda: not self.guardians(), "its guardian ends")
            left |= self.relatives()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return list(left.values())
        finally:
            for process in (self.process, *self._before):
                if isinstance(process, Foreign):
                    process.close()
            self._out.close()
            self._err.close()
            self._ports.close()

    # -- what can be seen of it --

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")

    def relatives(self) -> dict[int, str]:
        """Every living process that descends from it, wherever it went: pid -> command line; no guardian."""
        return {pid: command for pid, (command, is_guardian) in self._descendants().items() if not is_guardian}

    def guardians(self) -> list[int]:
        """The pids of its guardians; there should be at most one."""
        return [pid for pid, (_, is_guardian) in self._descendants().items() if is_guardian]

    def _descendants(self) -> dict[int, tuple[str, bool]]:
        wanted, guardian = f"{MARKER}={self._id}".encode(), f"{GUARDIAN_MARKER}=".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            environment = _read(folder / "environ").split(b"\0")
            if int(folder.name) != self.process.pid and wanted in environment:
                command = _read(folder / "cmdline").replace(b"\0", b" ").decode(errors="replace")
                if command:
                    is_guardian = any(entry.startswith(guardian) for entry in environment)
                    found[int(folder.name)] = (command, is_guardian)
        return found

    def thread_count(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def descriptor_count(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def measure_peak(self) -> int:
        """The resident bytes now, from which on the peak is measured anew: other tests may have used the program."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.resident_bytes()

    def peak_resident_bytes(self) -> int:
        """The most it ever was, or since `measure_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    # -- another process --

    def upgrade(self) -> dict[str, Any]:
        """Have a new process take over, which is meant by what is asked for from now on."""
        answer = self.post("/api/upgrade", None)
        assert answer.status == 200, answer.text
        told: dict[str, Any] = answer.json()
        self.go_on_with(told["pid"])
        return told

    def go_on_with(self, pid: int) -> None:
        self._before.append(self.process)
        self.process = Foreign(pid)

    def kill_before(self) -> None:
        """kill -9 of the process that served last."""
        process = self._before.pop()
        process.kill()
        process.wait(DEADLINE)
        if isinstance(process, Foreign):
            process.close()

    @property
    def before(self) -> subprocess.Popen[bytes] | Foreign:
        """The process that served last."""
        return self._before[-1]

    # -- its end --

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        self.code = self.process.wait(DEADLINE)
        return self.code

    # -- requests --

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a connection of its own; `content_type="x"` is a header."""
        return ask(self.port, method, path, body, self._context, **headers)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, value: object, **headers: str) -> Reply:
        """POST as JSON."""
        return self.ask("POST", path, json.dumps(value).encode(), content_type="application/json", **headers)

    def reload(self, config: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Have it take another configuration; what it says of that."""
        self.write_config(config)
        answer = self.post("/api/config/reload", None, **headers)
        assert answer.status == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def chat(self, model: str, **more: Any) -> Reply:
        return self.post("/v1/chat/completions", {"model": model, **HELLO, **more})

    def wire(self) -> Wire:
        return Wire(self.port)

    def stream(self, model: str, **more: Any) -> Wire:
        """A client whose chat is on its way: an endless stream, nothing of it read."""
        wire = Wire(self.port)
        wire.request("POST", "/v1/chat/completions", {"model": model, **ENDLESS, **more})
        return wire

    def states(self) -> dict[str, str]:
        """What runs, and how far it is."""
        return {run["model"]: run["state"] for run in self.get("/running").json()["running"]}

    def running(self, model: str) -> dict[str, Any]:
        """The row of `/running`."""
        [row] = [run for run in self.get("/running").json()["running"] if run["model"] == model]
        assert isinstance(row, dict)
        return row

    def queue(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get("/api/queue").json()["queue"]
        return rows

    def run_ids(self) -> dict[str, int]:
        return {run["model"]: run["run_id"] for run in self.get("/running").json()["running"]}

    def stats(self, model: str) -> dict[str, int]:
        """What a demo tells of its requests, asked directly so that it does not count as one of ours; {} without it."""
        try:
            told: dict[str, int] = ask(self.upstream_port(model), "GET", "/stats").json()
        except OSError:
            return {}
        return told

    def upstream_port(self, model: str) -> int:
        """Ports are given in the order of names to those that use one."""
        using = sorted(name for name, entry in self._models.items() if "${PORT}" in entry["cmd"])
        return self.port + 1 + using.index(model)

    def await_stats(self, model: str, **wanted: int) -> None:
        """Wait until the demo says so."""
        wait_until(lambda: wanted.items() <= self.stats(model).items(), f"{model}: {wanted}")

    def await_log(self, *texts: str) -> None:
        """Wait until stdout has each of them: it has a line a moment after what the line tells of can be seen."""
        for text in texts:
            wait_until(lambda text=text: text in self.stdout, f"the log has: {text}")  # type: ignore[misc]

    def starts(self, model: str) -> int:
        """How often it was started, by the log."""
        return self.stdout.count(f"[INFO] {model}: starting\n")

    def await_starts(self, model: str, count: int) -> None:
        """Wait until the log, of which stdout has the last line a moment later, has just so many."""
        wait_until(lambda: self.starts(model) == count, f"{model} has been started {count} times")
