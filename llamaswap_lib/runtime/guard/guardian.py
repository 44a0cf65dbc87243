"""The guardian as llamaswap sees it: a child process that stops every model when llamaswap ends, in whatever way.

It is started with the first model, so that it does not delay the start of llamaswap, and again at once when it dies
(the thread `guardian` sleeps in `wait` until then). Its program is read at our start and sent to it through a pipe, so
that it can be started when the files are gone, or are those of another version. Guarantees: when `marks` has returned,
all processes that are started with these marks are stopped within GRACE and one look after our own death, wherever they
went; and the stop command of each group that was added is run, for MOST_SECONDS at most. What it can miss: a program
that drops its environment (sudo, a title that is written over it), and a stop command, if we die in the microseconds
between a start and `add`; everything, if the guardian is killed together with us (the next start finds what has the
marks); and on a system without /proc, programs whose environment `ps` may not show.

At the start, the thread `leftovers` stops what earlier runs of llamaswap have left, and waits for the guardians of
those, whose commands could stop what we start; no model is started before that is done. Rejected: PR_SET_PDEATHSIG
(sent when the thread ends, not to grandchildren, Linux only), and a state file (it is soon out of date, and would have
to tell our children from those of a second llamaswap).
"""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from llamaswap_lib.runtime.descriptors import keep_inherited_descriptors
from llamaswap_lib.runtime.guard.stop_commands import await_guardians
from llamaswap_lib.runtime.guard.sweep import end, leftovers
from llamaswap_lib.runtime.guard.table import (
    GUARDIAN_MARKER,
    HAS_PROC,
    HEIR_MARKER,
    MARKER,
    ProcessEntry,
    command_of,
    look,
    mark_of,
    new_token,
)
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.vital import Failures, VitalThread, report

_PROGRAM_DESCRIPTOR = 3  # from which a guardian reads its program
_PIECE_BYTES = 400  # less than PIPE_BUF, which is 512 at least
_HIGH = 10  # descriptors from here on are not used by the guardian
_MODULES = {  # its program: our modules, each after those that it imports, and the name that each gets
    "llamaswap_lib.runtime.guard.table": "llamaswap_lib.runtime.guard.table",
    "llamaswap_lib.runtime.guard.sweep": "llamaswap_lib.runtime.guard.sweep",
    "llamaswap_lib.runtime.guard.stop_commands": "llamaswap_lib.runtime.guard.stop_commands",
    "llamaswap_lib.runtime.guard.__main__": "__main__",
}
_BOOT = f"""
import marshal, sys
with open({_PROGRAM_DESCRIPTOR}, "rb") as program:
    modules = marshal.load(program)
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    exec(code, vars(module))
"""
_SHORTEST_LIFE = 1.0  # seconds; a guardian that dies sooner is replaced after a pause, which doubles each time
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 60.0
_BLOCKED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP}


class Guardian:
    """Starts the guardian, keeps it alive and tells it what runs."""

    def __init__(self, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._program = _program()
        self._token = ""
        self._is_clean = threading.Event()  # the leftovers are gone
        self._cleaning: threading.Thread | None = None
        self._closing = threading.Event()
        self._pause = 0.0  # before the next guardian; the thread's own
        self._lock = threading.Lock()  # protects what follows
        self._groups: dict[int, str] = {}  # with the command that stops it, packed; '' for none
        self._pipe = -1  # while there is a guardian: its stdin
        self._pid = 0  # of the last one that was started here
        self._thread: threading.Thread | None = None

    # -- main thread --

    def start(self) -> None:
        """Stop what earlier runs of llamaswap have left, on a thread of its own."""
        self._cleaning = VitalThread(self._clean, "leftovers")
        self._cleaning.start()

    def heir_environment(self) -> Mapping[str, str]:
        """What a process that is to take over is started with; blocks while leftovers are stopped.

        By it everybody sees that the models will have an owner when we have gone.
        """
        self._is_clean.wait()
        return {HEIR_MARKER: self._token}

    def hand_over(self) -> tuple[dict[str, Any], list[int]]:
        """What our heir needs to go on with the same guardian, and descriptors, which the caller closes.

        The guardian ends the models when neither of us has its pipe any more. Call it after `heir_environment`. Raises
        OSError.
        """
        with self._lock:
            state = {"token": self._token, "groups": sorted(self._groups.items()), "pid": self._pid}
            if self._pipe < 0:
                return state, []
            try:
                ended = os.pidfd_open(self._pid)
            except ProcessLookupError:  # it has just died
                return state, []
            return state, [os.dup(self._pipe), ended]

    def adopt(self, state: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Go on with the guardian of the process before, in place of `start`; owns the descriptors from now on."""
        with self._lock:
            self._token = str(state["token"])
            self._groups, self._pid = _groups_of(state["groups"]), int(state["pid"])
            if descriptors:
                self._pipe, ended = descriptors
                self._thread = VitalThread(partial(self._watch_adopted, ended), "guardian")
                self._thread.start()
            elif self._groups:
                self._start()
        self._is_clean.set()

    def retire(self) -> None:
        """Our heir goes on with it. We only hold its pipe until we end, for the sake of requests in progress."""
        with self._lock:
            self._closing.set()
            self._thread = None

    def close(self, timeout: float) -> None:
        """Let the guardian stop what is left, and then end; waits for `timeout` seconds at most."""
        with self._lock:
            self._closing.set()
            self._drop_pipe()
            threads = (self._cleaning, self._thread)
        deadline = time.monotonic() + timeout
        for thread in filter(None, threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    # -- any thread --

    def marks(self, run_id: int) -> Mapping[str, str]:
        """What goes into the environment of a process of that run; blocks while leftovers are stopped."""
        self._is_clean.wait()
        with self._lock:
            self._start_if_needed()
        return {MARKER: mark_of(self._token, run_id)}

    def leftovers(self) -> list[int]:
        """The processes whose end `marks` waits for; none, without a look, when that is done."""
        return [] if self._is_clean.is_set() else [entry.pid for entry in leftovers(look(), os.geteuid())]

    def has(self, group: int) -> bool:
        """Whether it was added, and has processes left."""
        return group in self._groups

    def add(self, group: int, stop_command: str = "") -> None:
        """A group was started; the command that stops it, packed, is run too if we die before it ends."""
        with self._lock:
            self._groups[group] = stop_command
            self._tell_of(group)

    def remove(self, group: int) -> None:
        """No process of the group is left."""
        with self._lock:
            self._groups.pop(group, None)
            self._tell(b"-%d\n" % group)

    # -- under the lock --

    def _tell_of(self, group: int) -> None:
        """That it runs, and by which command it is stopped, in pieces that a pipe takes whole or not at all."""
        command = self._groups[group].encode()
        for at in range(0, len(command), _PIECE_BYTES):
            if not self._tell(b">%d %s\n" % (group, command[at : at + _PIECE_BYTES])):
                break  # without its end it is known to be no command; without its middle it might be another one
        self._tell(b"+%d\n" % group)

    def _tell(self, line: bytes) -> bool:
        """Never blocks; whether it is told. A guardian that is gone is replaced by the thread, and told all again."""
        try:
            if self._pipe >= 0:
                os.write(self._pipe, line)
        except BlockingIOError:
            self._log.error(
                "the guardian does not read its messages any more"
            )  # stopped by hand: its pipe holds thousands of lines
            return False
        except OSError:
            pass
        return True

    def _start_if_needed(self) -> None:
        if self._pipe < 0 and not self._closing.is_set():
            self._start()

    def _start(self) -> None:
        """A guardian that knows what runs, and a thread that waits for its end."""
        keep_inherited_descriptors()
        try:
            with ExitStack() as for_the_child, ExitStack() as unless_started:
                stdin, self._pipe = os.pipe()
                for_the_child.callback(os.close, stdin)
                os.set_blocking(self._pipe, False)
                for group in self._groups:  # before it is there: it knows them though we die in the next moment
                    self._tell_of(group)
                program, handing = os.pipe()
                for_the_child.callback(os.close, program)
                pipe = unless_started.enter_context(os.fdopen(handing, "wb", buffering=0))
                os.set_blocking(handing, False)
                handed_bytes = pipe.write(self._program) or 0  # mostly all of it: then nothing is lost if we die now
                os.set_blocking(handing, True)
                pid = _spawn(stdin, program, self._token)
                watch = partial(self._watch, pid, pipe, self._program[handed_bytes:])
                self._thread = VitalThread(watch, "guardian")
                self._thread.start()
                self._pid = pid
                unless_started.pop_all()
        except (OSError, RuntimeError, MemoryError) as error:
            self._drop_pipe()
            self._log.error(f"could not start the guardian, so models may keep running after a crash: {error}")

    def _drop_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    # -- thread guardian --

    def _watch(self, pid: int, pipe: IO[bytes], rest: bytes) -> None:
        """`pipe` leads to it, for the `rest` of its program."""
        begun = self._clock()
        try:
            with suppress(OSError), pipe:  # it may have ended already
                while rest:
                    rest = rest[pipe.write(rest) :]
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # SIGCHLD is ignored: it has ended all the same
        self._replace_for_sure(has_lived=self._clock() - begun >= _SHORTEST_LIFE)

    def _watch_adopted(self, ended: int) -> None:
        """`ended`: its pidfd, for it is not a child of ours."""
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll()
        finally:
            os.close(ended)
        self._replace_for_sure(has_lived=True)

    def _replace_for_sure(self, *, has_lived: bool) -> None:
        failures = Failures("guardian", self._log.error)
        while True:
            try:
                return self._replace(has_lived=has_lived)
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread
                failures.endure()

    def _replace(self, *, has_lived: bool) -> None:
        """Start another one, unless we are closing."""
        with self._lock:
            if self._closing.is_set():
                return
            self._drop_pipe()
        self._pause = 0.0 if has_lived else self._longer_pause()
        self._log.warn(
            f"the guardian has ended; another one starts {f'in {self._pause:g} s' if self._pause else 'now'}"
        )
        while not self._closing.wait(self._pause):
            with self._lock:
                self._start_if_needed()  # or a model that came meanwhile has
                if self._pipe >= 0:
                    return
            self._pause = self._longer_pause()

    def _longer_pause(self) -> float:
        return min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)

    # -- thread leftovers --

    def _clean(self) -> None:
        try:
            self._token = new_token()
            if not HAS_PROC:
                self._log.warn(
                    "there is no /proc, so a process that leaves its model's process group keeps running when the"
                    " model is stopped"
                )
            told: set[int] = set()

            def choose(entries: list[ProcessEntry], known: Mapping[int, str]) -> list[ProcessEntry]:
                found = leftovers(entries, os.geteuid(), known=known)
                for entry in found:
                    if entry.pid not in told:
                        told.add(entry.pid)
                        # The name alone: arguments may hold secrets.
                        program = Path(command_of(entry.pid).partition(" ")[0]).name
                        self._log.warn(
                            f"stopping a process that an earlier run of llamaswap left: {entry.pid}, {program}"
                        )
                return found

            try:
                if not end(choose):
                    self._log.error("a process that an earlier run of llamaswap left cannot be stopped")
                await_guardians()
            except Exception:  # noqa: BLE001 - models can be started all the same
                report("leftovers", self._log.error)
        finally:
            self._is_clean.set()


def _groups_of(handed: Iterable[Any]) -> dict[int, str]:
    """As `Guardian._groups`, of pairs, or of the numbers alone, as versions had it whose guardian ran no commands.

    A guardian of such a version ends at the first command that it is told of, and is replaced as any that has ended.
    """
    return dict((one, "") if isinstance(one, int) else one for one in handed)


def _program() -> bytes:
    """The program of a guardian, read now: the files may be gone when it has to be started."""
    codes = [(known_as, find_spec(name).loader.get_code(name)) for name, known_as in _MODULES.items()]  # type: ignore[union-attr]  # they are there
    return marshal.dumps(codes)


def _spawn(stdin: int, program: int, token: str) -> int:
    """Start a guardian; its pid. It gets these two descriptors only; no signal can end it before it is ready."""
    if not sys.executable:
        raise OSError("the Python that runs us is unknown")
    env = {name: value for name, value in os.environ.items() if name != MARKER}
    high = fcntl.fcntl(
        program, fcntl.F_DUPFD_CLOEXEC, _HIGH
    )  # for a descriptor that becomes itself stays closed on exec
    try:
        return os.posix_spawn(
            sys.executable,
            (sys.executable, "-IS", "-c", _BOOT, token),
            {**env, GUARDIAN_MARKER: token},
            file_actions=(
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, high, _PROGRAM_DESCRIPTOR),
            ),
            setsid=True,
            setsigmask=_BLOCKED,
        )
    finally:
        os.close(high)
