"""Work on text that a client has sent, in a child process: with limits on its processor time and its memory.

Any thread. The child is a copy of this process (`fork`), so it needs no file of the program. Requests are served
meanwhile, whatever the work does: it takes neither the interpreter lock nor memory from them. The child has none of our
descriptors except the pipe for its result, and does only the work, which must be pure: no thread, lock or file. There
is one piece of work at a time; a second one waits a little, and is then refused. The locks of modules that are being
imported would be locked in the child for ever: `importing` keeps children off meanwhile.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NoReturn

from llamaswap_lib.errors import OutOfResources, ServiceUnavailable

CPU_SECONDS = 10
MEMORY_BYTES = 512 << 20  # more than before the work
RESULT_BYTES = 16 << 20
PATIENCE = 5.0  # seconds to wait for other work
TIMEOUT = 60.0  # seconds, if the machine is so busy that the limit of processor time is not reached
PIECE_BYTES = 1 << 16
DONE, FAILED = b"\n", b"!"
MOST_DESCRIPTORS = 1 << 20  # if the system has no limit


class TooMuchWork(Exception):
    """The work needs more time or memory than it may have."""


def _fork() -> int:
    with warnings.catch_warnings():  # it warns of other threads, which matters only if the child waits for one
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class Apart:
    """Does work in a child process."""

    def __init__(
        self,
        *,
        cpu_seconds: int = CPU_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        fork: Callable[[], int] = _fork,
    ) -> None:
        self._cpu_seconds = cpu_seconds
        self._memory_bytes = memory_bytes
        self._fork = fork
        self._one_at_a_time = threading.Lock()
        self._forking = threading.Lock()  # held to make a child, or to import what one may need

    def importing(self) -> AbstractContextManager[object]:
        """While it is entered no child begins. For what takes milliseconds: `run` waits."""
        return self._forking

    def run(self, work: Callable[[], bytes], patience: float = PATIENCE) -> bytes:
        """What `work` returns. Raises TooMuchWork, OutOfResources, or ServiceUnavailable while there is other work.

        Raises RuntimeError for an exception in `work`.
        """
        if not self._one_at_a_time.acquire(timeout=patience):
            raise ServiceUnavailable("another text is being checked")
        try:
            return self._run(work)
        except OSError as error:
            raise OutOfResources(f"no process can be started: {error.strerror}") from error
        finally:
            self._one_at_a_time.release()

    def _run(self, work: Callable[[], bytes]) -> bytes:
        reader, writer = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())  # until the child has its own
        try:
            with self._forking:
                pid = self._fork()
            if pid == 0:
                self._work(work, writer)
        except BaseException:
            os.close(reader)
            os.close(writer)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writer)
        try:
            result = _read(reader, time.monotonic() + TIMEOUT)
        finally:
            os.close(reader)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it has ended, or must end now
            os.waitpid(pid, 0)
        if result.endswith(FAILED):
            raise RuntimeError(result.decode(errors="replace"))
        if not result.endswith(DONE):
            raise TooMuchWork
        return result[:-1]

    def _work(self, work: Callable[[], bytes], writer: int) -> NoReturn:
        """What the child does. The last byte says if there is a result; without it, a limit has ended the child."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, for the whole group
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.dup2(writer, 0)
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            os.closerange(1, min(most, MOST_DESCRIPTORS) if most > 0 else MOST_DESCRIPTORS)
            self._limit()
            rest = memoryview(_result_of(work))
            while rest:
                rest = rest[os.write(0, rest) :]
        finally:
            os._exit(0)

    def _limit(self) -> None:
        with suppress(OSError):  # if memory is short, the system kills the child and not llamaswap
            Path("/proc/self/oom_score_adj").write_text("1000")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (self._cpu_seconds, self._cpu_seconds + 1))
        with suppress(OSError, ValueError):  # without /proc there is no limit of memory, only of time
            pages = int(Path("/proc/self/statm").read_bytes().split()[0])
            most_bytes = pages * os.sysconf("SC_PAGE_SIZE") + self._memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def _result_of(work: Callable[[], bytes]) -> bytes:
    """What it returns, or what went wrong, with the byte that says which; b"" if memory has run out."""
    try:
        return work() + DONE
    except MemoryError:
        return b""
    except BaseException:  # noqa: BLE001 - it is told on the other side
        return "".join(traceback.format_exception_only(*sys.exc_info()[:2])).encode(errors="replace") + FAILED


def _read(reader: int, deadline: float) -> bytes:
    """All that the child writes; raises TooMuchWork for a result that is too late or too long."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    pieces: list[bytes] = []
    size_bytes = 0
    while size_bytes <= RESULT_BYTES and poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        piece = os.read(reader, PIECE_BYTES)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size_bytes += len(piece)
    raise TooMuchWork
