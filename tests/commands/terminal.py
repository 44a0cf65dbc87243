"""Commands as somebody types them who uses one server: into pipes, or in a terminal whose screen can be read.

Every wait has a deadline. Leaving a `with` block ends the command, if it has not ended by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pyte

from tests.e2e.program import COMMAND, environment

# Of a terminal of its own Ctrl-C comes as from a keyboard.
TAKES_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
DEADLINE = 60.0  # each command is a program that starts
OF_USERS = ("LLAMASWAP_URL", "LLAMASWAP_API_KEY", "LLAMASWAP_CA_FILE", "NO_COLOR", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def rows(self) -> list[list[str]]:
        """The words of each line on stdout."""
        return [line.split() for line in self.out.splitlines()]


class Shell:
    """Where commands are typed; `url` is the server's, '' for none, `env` what is set besides."""

    def __init__(self, url: str | int = "", env: Mapping[str, str] | None = None) -> None:
        """`url` may be a port of this machine."""
        told = f"http://127.0.0.1:{url}" if isinstance(url, int) else url
        self._env = {name: value for name, value in environment().items() if name not in OF_USERS}
        self._env |= {"TERM": "xterm-256color", **({"LLAMASWAP_URL": told} if told else {}), **(env or {})}

    def run(self, *words: str, given: str = "", env: Mapping[str, str] | None = None) -> Ended:
        """A command whose output goes into pipes; `given` is its stdin."""
        ended = subprocess.run(
            (*COMMAND, *words), env={**self._env, **(env or {})}, input=given,
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert "Traceback" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def screen(
        self, *words: str, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None,
        command: tuple[str, ...] = COMMAND,
    ) -> Screen:  # fmt: skip
        """A command in a terminal of that size; to be used in a `with`."""
        return Screen((*command, *words), columns, rows, {**self._env, **(env or {})})


class Screen:
    """A terminal, and the command that has it."""

    def __init__(self, argv: tuple[str, ...], columns: int, rows: int, env: Mapping[str, str]) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.sent = b""  # all that the command has written
        self._master, slave = os.openpty()
        try:
            self._set_size(slave, columns, rows)
            self._process = subprocess.Popen(
                (sys.executable, "-S", "-c", TAKES_TERMINAL, *argv),
                stdin=slave, stdout=slave, stderr=slave, env=dict(env), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(slave)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        os.close(self._master)
        if kind is not None:
            sys.stderr.write(f"--- its screen ---\n{self.text}\n")

    # -- what can be seen --

    @property
    def lines(self) -> list[str]:
        """What it shows now, without blanks at the ends, the lines that have left it at the top first."""
        gone = [
            "".join(line[number].data for number in range(self._screen.columns)) for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in [*gone, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed by itself, line by line, as before the command."""
        flags = termios.tcgetattr(self._master)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    @property
    def title(self) -> str:
        """The window's, which no text of others may set."""
        return str(self._screen.title)

    def colour(self, word: str) -> str:
        """The colour that the word has where it first stands: `green`; `default` for none."""
        for row, line in enumerate(self._screen.display):
            if word in line:
                return str(self._screen.buffer[row][line.index(word)].fg)
        raise AssertionError(f"{word!r} is not there:\n{self.text}")

    def wait_for(self, what: str | Callable[[Screen], bool]) -> None:
        """Read until the screen has the text, or it is so."""
        is_so = what if callable(what) else lambda screen: what in screen.text
        deadline = time.monotonic() + DEADLINE
        while not is_so(self):
            assert time.monotonic() < deadline, f"never: {what}:\n{self.text}"
            if not self._read(0.05) and self._process.poll() is not None and not self._read(0):
                assert is_so(self), f"it ended without {what}:\n{self.text}"

    def end(self) -> int:
        """Read until the command ends by itself; its exit code."""
        self.wait_for(lambda screen: screen._process.poll() is not None)
        while self._read(0):
            pass
        return self._process.returncode

    def _read(self, seconds: float) -> bool:
        """Take what comes within that time; False for nothing."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.sent += data
        self._stream.feed(data)
        return bool(data)

    # -- what its user does --

    def type(self, text: str) -> None:
        """Keys; `\\r` is Enter, `\\x03` Ctrl-C."""
        os.write(self._master, text.encode())

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        self._set_size(self._master, columns, rows)
        os.killpg(self._process.pid, signal.SIGWINCH)

    @staticmethod
    def _set_size(descriptor: int, columns: int, rows: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
