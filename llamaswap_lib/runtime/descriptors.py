"""File descriptors: how many there may be, how many connections they allow, and the limit that children get.

Any thread that starts a process calls `keep_inherited_descriptors` before, and starts what `at_first_soft_limit` gives.
The loop asks a `DescriptorCapacity`, and a reload changes it. Most systems start a program with a soft limit of 1024
(macOS: 256) and allow it more. Programs that use `select`, or close everything up to their limit, need the low one. So
the limit is raised only when there are more connections than it allows, and children get the limit that we were started
with.

How they get it once it was raised: `posix_spawn` cannot set a limit, so a few lines of Python run in between, which
lower it and then execute the program, some 20 ms later. Rejected: setting it from here when the child runs (a fast one
has read it by then), lowering our own for the moment (other threads would fail), and a shell (it changes the
environment).
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MOST = 65_536  # descriptors that are asked for
RESERVE = 64  # for what is neither a connection nor a model: logs, a body in a file, idle connections to models
EACH_MODEL = 16  # its pipe, its health check, the program that stops it
MODELS = 8  # at most so many of the configured ones are counted
FEWEST = 4  # connections, however low the limit is

# Undoes what Python does to itself when it starts: it ignores two signals, and may set LC_CTYPE.
_LAUNCHER = """
import os, resource, signal, sys
soft, ctype, program, *argv = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.environ.pop("LC_CTYPE", None)
if ctype:
    os.environ["LC_CTYPE"] = ctype[1:]
try:
    os.execv(program, argv)
except OSError as error:
    sys.exit(f"could not start {program}: {error.strerror}")
"""

_limit_lock = threading.Lock()  # held to raise the soft limit, and to start a process
_first_soft_limit: int | None = None  # the one that we were started with, once it has been raised


class DescriptorCapacity:
    """How many connections there are descriptors for, as far as the limits are known; at most `wanted`."""

    def __init__(self, wanted: int, each: int, models: int) -> None:
        """`each`: the descriptors that one connection may need; `models`: how many are configured."""
        self._each = each
        self._in_use = sum(map(_is_open, _may_be_open()))
        self._was_raised = False
        self.change(wanted, models)

    # -- any thread --

    def change(self, wanted: int, models: int) -> None:
        """Use another number of connections, and of models."""
        self._wanted = wanted
        self._reserve = RESERVE + EACH_MODEL * min(models, MODELS)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.connections = self._enough_for(_finite(soft))
        self.most_connections = max(self.connections, self._enough_for(min(MOST, _finite(hard))))  # once it has grown

    # -- loop thread only --

    def grow(self) -> bool:
        """Raise the soft limit, once; whether there is room for more connections now."""
        if self._was_raised or self.connections >= self._wanted:
            return False
        self._was_raised = True
        before, self.connections = self.connections, self._enough_for(_raise_soft_limit())
        return self.connections > before

    def _enough_for(self, descriptors: int) -> int:
        """The connections that `descriptors` allow. At least three quarters of what is free is for connections."""
        free = max(0, descriptors - self._in_use)
        return min(self._wanted, max(FEWEST, (free - min(self._reserve, free // 4)) // self._each))


@functools.cache
def keep_inherited_descriptors() -> None:
    """Close on exec what our parent left open (a lock, a socket); Python does that for all that we open."""
    for descriptor in _may_be_open():
        if descriptor > 2:
            with suppress(OSError):  # closed already, as the listing's own is
                os.set_inheritable(descriptor, False)


@contextmanager
def at_first_soft_limit(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The program and the arguments with which `argv` is started at the soft limit that we were started with.

    A program that cannot be found stays as it is, so that its start gives the error. The limit is not raised meanwhile.
    """
    with _limit_lock:
        program = shutil.which(argv[0]) if _first_soft_limit is not None and sys.executable else None
        if program is None:
            yield argv[0], list(argv)
        else:
            flags = (str(_first_soft_limit), f"={env['LC_CTYPE']}" if "LC_CTYPE" in env else "")
            yield sys.executable, [sys.executable, "-IS", "-c", _LAUNCHER, *flags, program, *argv]


def _raise_soft_limit() -> int:
    """Raise it as far as we may; returns the limit after that."""
    global _first_soft_limit  # noqa: PLW0603 - it is the process's own
    with _limit_lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(MOST, _finite(hard))
        if _finite(soft) < wanted:
            with suppress(OSError, ValueError):  # some systems have another bound besides
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                _first_soft_limit = soft
    return _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _may_be_open() -> list[int]:
    """All descriptors that are open, and perhaps others."""
    try:
        return [int(path.name) for path in Path("/dev/fd").iterdir()]
    except OSError:  # on Linux it leads to /proc, which a sandbox may not have: then what there can be
        return list(range(min(_finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), MOST)))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _finite(limit: int) -> int:
    """RLIM_INFINITY is -1."""
    return MOST if limit == resource.RLIM_INFINITY else limit
