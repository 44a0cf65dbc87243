"""What leads back to where it came from: a model's `proxy` that is the server itself, and peers of one another."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.ports import PortBlock
from tests.e2e.program import HELLO, Program, demo, models, wait_until

SLEEP = "sleep 1000000000"
FORWARD = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(flush=True)

def pass_on(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass

while True:
    client, _ = server.accept()
    upstream = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for way in ((client, upstream), (upstream, client)):
        threading.Thread(target=pass_on, args=way, daemon=True).start()
"""


@contextmanager
def forwarder(port: int, to: int) -> Iterator[None]:
    """A proxy that passes every connection on to another port of this machine."""
    command = (sys.executable, "-S", "-c", FORWARD, str(port), str(to))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield
        finally:
            process.kill()


def own_addresses() -> list[str]:
    """Those of this machine that others may reach it by; none where there is no network."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.77"), (socket.AF_INET6, "2001:db8::77")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))  # sends nothing: it only chooses an address of ours
            host = sock.getsockname()[0]
            found.append(f"[{host}]" if ":" in host else host)
    return found


def assert_loop_is_told(program: Program, what: str, model: str = "loop") -> None:
    descriptors = program.descriptor_count()
    refused = program.chat(model)
    assert refused.status == 502
    assert what in refused.message
    assert program.descriptor_count() < descriptors + 20
    assert program.chat("a").status == 200


@pytest.mark.parametrize("check", ["/health", "none"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1"])
def test_a_proxy_that_is_the_server_itself_is_a_load_that_failed(
    run_program: RunProgram, host: str, check: str
) -> None:
    entry = {"cmd": SLEEP, "proxy": f"http://{host}:${{OWN_PORT}}", "checkEndpoint": check}
    with run_program(models(a=demo(), loop=entry)) as program:
        assert_loop_is_told(program, f"its proxy leads to this llamaswap itself, which listens on port {program.port}")


@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.0.0.5", socket.gethostname(), *own_addresses()])
@pytest.mark.parametrize("listen", ["", "0.0.0.0"])
def test_every_address_and_name_of_ours_is_the_server_itself_where_it_listens_on_all(
    run_program: RunProgram, host: str, listen: str
) -> None:
    if listen == "0.0.0.0" and host.startswith("["):
        return  # there is nobody
    entry = {"cmd": SLEEP, "proxy": f"http://{host}:${{OWN_PORT}}", "checkEndpoint": "none"}
    with run_program(models(a=demo(), loop=entry), host=listen) as program:
        assert_loop_is_told(program, "its proxy leads to this llamaswap itself")


def test_nobody_goes_for_a_model_that_leads_to_the_server_itself(run_program: RunProgram) -> None:
    entry = {"cmd": SLEEP, "proxy": "http://localhost:${OWN_PORT}"}
    with run_program(models(a=demo(), loop=entry)) as program:
        assert program.chat("a").status == 200
        run_ids = program.run_ids()
        assert_loop_is_told(program, "its proxy leads to this llamaswap itself")
        assert program.run_ids() == run_ids


def test_a_proxy_that_comes_back_by_way_of_another_one_is_found_by_the_health_check(run_program: RunProgram) -> None:
    with closing(PortBlock()) as block:
        entry = {"cmd": SLEEP, "proxy": f"http://127.0.0.1:{block.first}", "healthCheckTimeout": 60}
        with run_program(models(a=demo(), loop=entry)) as program, forwarder(block.first, program.port):
            assert_loop_is_told(program, "its health check came back to this llamaswap (508)")


def test_another_address_of_the_machine_with_the_same_port_is_somebody_else(run_program: RunProgram) -> None:
    command = demo("--host", "127.0.0.3").replace("${PORT}", "${OWN_PORT}")
    entry = {"cmd": command, "proxy": "http://127.0.0.3:${OWN_PORT}"}
    with run_program(models(a=demo(), b=entry)) as program:
        assert program.chat("b").status == 200


# -- peers of one another --


@contextmanager
def circle(folder: Path, size: int, **more: Any) -> Iterator[list[Program]]:
    """Each offers the model `far` of the next one, and the last that of the first; the first has a model, too."""
    blocks = [PortBlock() for _ in range(size)]
    with ExitStack() as stack:
        programs = []
        for number, block in enumerate(blocks):
            here = folder / str(number)
            here.mkdir()
            proxy = f"http://127.0.0.1:{blocks[(number + 1) % size].first}"
            config = {"peers": {"next": {"proxy": proxy, "models": ["far", "far/ws"]}}, **models(own=demo()), **more}
            programs.append(stack.enter_context(Program(here, config, ports=block)))
        yield programs


def name_of(program: Program) -> str:
    """Which it says at its start."""
    pattern = re.compile(r"Via header of requests to peers is (\S+)\n")
    wait_until(lambda: pattern.search(program.stdout) is not None, "it says its name")
    return str(pattern.findall(program.stdout)[0])


def assert_each_was_asked(programs: list[Program], *times: int) -> None:
    """So often; the line of a request is logged at its end, which may come a moment after that of the client's."""

    def asked() -> list[int]:
        return [program.stdout.count('Request 127.0.0.1 "POST /v1/chat/completions') for program in programs]

    wait_until(lambda: sum(asked()) == sum(times), "all are logged")
    assert asked() == [*times]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_request_to_llamaswaps_in_a_circle_is_508_when_it_comes_back(tmp_path: Path, size: int) -> None:
    with circle(tmp_path, size) as programs:
        names = [name_of(program) for program in programs]
        refused = programs[0].chat("far")
        assert (refused.status, refused.json()["error"]["code"]) == (508, "loop_detected")
        assert refused.headers["x-should-retry"] == "false"
        assert refused.message.endswith(f": {' -> '.join([*names, names[0]])}")
        assert_each_was_asked(programs, 2, *[1] * (size - 1))
        if size == 1:  # by its looks, which bear its name
            why = "peer next is out: its address leads back to this llamaswap: /health is answered with 508"
            wait_until(lambda: why in programs[0].stdout, "it is found")
        told = f'"POST /v1/chat/completions": 508, {refused.message}\n'
        wait_until(lambda: programs[0].stdout.count(told) == 1, "it is told once")
        assert programs[0].chat("own").status == 200


def test_a_way_that_is_too_long_is_508_by_the_first_that_is_one_too_many(tmp_path: Path) -> None:
    with circle(tmp_path, 3, limits={"hops": 1}) as programs:
        refused = programs[0].chat("far")
        assert (refused.status, refused.json()["error"]["code"]) == (508, "loop_detected")
        assert "this request has come through more than 1 llamaswaps (limits.hops): " in refused.message
        assert_each_was_asked(programs, 1, 1, 1)


def test_an_upgrade_and_every_route_of_models_are_found_out_too(tmp_path: Path) -> None:
    with circle(tmp_path, 2) as programs:
        first = programs[0]
        assert first.get("/upstream/next/far/any/path").status == 404  # its name is not a model's there
        assert first.get("/v1/audio/voices?model=far").status == 508
        assert first.post("/v1/messages", {"model": "far", **HELLO}).status == 508
        with first.wire() as wire:
            wire.request("GET", "/v1/audio/voices?model=far", extra="Connection: Upgrade\r\nUpgrade: websocket\r\n")
            assert wire.status() == 508
        for program in programs:
            wait_until(lambda: program.get("/health").status == 200, "it answers")  # noqa: B023


def test_a_model_is_reached_through_two_llamaswaps(tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    (tmp_path / "front").mkdir()
    with Program(tmp_path / "back", models(m=demo())) as back:
        peers = {"peers": {"back": {"proxy": f"http://127.0.0.1:{back.port}", "models": ["m"]}}}
        with Program(tmp_path / "front", peers) as front:
            assert front.chat("m").status == 200
            assert front.get("/upstream/back/m/health").status in (200, 404)
