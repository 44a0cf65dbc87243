"""The new process, as the old one starts it: the installed version, with the same words, folder and environment.

The environment names the descriptors that it inherits: its end of the link, where its stderr goes once it serves, and
the listening socket. Until it serves, what it writes to stderr comes to the old process, which logs it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from llamaswap_lib.printable import TRACEBACK, printable
from llamaswap_lib.runtime.descriptors import at_first_soft_limit
from llamaswap_lib.runtime.guard.table import HEIR_MARKER
from llamaswap_lib.runtime.threads import Thread

if TYPE_CHECKING:
    import subprocess

VARIABLE = "LLAMASWAP_UPGRADE"
MOST_TOLD = 8  # lines of its stderr that say why it failed
LAST_WORDS_TIMEOUT = 1.0  # seconds to wait for them: what it has started may hold the pipe open
_WAIT_FOR_ONE = frozenset({"tini", "tini-static", "docker-init", "dumb-init", "catatonit", "sh", "bash", "dash", "ash"})
_NOT_ITS_OWN = ("WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return "/"


def _who_ends_with_us() -> str:
    """The name of the program that has started us as PID 1 of a container, if it is one that ends when we do."""
    try:
        name = Path("/proc/1/comm").read_text().strip() if os.getppid() == 1 else ""
    except OSError:
        return ""
    return name if name in _WAIT_FOR_ONE else ""


@dataclass(frozen=True, slots=True)
class Start:
    """How this process was started: another one is started the same way.

    `ends_with_us` is the first process of the container, if it ends when the process does that it has started.
    """

    words: tuple[str, ...] = field(default_factory=lambda: (sys.executable, *sys.orig_argv[1:]))
    folder: str = field(default_factory=_folder)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ends_with_us: str = field(default_factory=_who_ends_with_us)


class Inheritance(NamedTuple):
    """What the old process has left to the new one at its start: descriptors."""

    link: int
    stderr: int
    listening: int


def take_inheritance(environ: MutableMapping[str, str]) -> Inheritance | None:
    """What `environ` says of it, which is removed; None where there is no old process."""
    environ.pop(HEIR_MARKER, None)
    numbers = environ.pop(VARIABLE, "").split(",")
    if len(numbers) != len(Inheritance._fields) or not all(number.isdecimal() for number in numbers):
        return None
    found = Inheritance(*map(int, numbers))
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return found


def why_impossible(platform: str = sys.platform, pid: int = 0) -> str:
    """Why a process cannot be replaced while it runs, '' if it can; `pid` 0 is this one."""
    if platform != "linux" or not hasattr(os, "pidfd_open"):
        return "only on Linux can another process take over the models while they run: restart llamaswap"
    if (pid or os.getpid()) == 1:
        return "this process is the first one of its container (PID 1), which ends with it: restart the container"
    if not sys.executable:
        return "the Python that runs llamaswap is unknown: restart llamaswap"
    return ""


class Child:
    """The new process, from its start to its end."""

    def __init__(
        self, start: Start, listening: socket.socket, more: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        """`more` goes into its environment; `warn` gets its lines. Raises OSError, RuntimeError and MemoryError."""
        self._warn = warn
        self._lines: deque[str] = deque(maxlen=MOST_TOLD)
        self._has_traceback = False
        self.link, inner = socket.socketpair()
        try:
            with inner, os.fdopen(os.dup(2), "wb") as stderr:
                inherited = Inheritance(inner.fileno(), stderr.fileno(), listening.fileno())
                self._process = _spawn(start, {**more, VARIABLE: ",".join(map(str, inherited))}, inherited)
        except BaseException:
            self.link.close()
            raise
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._reader = Thread(self._read, "upgrade-output", (self._process.stderr,))
        try:
            self._reader.start()
        except BaseException:
            self.kill()
            self.link.close()
            raise

    # -- any thread --

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Block until it has ended; its exit code."""
        return self._process.wait()

    def last_words(self) -> str:
        """Why it has ended, as it says itself: what it has written, of a traceback the last line."""
        self._reader.join(LAST_WORDS_TIMEOUT)
        return self._lines[-1] if self._has_traceback else "\n".join(self._lines)

    # -- thread upgrade-output --

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                text = printable(line.decode(errors="replace").rstrip("\n"))
                self._lines.append(text)
                self._has_traceback = self._has_traceback or text == TRACEBACK
                self._warn(f"the new process: {text}")


def _spawn(start: Start, more: Mapping[str, str], inherited: Inheritance) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in start.environment.items() if name not in _NOT_ITS_OWN}
    environment.update(more)
    import subprocess  # noqa: PLC0415 - few upgrade while it runs

    with at_first_soft_limit(start.words, environment) as (program, words):
        return subprocess.Popen(
            words,
            executable=program,
            cwd=start.folder,
            env=environment,
            pass_fds=inherited,
            stderr=subprocess.PIPE,
        )
