"""The real program where the system gives it no more memory for a while: nobody waits for ever, and it goes on."""

from __future__ import annotations

import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.talk import Wire
from tests.shortage import HAS_ARENAS, count_arenas

CLIENTS = 60
ROUNDS = 3
LITTLE_KB = 400_000
HALF_A_REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"

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
        waiting = [Wire(program.port) for _ in range(CLIENTS)]  # each needs a thread, which needs memory
        for wire in waiting:
            wire.send(HALF_A_REQUEST)
        wait_until(lambda: "cannot serve a connection" in program.stdout, "it runs short of memory")
        resource.prlimit(pid, resource.RLIMIT_AS, limit)
        for wire in waiting:
            with suppress(OSError):  # it was turned away
                wire.sock.shutdown(socket.SHUT_WR)
            said = wire.rest()
            assert not said or said.startswith(b"HTTP/1.1 503 "), said
            wire.close()
        assert program.chat("m").status == 200
        assert program.get("/health").status == 200


def wait_for_shortage(program: Program, times: int) -> None:
    """Until it was short so often at least."""
    wait_until(lambda: program.stdout.count("cannot serve a connection") >= times, "it runs short of memory")


def test_a_program_with_little_address_space_serves_as_before_when_a_crowd_has_gone(run_program: RunProgram) -> None:
    limited = ("sh", "-c", f'ulimit -v {LITTLE_KB}; exec "$@"', "sh")
    with run_program(models(m=demo()), is_hurt=True, wrapper=limited) as program:
        assert program.chat("m").status == 200
        for number in range(1, ROUNDS + 1):
            crowd = [Wire(program.port) for _ in range(CLIENTS)]
            for wire in crowd:
                wire.send(HALF_A_REQUEST)
            wait_for_shortage(program, number)
            for wire in crowd:
                with suppress(OSError):  # it was turned away
                    wire.sock.shutdown(socket.SHUT_WR)
                said = wire.rest()
                assert said.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 400 ")) or not said, said
                wire.close()
        assert "Traceback" not in program.stdout
        assert not HAS_ARENAS or not count_arenas(Path(f"/proc/{program.process.pid}/smaps").read_text())
        assert program.chat("m").status == 200
        assert program.get("/health").status == 200
