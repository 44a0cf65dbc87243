"""A front of several workers is upgraded, and nobody notices."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.fleet import Fleet
from tests.e2e.held import Held
from tests.e2e.installed import Installed
from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, wait_until
from tests.e2e.talk import Wire
from tests.e2e.workers import await_workers, in_flight, kill, worker_of, workers

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")

COUNT = 2  # workers
PAUSE = 0.05  # seconds, so that what starts has the processors
IDLE, STREAMS, CLIENTS = 6, 6, 3
WEBSOCKET = "/upstream/echo/upstream/echo/"  # the front's path to the box, and the box's to its model
SHORT = {"model": "m", **HELLO, "max_tokens": 1}
ECHO = shlex.join((sys.executable, str(Path(__file__).with_name("websocket_echo.py")))) + " ${PORT}"


@contextmanager
def front(folder: Path, held: Held) -> Iterator[Fleet]:
    """A box with `m`, `held`, whose answers last, and `echo`, for WebSockets; before it a front of workers."""
    box = models(m=demo(), held=held.command, echo={"cmd": ECHO, "checkEndpoint": "/health"})
    box["routing"] = {
        "router": {"use": "group", "settings": {"groups": {"all": {"swap": False, "members": [*box["models"]]}}}}
    }
    with Fleet(folder, [box], {}, ("-workers", str(COUNT))) as fleet:
        await_workers(fleet.front, COUNT)
        yield fleet


class Clients:
    """They ask one thing after another, each on one connection, until the end of the block."""

    def __init__(self, front: Program) -> None:
        self._front = front
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answers: list[object] = []  # statuses, and what went wrong

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        try:
            with self._front.wire() as wire:
                while not self._is_over.wait(PAUSE):
                    wire.request("POST", "/v1/chat/completions", SHORT)
                    self.answers.append(wire.answer()[0])
                    wire.request("GET", "/running")
                    assert wire.answer()[0] == 200
        except (OSError, AssertionError, StopIteration) as error:
            self.answers.append(repr(error))


def begin_streams(front: Program, stack: ExitStack) -> list[Wire]:
    """Of several workers."""
    wires: list[Wire] = []
    while len({worker_of(row) for row in in_flight(front)}) < 2:
        assert len(wires) < 10 * STREAMS, "one worker has all"
        wire = stack.enter_context(front.stream("held"))
        wire.read_head_and_first_chunk()
        wires.append(wire)
    return wires


def test_no_request_and_no_connection_is_broken(tmp_path: Path) -> None:
    held = Held(tmp_path)
    with front(tmp_path, held) as fleet, ExitStack() as stack:
        program, old = fleet.front, workers(fleet.front)
        idle = [stack.enter_context(program.wire()) for _ in range(IDLE)]
        for wire in idle:
            wire.request("POST", "/v1/chat/completions", SHORT)
            assert wire.answer()[0] == 200
        streams = begin_streams(program, stack)
        sent = stack.enter_context(program.wire())
        body = json.dumps(SHORT).encode()
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        sent.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body[:10])
        socket = stack.enter_context(connect(f"ws://127.0.0.1:{program.port}{WEBSOCKET}", compression=None))
        socket.send("one")
        assert socket.recv(DEADLINE) == "one"
        with Clients(program) as clients:
            wait_until(lambda: len(clients.answers) >= CLIENTS, "they ask")
            told = program.upgrade()
            before = len(clients.answers)
            wait_until(lambda: len(clients.answers) >= before + 3 * CLIENTS, "they go on")
        assert set(clients.answers) == {200}
        assert told["pid_before"] == program.before.pid
        assert len(workers(program) - old) == COUNT
        again = program.post("/api/upgrade", None)
        assert (again.status, "still serves " in again.text) == (409, True)
        socket.send("two")
        assert socket.recv(DEADLINE) == "two"
        socket.close()
        sent.send(body[10:])
        assert sent.answer()[0] == 200
        held.end(*streams)
        assert program.before.wait(DEADLINE) == 0
        assert not workers(program) & old
        for wire in (*idle, sent, *streams):
            wire.request("GET", "/api/version")
            assert wire.answer()[0] == 200
            wire.request("POST", "/v1/chat/completions", SHORT)
            assert wire.answer()[0] == 200
        asked = len(clients.answers) + 2 * IDLE + 2 * (len(streams) + 1)
        wait_until(lambda: row_count(program) == asked, "each has one row")


def row_count(front: Program) -> int:
    """How many rows there are: a worker notes a request behind its answer, while another one is already asked."""
    count: int = front.get("/api/metrics/activity?limit=1").json()["total"]
    return count


def test_what_is_in_old_workers_ends_well_when_the_new_parent_is_killed(tmp_path: Path) -> None:
    held = Held(tmp_path)
    with front(tmp_path, held) as fleet, ExitStack() as stack:
        program, old = fleet.front, workers(fleet.front)
        streams = begin_streams(program, stack)
        program.upgrade()
        wait_until(lambda: program.get("/api/inflight").json()["requests"] == [], "others serve")
        kill(program.process.pid)
        program.wait()
        held.end(*streams)
        assert program.before.wait(DEADLINE) == 0
        wait_until(lambda: not workers(program) - old, "all workers end with their parents")
        program.code = 0


def test_a_new_version_whose_workers_break_changes_nothing(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    installed = Installed(folder)
    config = {"peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}}
    with run_program(config, flags=("-workers", str(COUNT)), command=installed.command) as program:
        await_workers(program, COUNT)
        before = workers(program)
        installed.append("workers/worker.py", "def main(_): raise SystemExit('no')")
        failed = program.post("/api/upgrade", None)
        why = "the new process ended before it was ready: llamaswap: not all of its workers can be started"
        assert (failed.status, why in failed.text) == (500, True), failed.text
        wait_until(lambda: workers(program) == before, "the others are gone")
        assert program.get("/running").status == 200


def test_a_new_process_without_workers_takes_over_all_the_same(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    installed = Installed(folder)
    config = {"peers": {"box": {"proxy": "http://127.0.0.1:9", "models": ["m"]}}}
    flags = ("-workers", str(COUNT))
    with run_program(config, flags=flags, command=installed.command) as program, program.wire() as idle:
        await_workers(program, COUNT)
        idle.request("GET", "/running")
        assert idle.answer()[0] == 200
        installed.append("commands/arguments.py", "def worker_count(_): return 1")
        program.upgrade()
        for _ in range(10 * COUNT):
            assert program.get("/running").status == 200
        assert program.before.wait(DEADLINE) == 0
        assert workers(program) == set()
        idle.request("GET", "/running")
        assert idle.answer()[0] == 200
