"""A process under test: started with a few words, with what it posted and printed to wait for."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from llamaswap_lib.core.events import Event, ProcessExited
from llamaswap_lib.runtime.guard.guardian import Guardian
from llamaswap_lib.runtime.guard.table import MARKER, mark_of
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from llamaswap_lib.runtime.processes.process import Process

PATIENCE = 30.0
_Event = TypeVar("_Event")


class Unguarded(Guardian):
    """Guards nobody, and remembers which groups are said to run. With a token it has marks."""

    def __init__(self, token: str = "") -> None:
        self.groups: list[int] = []
        self._token = token

    def marks(self, run_id: int) -> dict[str, str]:
        return {MARKER: mark_of(self._token, run_id)} if self._token else {}

    def add(self, group: int, stop_command: str = "") -> None:
        self.groups.append(group)

    def remove(self, group: int) -> None:
        self.groups.remove(group)


class Run:
    """Posted events and output of one `Process`; leaving the block kills what is left and waits for the exit."""

    def __init__(self, *argv: str, **overrides: Any) -> None:
        token = overrides.pop("token", "")  # the owner's, for marks
        clock, kills = overrides.pop("clock", time.monotonic), overrides.pop("kills", lambda: None)
        values: dict[str, Any] = {"stop_argv": (), "env": (), "proxy": "http://localhost:1", "check_endpoint": "none"}
        values |= {"health_timeout": PATIENCE, "unload_timeout": PATIENCE, **overrides}
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._printed = threading.Condition()
        self.output = bytearray()
        self.output_at_exit = b""
        self._has_exited = False
        self.guard = Unguarded(token)
        spec = LaunchSpec("m", argv, **values)
        self.process = Process(7, spec, self._post, self._print, self.guard, clock=clock, kills=kills)

    def __enter__(self) -> Run:
        self.process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        while not self._has_exited:
            self.next_event()
        assert self.events.empty(), "something was posted after the exit"
        assert not self.guard.groups, "the guard was not told of the end"

    def _post(self, event: Event) -> None:
        if isinstance(event, ProcessExited):
            self.output_at_exit = bytes(self.output)
        self.events.put(event)

    def _print(self, data: bytes) -> None:
        with self._printed:
            self.output += data
            self._printed.notify_all()

    def next_event(self) -> Event:
        event = self.events.get(timeout=PATIENCE)
        self._has_exited |= isinstance(event, ProcessExited)
        return event

    def expect(self, kind: type[_Event]) -> _Event:
        """The next event, which is of this kind."""
        event = self.next_event()
        assert isinstance(event, kind), event
        return event

    def exit_detail(self) -> str:
        """How it exited; what it posted before is skipped."""
        while not isinstance(event := self.next_event(), ProcessExited):
            pass
        assert event.run_id == 7
        return event.detail

    @contextmanager
    def held_output(self) -> Iterator[None]:
        """The thread that hands output on waits until the end of the block."""
        with self._printed:
            yield

    def await_output(self, text: str) -> None:
        with self._printed:
            assert self._printed.wait_for(lambda: text.encode() in self.output, PATIENCE), bytes(self.output)

    def handed(self) -> tuple[dict[str, Any], list[int]]:
        """What is handed over of the process, which runs."""
        handed = self.process.hand_over()
        assert handed is not None
        return handed

    def printed_pid(self, label: str) -> int:
        """The number printed after the label."""
        self.await_output(f"{label} ")
        with self._printed:
            assert self._printed.wait_for(lambda: b"\n" in self.output.partition(f"{label} ".encode())[2], PATIENCE)
        return int(self.output.partition(f"{label} ".encode())[2].split()[0])


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    """Meanwhile each start of a thread fails: no address space holds such a stack."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def is_alive(pid: int) -> bool:
    """Whether a thread of the process has not exited; a zombie's have."""
    try:
        threads = [stat.read_bytes() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(stat.rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X") for stat in threads)


def await_condition(is_met: Callable[[], bool]) -> bool:
    """Whether it is met in time, where there is no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not is_met() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return is_met()


def await_death(pid: int) -> bool:
    """Whether the process ends in time; for one that is nobody's child."""
    return await_condition(lambda: not is_alive(pid))


def end(pid: int) -> None:
    """SIGKILL to one that left its group."""
    os.kill(pid, 9)
    assert await_death(pid)
