"""What systemd is to the program: where it is told how things are, and a socket that outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from tests.e2e.program import COMMAND, DEADLINE

# As systemd does it: the socket is descriptor 3, and the environment names the process that the command becomes.
_BECOME = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
_AS_DESCRIPTOR_3 = 'exec 3<&"$0"; exec "$@"'


class NotifySocket:
    """Where one program tells how things are; leave it with `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self.heard: list[str] = []

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def hear(self, wanted: str) -> None:
        """Read until the line comes."""
        deadline = time.monotonic() + DEADLINE
        self._sock.settimeout(DEADLINE)
        while wanted not in self.heard:
            assert time.monotonic() < deadline, f"never: {wanted}"
            self.heard += self._sock.recv(4096).decode().splitlines()

    def hear_anew(self, wanted: str) -> None:
        """The same, of what has not been heard yet."""
        self.heard.clear()
        self.hear(wanted)

    def await_silence(self, seconds: float) -> None:
        """Read until nothing has come for so long."""
        deadline = time.monotonic() + DEADLINE
        self._sock.settimeout(seconds)
        try:
            while True:
                self.heard += self._sock.recv(4096).decode().splitlines()
                assert time.monotonic() < deadline, f"it goes on: {self.heard[-3:]}"
        except TimeoutError:
            pass


class Service:
    """The program with `config.yaml` in `folder`, on a listening socket of ours; ready when the block begins."""

    def __init__(
        self, folder: Path, listening: socket.socket, *, flags: Iterable[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        number = len(list(folder.glob("out-*")))
        self._out = folder / f"out-{number}"
        self.notify = NotifySocket(folder / f"notify-{number}")
        descriptor = listening.fileno()
        words = ("bash", "-c", _AS_DESCRIPTOR_3, str(descriptor), COMMAND[0], "-c", _BECOME, *COMMAND)
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                (*words, "-c", "config.yaml", *flags),
                cwd=folder, stdout=out, stderr=out, pass_fds=[descriptor],
                env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(self.notify.path), **(env or {})},
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._out.read_text(errors="replace")

    def __enter__(self) -> Service:
        try:
            self.notify.hear("READY=1")
        except BaseException:
            self.give_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                assert self.stop() == 0, self.output
        finally:
            self.give_up()

    def stop(self) -> int:
        """As `systemctl stop`; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def give_up(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        self.notify.__exit__(None, None, None)
