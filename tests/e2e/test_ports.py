"""A port that somebody else has: another one where we may choose, an error that names him where we may not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import Program, demo, models, upstream, wait_until
from tests.e2e.talk import ask

SERVE_OK = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nelse")
    client.close()
"""


@contextmanager
def somebody_else(port: int) -> Iterator[int]:
    """A server that answers everything with 200; its pid."""
    with subprocess.Popen((sys.executable, "-S", "-c", SERVE_OK, str(port)), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def running(program: Program) -> dict[str, Any]:
    """The one model that runs."""
    [entry] = program.get("/running").json()["running"]
    assert isinstance(entry, dict)
    return entry


def test_an_automatic_port_that_is_taken_makes_way_for_the_next_free_one(run_program: RunProgram) -> None:
    entry = {"cmd": demo(), "env": ["AT=${PORT}"], "proxy": "http://127.0.0.1:${PORT}"}
    with run_program(models(a=entry, b=demo())) as program:
        taken = program.upstream_port("a")  # the next one is b's, the one after nobody's
        with closing(socket.create_server(("127.0.0.1", taken + 2))), somebody_else(taken):
            assert program.chat("a").status == 200
            program.await_log(f"[WARN] a: port {taken} is taken, using {taken + 3}\n")
            entry = running(program)
            assert entry["proxy"] == f"http://127.0.0.1:{taken + 3}"
            assert f"--port {taken + 3} " in entry["cmd"]
            [pid] = program.relatives()
            assert f"AT={taken + 3}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert ask(taken + 3, "GET", "/health").status == 200
            assert program.get("/upstream/a/health").body != b"else"
            assert program.chat("b").status == 200
            assert running(program)["proxy"].endswith(f":{taken + 1}")
        assert program.chat("a").status == 200  # free again
        assert running(program)["proxy"].endswith(f":{taken}")


def test_two_that_make_way_at_once_do_not_meet(run_program: RunProgram) -> None:
    groups = {"all": {"swap": False, "members": ["a", "b"]}}
    slow = demo("--load-seconds", "0.5", "--bind-late")
    with run_program({**models(a=slow, b=slow), "groups": groups}) as program:
        first = program.upstream_port("a")
        with somebody_else(first), somebody_else(first + 1), program.wire() as one, program.wire() as other:
            one.request("POST", "/api/models/load/a", {})
            other.request("POST", "/api/models/load/b", {})
            assert (one.answer()[0], other.answer()[0]) == (200, 200)
            entries = program.get("/running").json()["running"]
            assert sorted(entry["proxy"][-5:] for entry in entries) == [str(first + 2), str(first + 3)]


@pytest.mark.parametrize("proxy", ["http://localhost:%d", "http://127.0.0.1:%d/x"])
def test_a_fixed_port_that_is_taken_is_502_that_says_by_whom(run_program: RunProgram, port: int, proxy: str) -> None:
    entry = {"cmd": demo().replace("${PORT}", str(port)), "proxy": proxy % port}
    with run_program(models(a=entry, b=demo())) as program:
        with somebody_else(port) as pid:
            refused = program.chat("a")
            assert refused.status == 502
            name = f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
            assert f"could not start: port {port} is taken by {name}" in refused.message
            assert program.chat("b").status == 200
            assert "a: ready" not in program.stdout
        if "/x" not in proxy:  # free again: a load by hand need not wait until it is tried again
            assert program.post("/api/models/load/a", {}).status == 200
            assert program.chat("a").status == 200


def test_a_command_that_does_not_name_the_port_may_stand_for_a_server_that_runs_anyway(
    run_program: RunProgram, port: int
) -> None:
    with somebody_else(port) as pid:
        entry = {"cmd": "sleep 1000000000", "proxy": f"http://localhost:{port}"}
        with run_program(models(a=entry)) as program:
            assert program.get("/upstream/a/x").body == b"else"
            with program.wire() as wire:
                wire.request("GET", "/logs/stream/a")
                assert wire.status() == 200
                wire.read_to(f"llamaswap: port {port} is taken by process {pid} (".encode())


def test_the_port_that_a_model_has_just_left_is_not_taken(run_program: RunProgram) -> None:
    with run_program(models(a=upstream(), b=demo())) as program:
        port = program.upstream_port("a")
        for _ in range(5):
            assert program.get("/upstream/a/x").status == 200
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /odd/until-close HTTP/1.1\r\nHost: x\r\n\r\n")  # it closes first: TIME_WAIT is its
                while client.recv(65536):
                    pass
            assert program.chat("b").status == 200
        assert "is taken" not in program.stdout


def test_a_port_that_does_not_exist_is_502(run_program: RunProgram) -> None:
    entry = {"cmd": "sleep 1000 ${PORT}", "proxy": "http://localhost:1"}
    with run_program({**models(a=entry), "startPort": 70_000}) as program:
        wait_until(lambda: program.get("/health").status == 200, "it answers")
        with program.wire() as wire:
            wire.request("POST", "/api/models/load/a", {})
            wait_until(lambda: "a" in program.states() or "could not be loaded" in program.stdout, "it is tried")
        assert program.get("/unload").status == 200
        assert "controller:" not in program.stdout
