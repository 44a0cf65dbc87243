"""A run that another process has started, taken over with its output: real programs, both sides in one process."""

from __future__ import annotations

import os
import queue
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.core.events import Event, LeaderExited, LoadTimedOut, ProcessExited, ProcessReady
from llamaswap_lib.runtime.ourselves import Ourselves
from llamaswap_lib.runtime.processes.adopted import UNKNOWN_EXIT, AdoptedProcess
from llamaswap_lib.runtime.processes.launch import LaunchSpec
from tests.children import health_server, shell, stubborn
from tests.runtime.runs import PATIENCE, Run, Unguarded, await_condition, await_death, is_alive

SLEEP = ("sleep", "60")
TOKEN = "t.o.k"


class Heir:
    """The other side of a `Run`: its process, adopted."""

    def __init__(self, elder: Run, *, loading_since: float | None = None, address: str = "") -> None:
        """`address`: where it says that it listens, before it is watched here."""
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._printed = threading.Condition()
        self.output = bytearray()
        self.guard = Unguarded(TOKEN)
        handed, copies = elder.handed()
        self.guard.groups += elder.guard.groups
        spec = LaunchSpec.read(handed["spec"])
        read_end = copies[0] if copies else None
        self.process = AdoptedProcess(
            7, spec, self.events.put, self._print, self.guard, Ourselves(), None, handed, read_end
        )
        self.is_let_go = elder.process.let_go()
        if self.is_let_go:
            elder.guard.groups.clear()  # who is told of its end is the heir's
        self.process.settle(is_of_elder=not self.is_let_go, loading_since=loading_since)
        if address:
            self.process.probe(address)
        self.process.start()

    def _print(self, data: bytes) -> None:
        with self._printed:
            self.output += data
            self._printed.notify_all()

    def expect(self, kind: type[Any]) -> Any:
        event = self.events.get(timeout=PATIENCE)
        assert isinstance(event, kind), event
        return event

    def await_output(self, text: str) -> None:
        with self._printed:
            assert self._printed.wait_for(lambda: text.encode() in self.output, PATIENCE), bytes(self.output)

    def end(self) -> None:
        self.process.kill()
        self.process.note_elder_gone()
        while not isinstance(self.events.get(timeout=PATIENCE), ProcessExited):
            pass


@contextmanager
def adopted(elder: Run, **options: Any) -> Iterator[Heir]:
    """Ends what is left of it."""
    heir = Heir(elder, **options)
    try:
        yield heir
    finally:
        if heir.guard.groups:
            heir.end()


def test_it_goes_on_with_its_output_and_the_elder_tells_how_it_exits() -> None:
    with Run(*shell("trap 'echo asked; exit 3' TERM; echo begun; while :; do sleep 0.01; done")) as elder:
        elder.expect(ProcessReady)
        elder.await_output("begun")
        with adopted(elder) as heir:
            assert heir.is_let_go
            assert heir.process.pid == elder.process.pid
            assert heir.process.output.last_words() == ("begun",)
            heir.process.stop()
            heir.await_output("asked")
            heir.process.hear(elder.expect(LeaderExited).detail, is_gone=False)
            assert heir.expect(ProcessExited).detail == "exited with code 3"
            elder.expect(ProcessExited)
        assert b"asked" not in elder.output


def test_a_crash_is_told_at_once_and_what_is_left_is_ended() -> None:
    with Run(*shell("sleep 60 & echo other $!; sleep 60"), token=TOKEN) as elder:
        elder.expect(ProcessReady)
        other = elder.printed_pid("other")
        with adopted(elder) as heir:
            os.kill(heir.process.pid or 0, signal.SIGKILL)
            heir.process.hear(elder.expect(LeaderExited).detail, is_gone=False)
            assert heir.expect(LeaderExited).detail == "killed by SIGKILL"
            assert heir.expect(ProcessExited).detail == "killed by SIGKILL"
            assert await_death(other)
            elder.expect(ProcessExited)


def test_how_it_exits_is_not_known_when_the_elder_has_gone() -> None:
    with Run(*SLEEP) as elder:
        elder.expect(ProcessReady)
        with adopted(elder) as heir:
            heir.process.note_elder_gone()
            os.kill(heir.process.pid or 0, signal.SIGKILL)
            assert heir.expect(LeaderExited).detail == UNKNOWN_EXIT
            assert heir.expect(ProcessExited).detail == UNKNOWN_EXIT


def test_one_that_loads_is_probed_on(tmp_path: Path, port: int) -> None:
    sign = tmp_path / "sign"
    loading = shlex.join(health_server(port))
    overrides = {"proxy": f"http://127.0.0.1:{port}", "check_endpoint": "/health"}
    with Run(*shell(f"while [ ! -e {sign} ]; do sleep 0.01; done; exec {loading}"), **overrides) as elder:
        assert await_condition(lambda: elder.process.pid is not None)
        with adopted(elder, loading_since=time.monotonic()) as heir:
            sign.touch()
            heir.expect(ProcessReady)


def test_the_time_to_load_ends_in_the_heir(port: int) -> None:
    with Run(*SLEEP, proxy=f"http://127.0.0.1:{port}", check_endpoint="/health") as elder:
        assert await_condition(lambda: elder.process.pid is not None)
        with adopted(elder, loading_since=time.monotonic() - PATIENCE) as heir:
            timed_out = heir.expect(LoadTimedOut)
    assert timed_out.detail == f"not ready after {PATIENCE:g} s; last health answer: none"


def test_the_time_to_load_of_one_that_says_anew_where_it_listens_begins_then(port: int) -> None:
    with Run(*health_server(port), proxy="", check_endpoint="/health") as elder:
        assert await_condition(lambda: elder.process.pid is not None)
        long_ago, address = time.monotonic() - PATIENCE, f"http://127.0.0.1:{port}"
        with adopted(elder, loading_since=long_ago, address=address) as heir:
            assert heir.expect(ProcessReady).address == address
            heir.process.kill()
            heir.process.hear("killed", is_gone=False)
            heir.expect(ProcessExited)


def test_cmd_stop_is_run_by_the_heir() -> None:
    stop = ("sh", "-c", "echo stopping ${PID}; kill ${PID}")
    with Run(*SLEEP, stop_argv=stop) as elder:
        elder.expect(ProcessReady)
        with adopted(elder) as heir:
            pid = heir.process.pid
            heir.process.stop()
            heir.await_output(f"stopping {pid}")
            heir.process.hear(elder.expect(LeaderExited).detail, is_gone=False)
            heir.expect(ProcessExited)


def test_one_whose_end_has_begun_is_ended_by_the_elder() -> None:
    with Run(*stubborn()) as elder:
        elder.expect(ProcessReady)
        elder.await_output("stubborn")
        elder.process.stop()
        with adopted(elder) as heir:
            assert not heir.is_let_go
            elder.process.kill()
            heir.process.hear(elder.exit_detail(), is_gone=True)
            assert heir.expect(LeaderExited).detail
            assert heir.expect(ProcessExited).detail == "killed by SIGKILL"


def test_one_whose_end_has_begun_is_ended_by_the_heir_if_the_elder_dies() -> None:
    with Run(*stubborn(), unload_timeout=0.1) as elder:
        elder.expect(ProcessReady)
        elder.await_output("stubborn")
        elder.process.stop()
        with adopted(elder) as heir:
            pid = heir.process.pid or 0
            heir.process.note_elder_gone()
            heir.process.kill()
            heir.expect(ProcessExited)
            assert not is_alive(pid)


def test_one_that_does_not_run_yet_when_it_could_be_handed_over_is_ended_whatever_has_come_of_it_since() -> None:
    for begins_meanwhile in (False, True):
        run = Run(*SLEEP)
        assert run.process.hand_over() is None  # it has not been started
        with run as elder:
            if begins_meanwhile:
                elder.expect(ProcessReady)
            assert not elder.process.let_go()
            elder.exit_detail()


def test_all_goes_on_when_the_heir_does_not_come() -> None:
    with Run(*shell("echo begun; read line; exit 0")) as elder:
        elder.expect(ProcessReady)
        _, copies = elder.handed()
        for copy in copies:
            os.close(copy)
        elder.process.keep()
        elder.await_output("begun")


@pytest.mark.parametrize("name", ["argv", "stop_argv", "env", "proxy", "check_endpoint"])
def test_a_spec_is_the_same_after_its_way_and_another_process_is_known(name: str) -> None:
    spec = LaunchSpec("m", ("a",), (), ("A=1",), "http://h", "/health", 1.0, 2.0)
    read = LaunchSpec.read({**spec.described(), "argv": list(spec.argv)})
    assert read == spec
    assert read.is_same_process(spec)
    changed = {**spec.described(), name: ("other",) if name in ("argv", "stop_argv", "env") else "other"}
    assert not LaunchSpec.read(changed).is_same_process(spec)
