"""The real program where the system gives it no more memory for a while: nobody waits for ever, and it goes on."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import demo, models, wait_until
from tests.e2e.talk import Cut, Wire
from tests.shortage import HAS_ARENAS, count_arenas

CLIENTS = 60
ROUNDS = 3
LITTLE_KB = 400_000
FOLLOWING = b"GET /logs/stream HTTP/1.1\r\nHost: x\r\n\r\n"  # which needs a thread for as long as it lasts
SHORT = "there is no thread for the request"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process, and /proc")


def address_space_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_program_that_gets_no_more_memory_answers_or_hangs_up_and_serves_again_when_it_does(
    run_program: RunProgram,
) -> None:
    with run_program(models(m=demo()), is_hurt=True) as program:
        assert program.chat("m").status == 200
        pid = program.process.pid
        _, hard = limit = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(pid, resource.RLIMIT_AS, (address_space_bytes(pid), hard))
        crowd = [Wire(program.port) for _ in range(CLIENTS)]
        for wire in crowd:
            wire.send(FOLLOWING)
        wait_until(lambda: SHORT in program.stdout, "it runs short of memory")
        assert {leave(wire) for wire in crowd} <= {0, 200, 503}
        resource.prlimit(pid, resource.RLIMIT_AS, limit)
        assert program.chat("m").status == 200
        assert program.get("/health").status == 200


def leave(wire: Wire) -> int:
    """Leave behind the head of the answer; its status, 0 where the connection was closed instead."""
    with wire:
        return status_of(wire)


def status_of(wire: Wire) -> int:
    """Of the answer; 0 where the connection was closed instead."""
    try:
        return wire.status()
    except (Cut, ConnectionError):
        return 0


def test_a_program_with_little_address_space_serves_as_before_when_a_crowd_has_gone(run_program: RunProgram) -> None:
    limited = ("sh", "-c", f'ulimit -v {LITTLE_KB}; exec "$@"', "sh")
    with run_program(models(m=demo()), is_hurt=True, wrapper=limited) as program:
        assert program.chat("m").status == 200
        for _ in range(ROUNDS):
            crowd = [Wire(program.port) for _ in range(CLIENTS)]
            for wire in crowd:
                wire.send(FOLLOWING)
            answers = {status_of(wire) for wire in crowd}  # all of them stay until each has its answer
            for wire in crowd:
                wire.close()
            assert {200, 503} <= answers <= {0, 200, 503}
        assert "Traceback" not in program.stdout
        assert not HAS_ARENAS or not count_arenas(Path(f"/proc/{program.process.pid}/smaps").read_text())
        assert program.chat("m").status == 200
        assert program.get("/health").status == 200
