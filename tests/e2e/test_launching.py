"""A model that cannot be started: it takes nobody's place, and a client that asks for it is told why at once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.program import Program, demo, models, wait_until
from tests.e2e.test_ports import somebody_else


def assert_refused_beside(program: Program, why: str, model: str = "b") -> None:
    """`a` runs; a request for `model` fails with these words, and `a` goes on as the same process."""
    assert program.chat("a").status == 200
    before = program.run_ids()
    refused = program.chat(model)
    assert refused.status == 502
    assert refused.message.startswith(f"model {model} could not be loaded: could not start: {why}"), refused.message
    assert program.run_ids() == before
    assert program.chat("a").status == 200
    assert program.run_ids() == before
    assert "stopping, to make room" not in program.stdout


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/no/such/program ${PORT}", "No such file or directory: '/no/such/program'"),
        ("no-such-program ${PORT}", "No such file or directory: 'no-such-program'"),
        ("./here/no-such-program ${PORT}", "No such file or directory: './here/no-such-program'"),
        ("./config.yaml/x ${PORT}", "Not a directory: './config.yaml/x'"),
        ("./plain ${PORT}", "Permission denied: './plain'"),
        ("/tmp ${PORT}", "Permission denied: '/tmp'"),
        ("./moved ${PORT}", "its interpreter '/no/such/venv/bin/python' does not exist: './moved'"),
    ],
)
def test_a_program_that_is_not_there_or_may_not_be_executed(
    run_program: RunProgram, tmp_path: Path, command: str, why: str
) -> None:
    script(tmp_path / "plain", "#!/bin/sh\n", 0o644)
    script(tmp_path / "moved", "#!/no/such/venv/bin/python -u\n")
    with run_program(models(a=demo(), b=command)) as program:
        assert_refused_beside(program, why)


def test_a_program_is_looked_for_as_it_will_be_started_along_our_own_path(
    run_program: RunProgram, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    script(tmp_path / "one" / "serve", "", 0o644)  # what may not be executed is passed over
    script(
        tmp_path / "two" / "serve",
        f"#!/bin/sh\nexec {demo()}\n".replace("${PORT}", "$1").replace("${MODEL_ID}", "x"),
    )
    path = f"{tmp_path}/one:{tmp_path}/two:{os.environ['PATH']}"
    entry = {"cmd": "serve ${PORT}", "env": ["PATH=/nowhere"]}
    with run_program(models(a=demo(), b=entry), env={"PATH": path}) as program:
        assert program.chat("a").status == 200
        assert program.chat("b").status == 200


def test_a_relative_program_is_found_from_the_working_folder(run_program: RunProgram, tmp_path: Path) -> None:
    script(tmp_path / "serve", f"#!/bin/sh\nexec {demo()}\n".replace("${PORT}", "$1").replace("${MODEL_ID}", "x"))
    with run_program(models(a=demo(), b="./serve ${PORT}")) as program:
        assert program.chat("a").status == 200
        assert program.chat("b").status == 200


def test_a_working_folder_that_is_gone(run_program: RunProgram, tmp_path: Path) -> None:
    folder = tmp_path / "soon-gone"
    folder.mkdir()
    config = models(a=demo(), b=demo())
    with run_program(config, cwd=folder) as program:
        assert program.chat("a").status == 200
        folder.rmdir()
        assert_refused_beside(program, "the folder that llamaswap was started in no longer exists")


def test_a_request_for_a_broken_model_is_told_so_and_the_model_is_tried_when_it_is_mended(
    run_program: RunProgram, tmp_path: Path
) -> None:
    with run_program(models(a=demo(), b="./late ${PORT}")) as program:
        assert_refused_beside(program, "No such file or directory: './late'")
        said = re.compile(r"No such file or directory: '\./late'; next try in \d+ s")
        wait_until(lambda: said.search(program.chat("b").message) is not None, "it is not tried again at once")
        script(tmp_path / "late", f"#!/bin/sh\nexec {demo()}\n".replace("${PORT}", "$1").replace("${MODEL_ID}", "x"))
        wait_until(lambda: program.chat("b").status == 200, "it is tried again")
        program.await_starts("b", 1)


def test_everybody_who_waits_is_told_at_once_also_beside_a_busy_model(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b="/no/such/program ${PORT}")) as program, program.stream("a") as busy:
        busy.read_head_and_first_chunk()
        assert program.chat("b").status == 502
        assert program.states() == {"a": "ready"}
        busy.chunk()


def test_a_fixed_port_that_a_stranger_has(run_program: RunProgram, port: int) -> None:
    entry = {"cmd": demo().replace("${PORT}", str(port)), "proxy": f"http://localhost:{port}"}
    with run_program(models(a=demo(), b=entry)) as program, somebody_else(port) as pid:
        assert_refused_beside(program, f"port {port} is taken by process {pid} (")


def test_a_command_that_is_not_told_to_listen_there_may_evict(run_program: RunProgram, port: int) -> None:
    entry = {"cmd": "sleep 1000000000", "proxy": f"http://localhost:{port}"}
    with run_program(models(a=demo(), b=entry)) as program, somebody_else(port):
        assert program.chat("a").status == 200
        assert program.get("/upstream/b/x").body == b"else"
        assert program.states() == {"b": "ready"}


def test_an_automatic_port_that_is_taken_is_no_obstacle(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo())) as program:
        assert program.chat("a").status == 200
        with somebody_else(program.upstream_port("b")):
            assert program.chat("b").status == 200


@pytest.mark.parametrize("more", [{}, {"env": ["LLAMASWAP_RUN="]}])
def test_models_that_share_one_fixed_port_swap(run_program: RunProgram, port: int, more: Mapping[str, Any]) -> None:
    entry = {"cmd": demo().replace("${PORT}", str(port)), "proxy": f"http://127.0.0.1:{port}", **more}
    with run_program(models(a=entry, b=entry, c=demo())) as program:
        for model in "abacb":
            assert program.chat(model).status == 200
            assert program.states() == {model: "ready"}


LAUNCHER = """
import subprocess, sys
port = sys.argv[1]
child = subprocess.Popen([sys.executable, "-S", *sys.argv[2:], port], start_new_session=bool(int("DETACHED")))
child.wait()
"""


@pytest.mark.parametrize("detached", ["0", "1"])
def test_a_port_that_another_of_our_runs_has_besides_its_own_is_no_obstacle(
    run_program: RunProgram, tmp_path: Path, port: int, detached: str
) -> None:
    """A run may listen on more ports than its `proxy` names; it is stopped for the swap, and the port is free then."""
    both = tmp_path / "both.py"
    both.write_text(
        "import socket, sys, threading\n"
        f"extra = socket.create_server(('127.0.0.1', {port}))\n"
        "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "while True:\n"
        "    client, _ = server.accept()\n"
        "    client.recv(65536)\n"
        "    client.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nboth')\n"
        "    client.close()\n"
    )
    launcher = tmp_path / "launcher.py"
    launcher.write_text(LAUNCHER.replace("DETACHED", detached))
    entry = {"cmd": demo().replace("${PORT}", str(port)), "proxy": f"http://127.0.0.1:{port}"}
    command = f"{sys.executable} -S {launcher} ${{PORT}} {both}"
    with run_program(models(a=command, b=entry)) as program:
        assert program.get("/upstream/a/x").body == b"both"
        if detached == "0":
            assert program.chat("b").status == 200
        else:  # a process that left its process group may outlive the stop, but it is no stranger: the swap is tried
            program.chat("b")
            wait_until(lambda: "a: stopping, to make room for b" in program.stdout, "the swap is tried")


def test_a_model_that_cannot_be_started_is_no_reason_to_end_a_load_that_nobody_waits_for(
    run_program: RunProgram, tmp_path: Path
) -> None:
    gate = tmp_path / "loaded"
    with run_program(models(a=loads_until(gate), b="/no/such/program ${PORT}"), log_level="debug") as program:
        with program.wire() as wire:
            wire.request("POST", "/api/models/load/a", {})
            wait_until(lambda: program.states() == {"a": "starting"}, "it loads")
        wait_until(lambda: "POST /api/models/load/a" in program.stdout, "nobody waits for it")
        assert program.chat("b").status == 502
        assert program.states() == {"a": "starting"}
        gate.touch()
        wait_until(lambda: program.states() == {"a": "ready"}, "it has loaded")
        program.await_starts("a", 1)


def test_where_nobody_has_to_go_the_start_itself_tells(run_program: RunProgram) -> None:
    with run_program(models(b="/no/such/program ${PORT}")) as program:
        refused = program.chat("b")
        assert refused.status == 502
        assert "could not start: No such file or directory: '/no/such/program'" in refused.message
