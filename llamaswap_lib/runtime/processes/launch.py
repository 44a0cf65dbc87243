"""How a model's process is started, in plain values; whether its command can be executed; what an error means.

Any thread; checking a command takes a few looks at the file system, some 20 us. It uses the rules by which the system
finds a program, without starting it. It raises what `posix_spawnp` would raise, with a better text where there is one.
What only the start itself can tell (a format that the machine does not know) passes.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.runtime.forward_proxies import ForwardProxy
from llamaswap_lib.runtime.guard.stop_commands import packed

_PASSED_OVER = (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
_OF_OURS = ("through", "shown_programs")
_LATER = {
    "token": "",
    "sleep_path": "",
    "wake_path": "",
    "sleep_timeout": 0.0,
    "sleep_argv": (),
    "wake_argv": (),
    "sleep_check": "",
    "status_argv": (),
}  # of which an earlier version tells nothing
_FIRST_LINE_BYTES = 256  # as much of a script as Linux reads to find its interpreter


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How to start, check and stop one model's upstream, in plain values."""

    model: str
    argv: tuple[str, ...]
    stop_argv: tuple[str, ...]
    """The command that stops it, `${PID}` standing for the leader's; () is SIGTERM to the group."""
    env: tuple[str, ...]
    """NAME=value, added to our own environment; of two with the same name, the later one counts."""
    proxy: str
    """Where its server listens; '' for one that says so itself."""
    check_endpoint: str
    """The path that answers 200 when it is ready; with 'none' it is ready at once."""
    health_timeout: float
    unload_timeout: float
    token: str = ""
    """By which it says where its server listens; '' where that is known."""
    through: ForwardProxy | None = None
    """The proxy on the way to it, if it is on another machine."""
    shown_programs: tuple[tuple[str, str], ...] = ()
    """What to show in place of the first words of argv and stop_argv, which may hold secrets."""
    sleep_path: str = ""
    """A POST to it has the server sleep; '' if a command does, or it cannot."""
    wake_path: str = ""
    sleep_timeout: float = 0.0
    sleep_argv: tuple[str, ...] = ()
    """The command that has it sleep, as `stop_argv`; () if a POST does, or it cannot."""
    wake_argv: tuple[str, ...] = ()
    sleep_check: str = ""
    """A GET to it says whether it sleeps; '' if it does not say."""
    status_argv: tuple[str, ...] = ()
    """The command that exits with 0 while something of an earlier run is there; () for none."""

    def packed_stop(self, pid: int) -> str:
        """The command that stops it, where its leader has that pid, for the guardian; '' is SIGTERM."""
        if not self.stop_argv:
            return ""
        env = dict(entry.partition("=")[::2] for entry in self.env)
        return packed(with_pid(self.stop_argv, pid), env, _working_folder(), self.unload_timeout)

    def describe(self, error: Exception) -> str:
        """What to say of an error, without what is secret of a program's name."""
        if isinstance(error, OSError):
            error.filename = dict(self.shown_programs).get(error.filename, error.filename)
        return describe_error(error) or "not enough memory"

    def described(self) -> dict[str, Any]:
        """For JSON, without what the configuration of the reader says better."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in _OF_OURS}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> LaunchSpec:
        """The same, of that; raises KeyError or TypeError."""
        values: Any = {name: {**_LATER, **described}[name] for name in cls.__slots__ if name not in _OF_OURS}
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def is_same_process(self, other: LaunchSpec) -> bool:
        """Whether both are started, reached, checked, put to sleep and stopped in the same way."""
        return self._process() == other._process()

    def _process(self) -> tuple[object, ...]:
        env = dict(entry.partition("=")[::2] for entry in self.env)
        asleep = self.sleep_path, self.wake_path, self.sleep_argv, self.wake_argv
        return self.argv, self.stop_argv, env, self.proxy, self.check_endpoint, asleep


def check_command(argv: Sequence[str]) -> None:
    """Raise the OSError or ValueError with which the command cannot be started: its program, its working folder.

    The working folder of every model is our own. PATH is our own, too, whatever the model's `env` says.
    """
    if not argv or not argv[0]:
        raise ValueError("the command is empty")
    try:
        os.getcwd()  # noqa: PTH109 - the call is the look
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT, "the folder that llamaswap was started in no longer exists; start it again in another one"
        ) from None
    _find(argv[0])


def with_pid(argv: Sequence[str], pid: int) -> list[str]:
    """The words of a command that is about the process with that pid."""
    return [word.replace("${PID}", str(pid)) for word in argv]


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as above
    except OSError:  # it has been deleted, or may not be read any more; the process that it is for runs already
        return "/"


def _find(word: str) -> None:
    """As execvp does: a word with a slash is a path; others are searched in the folders of PATH, '' being this one."""
    if "/" in word:
        _check_file(word, word)
        return
    refusal: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            _check_file(os.path.join(folder, word), word)  # noqa: PTH118 - with '' it stays relative
        except OSError as error:  # noqa: PERF203 - mostly the first folder that has it is the right one
            if error.errno not in _PASSED_OVER:
                raise
            if isinstance(error, PermissionError | MissingInterpreter) and not isinstance(refusal, PermissionError):
                refusal = error  # a later folder may have another one
        else:
            return
    raise refusal


class MissingInterpreter(FileNotFoundError):
    """A script exists, and the program in its first line does not: an environment that was moved or deleted."""


def _check_file(path: str, word: str) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path is what PATH and the command make together
    except OSError as error:
        error.filename = word
        raise
    has_effective_ids = os.access in os.supports_effective_ids
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK, effective_ids=has_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), word)
    beginning = _beginning_of(path)
    if beginning is not None and _is_no_program(beginning):
        raise OSError(
            errno.ENOEXEC, "it is a text file whose first line does not name an interpreter (#!/bin/sh)", word
        )
    interpreter = _interpreter_in(beginning or b"")
    if interpreter and not os.path.exists(interpreter):  # noqa: PTH110 - bytes
        named = os.fsdecode(interpreter)
        raise MissingInterpreter(errno.ENOENT, f"its interpreter {named!r} does not exist", word)


def _beginning_of(path: str) -> bytes | None:
    """The first bytes of a program; None if we may execute but not read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _FIRST_LINE_BYTES)
    finally:
        os.close(descriptor)


def _interpreter_in(beginning: bytes) -> bytes:
    """The program in the first line of a script; b"" for any other program."""
    line = beginning.partition(b"\n")[0]
    return line[2:].strip(b" \t").replace(b"\t", b" ").partition(b" ")[0] if line.startswith(b"#!") else b""


def _is_no_program(beginning: bytes) -> bool:
    """Whether it is a script that names no shell. Linux refuses it, unless it was told of such a format."""
    is_text = b"\0" not in beginning and not _interpreter_in(beginning)
    return is_text and sys.platform == "linux" and not _knows_other_formats()


def _knows_other_formats() -> bool:
    """Whether Linux was told of formats of programs that it does not know by itself."""
    try:
        return not {"register", "status"}.issuperset(os.listdir("/proc/sys/fs/binfmt_misc"))  # noqa: PTH208 - as above
    except OSError:
        return False


def is_shortage(error: BaseException) -> bool:
    """Whether the error means that this machine has no thread, memory, process or file descriptor left now."""
    if isinstance(error, OSError):
        return error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
    return isinstance(error, MemoryError | RuntimeError)  # "can't start new thread" is a RuntimeError


def describe_error(error: Exception) -> str:
    """`No such file or directory: '/no/such/program'`, without the number in front."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename!r}"
    return str(error)
