"""An upgrade: a new process takes over from one that runs, and nobody notices."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trustme

from llamaswap_lib.upgrade.child import why_impossible
from tests.e2e.conftest import RunProgram
from tests.e2e.gates import loads_until
from tests.e2e.held import Held
from tests.e2e.installed import PLACES, Installed, Still
from tests.e2e.program import COMMAND, DEADLINE, HELLO, Program, demo, environment, models, python, wait_until
from tests.e2e.service import NotifySocket

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux")


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    folder = tmp_path / "installed"
    folder.mkdir()
    return Installed(folder)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


# -- who asks and waits --


def test_a_new_process_serves_and_says_so(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        before = program.running("m")
        told = program.upgrade()
        assert told["pid_before"] == program.before.pid != told["pid"] == program.process.pid
        assert told["from"] == told["to"] == program.get("/api/version").json()["version"]
        assert program.before.wait(DEADLINE) == 0
        assert program.chat("m").status == 200
        after = program.running("m")
        assert [after[key] for key in ("pid", "run_id", "port", "load_seconds", "started")] == [
            before[key] for key in ("pid", "run_id", "port", "load_seconds", "started")
        ]
        program.await_starts("m", 1)
        wait_until(lambda: program.stdout.count("[INFO] it has taken over from process") == 1, "the log says so")


def test_the_command_does_it_and_says_who_serves(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        url = environment({"LLAMASWAP_URL": f"http://127.0.0.1:{program.port}"})
        ended = subprocess.run((*COMMAND, "upgrade", "--json"), env=url, capture_output=True, text=True, check=True)
        told = json.loads(ended.stdout)
        program.go_on_with(told["pid"])
        assert told["pid_before"] == program.before.pid
        assert program.before.wait(DEADLINE) == 0
        ended = subprocess.run((*COMMAND, "upgrade"), env=url, capture_output=True, text=True, check=True)
        program.go_on_with(int(ended.stdout.split()[1]))
        versions = f"version {told['to']}, before it was {told['from']}"
        assert ended.stdout == f"process {program.process.pid} has taken over: {versions}\n"


def test_sigusr2_does_it_too(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        first = program.process.pid
        program.signal(signal.SIGUSR2)
        wait_until(lambda: f"it has taken over from process {first}" in program.stdout, "another one serves")
        found: list[int] = []

        def is_alone() -> bool:
            """What is about to become its guardian is none yet."""
            found[:] = [pid for pid, command in program.relatives().items() if "llamaswap" in command]
            return len(found) == 1

        wait_until(is_alone, "it is the only one")
        program.go_on_with(found[0])
        assert program.before.wait(DEADLINE) == 0
        assert program.chat("m").status == 200


def test_a_connection_that_is_idle_goes_to_the_new_process(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program, program.wire() as used, program.wire() as fresh:
        for path in ("/health", "/api/version"):
            used.request("GET", path)
            assert used.answer()[0] == 200
        for _ in range(2):
            program.upgrade()
            assert program.before.wait(DEADLINE) == 0
            for wire in (used, fresh):
                wire.request("POST", "/v1/chat/completions", {"model": "m", **HELLO})
                assert wire.answer()[0] == 200


def test_a_stream_goes_on_to_its_end_in_the_old_process(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        with program.stream("m") as other:
            other.read_head_and_first_chunk()
            assert program.before.poll() is None
            assert program.running("m")["in_flight"] == 2  # a stream counts, wherever it is served
            held.end(wire, other)
        assert program.before.wait(DEADLINE) == 0
        wire.request("GET", "/health")  # its connection has gone to the new one
        assert wire.answer() == (200, b"OK")
        program.await_starts("m", 1)


@pytest.mark.skipif(find_spec("websockets") is None, reason="the websockets library is not installed")
def test_a_websocket_goes_on_until_its_client_closes_it(run_program: RunProgram) -> None:
    from websockets.sync.client import connect  # noqa: PLC0415 - it may not be there

    echo = shlex.join((sys.executable, str(Path(__file__).with_name("websocket_echo.py")))) + " ${PORT}"
    with run_program(models(m={"cmd": echo, "checkEndpoint": "/health"})) as program:
        with connect(f"ws://127.0.0.1:{program.port}/upstream/m/", compression=None) as one:
            one.send("one")
            assert one.recv(DEADLINE) == "one"
            program.upgrade()
            with connect(f"ws://127.0.0.1:{program.port}/upstream/m/", compression=None) as other:
                for socket, text in ((one, "two"), (other, "three")):
                    socket.send(text)
                    assert socket.recv(DEADLINE) == text
                assert program.running("m")["in_flight"] == 2
        assert program.before.wait(DEADLINE) == 0
        program.await_starts("m", 1)


def test_a_model_that_an_earlier_process_has_loaded_is_unloaded_and_loaded_again(run_program: RunProgram) -> None:
    with run_program(models(a=demo(), b=demo())) as program:
        assert program.chat("a").status == 200
        for _ in range(2):
            program.upgrade()
            assert program.before.wait(DEADLINE) == 0
        assert program.chat("b").status == 200
        assert program.states() == {"b": "ready"}
        assert program.chat("a").status == 200
        assert program.get("/unload").status == 200
        assert program.states() == {}
        program.await_starts("a", 2)
        program.await_starts("b", 1)


def test_a_model_that_is_being_stopped_is_gone_for_the_new_process_too(run_program: RunProgram) -> None:
    stays = "import select, signal, sys; stop = lambda *_: select.select([], [], [], 3) and sys.exit()"
    serve = "from http.server import *; ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), SimpleHTTPRequestHandler)"
    slow = python(f"{stays}\nsignal.signal(signal.SIGTERM, stop)\n{serve}.serve_forever()")
    with (
        run_program(models(slow={"cmd": slow, "checkEndpoint": "/"}, m=demo())) as program,
        ThreadPoolExecutor() as pool,
    ):
        assert program.get("/upstream/slow/").status == 200
        waits = pool.submit(program.chat, "m")
        wait_until(lambda: program.states().get("slow") == "stopping", "it is being stopped")
        program.upgrade()
        assert waits.result(DEADLINE).status == 200
        assert program.states() == {"m": "ready"}
        assert program.before.wait(DEADLINE) == 0


def test_a_load_that_failed_is_known_to_the_new_process(run_program: RunProgram) -> None:
    with run_program(models(m=python("import sys; sys.exit('no luck')"))) as program:
        assert "no luck" in program.chat("m").message
        before = failure_of_the_only_model(program)
        program.upgrade()
        assert failure_of_the_only_model(program) == before
        assert "no luck" in program.chat("m").message


def failure_of_the_only_model(program: Program) -> dict[str, Any]:
    """Without the time that is left."""
    [model] = program.get("/v1/models").json()["data"]
    failure: dict[str, Any] = model["meta"]["llamaswap"]["failure"]
    return {name: value for name, value in failure.items() if name != "retry_in"}


def test_a_model_whose_command_has_changed_is_loaded_anew_when_it_is_idle(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.write_config(models(m=demo()))
        program.upgrade()
        wire.chunk()
        held.end(wire)
        assert program.chat("m").status == 200
        program.await_starts("m", 2)


def test_what_a_client_has_sent_ahead_is_answered(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        wire.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /api/ver")
        program.upgrade()
        held.end(wire)
        assert wire.answer() == (200, b"OK")
        wire.send(b"sion HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer()[0] == 200


def test_requests_that_wait_for_a_model_that_loads_are_answered(run_program: RunProgram, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    with run_program(models(m=loads_until(gate))) as program, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(program.chat, "m") for _ in range(4)]
        wait_until(lambda: len(program.queue()) == 4, "they wait")
        program.upgrade()
        answers += [pool.submit(program.chat, "m") for _ in range(4)]
        wait_until(lambda: len(program.queue()) == 8, "all wait")
        gate.touch()
        assert [answer.result(DEADLINE).status for answer in answers] == [200] * 8
        program.await_starts("m", 1)


def test_requests_that_wait_for_another_model_to_go_are_answered(run_program: RunProgram, held: Held) -> None:
    with run_program(models(a=held.command, b=demo())) as program, ThreadPoolExecutor() as pool:
        with program.stream("a") as wire:
            wire.read_head_and_first_chunk()
            waits = pool.submit(program.chat, "b")
            wait_until(lambda: len(program.queue()) == 1, "it waits")
            program.upgrade()
            comes = pool.submit(program.chat, "b")
            wait_until(lambda: len(program.queue()) == 2, "both wait")
            held.end(wire)
            assert waits.result(DEADLINE).status == comes.result(DEADLINE).status == 200
        assert program.states() == {"b": "ready"}


def test_the_places_of_a_model_are_counted_over_both(run_program: RunProgram, held: Held) -> None:
    config = models(m={"cmd": held.command, "concurrencyLimit": 2})
    with run_program(config) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        with program.stream("m") as other:
            other.read_head_and_first_chunk()
            assert program.chat("m").status == 429
            held.end(wire, other)
        wait_until(lambda: [program.chat("m").status for _ in range(2)] == [200, 200], "there are places again")


@contextmanager
def over_tls(folder: Path) -> Iterator[tuple[Program, ssl.SSLContext]]:
    """A program that its clients reach over TLS, and what they trust."""
    authority, pem = trustme.CA(), folder / "both.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    flags = ("-tls-cert-file", str(pem), "-tls-key-file", str(pem))
    with Program(folder, models(m=demo()), flags=flags, context=context) as program:
        yield program, context


def test_over_tls_the_next_answer_is_the_last_one_on_its_connection(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (program, context):
        assert program.chat("m").status == 200
        connection = http.client.HTTPSConnection("127.0.0.1", program.port, timeout=DEADLINE, context=context)
        with closing(connection):
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b"OK"
            program.upgrade()
            body = json.dumps({"model": "m", **HELLO})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            answer.read()
            assert program.before.wait(DEADLINE) == 0
        assert program.chat("m").status == 200


def test_upgrade_timeout_bounds_how_long_a_request_goes_on_in_the_old_process(
    run_program: RunProgram, held: Held
) -> None:
    config = {**models(m=held.command), "upgradeTimeout": 1}
    with run_program(config) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        assert program.before.wait(DEADLINE) == 0
        assert "[WARN] requests in progress are broken off: 1" in program.stdout
        wait_until(lambda: program.running("m")["in_flight"] == 0, "its place is free")


def test_a_signal_to_the_old_process_leaves_its_requests_the_time_of_a_shutdown(
    run_program: RunProgram, held: Held
) -> None:
    config = {**models(m=held.command), "shutdownTimeout": 1}
    with run_program(config) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        program.before.send_signal(signal.SIGTERM)
        assert program.before.wait(DEADLINE) == 0
        held.end()
        assert program.chat("m").status == 200
        program.await_starts("m", 1)


# -- what goes along --


def test_rows_captures_logs_and_the_profile_are_those_of_before(run_program: RunProgram, tmp_path: Path) -> None:
    for store in ({}, {"store": {"path": str(tmp_path / "rows.db")}}):
        config = {**models(m=demo(), n=demo()), "profiles": {"p": {"pins": {"other": "n"}}}, **store}
        with run_program(config) as program:
            assert program.ask("PUT", "/api/profiles/active", b'{"name": "p"}', content_type="application/json")
            assert [program.chat("m").status, program.chat("n").status] == [200, 200]
            before = rows(program)
            capture = program.get(f"/api/captures/{before[0]['id']}").json()
            log = program.get("/logs").text
            program.upgrade()
            assert rows(program) == before
            assert program.get(f"/api/captures/{before[0]['id']}").json() == capture
            assert program.get("/logs").text.startswith(log)
            assert program.get("/api/profiles").json()["active"] == "p"
            assert program.chat("m").status == 200
            assert [row["id"] for row in rows(program)] == [3, 2, 1]


def test_the_row_of_a_request_that_ends_in_the_old_process_is_kept(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        assert rows(program) == []
        held.end(wire)
        wait_until(lambda: len(rows(program)) == 1, "its row is there")
        [row] = rows(program)
        assert program.get(f"/api/captures/{row['id']}").status == 200


def rows(program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.get("/api/metrics/activity").json()["data"]
    return found


def test_sighup_to_the_old_process_reaches_the_new_one(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        program.before.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded: nothing has changed" in program.stdout, "it is told")
        held.end(wire)


# -- new versions that are broken --


def failed(program: Program, why: str, status: int = 500) -> None:
    """An upgrade fails for that reason, and changes nothing."""
    answer = program.post("/api/upgrade", None)
    assert (answer.status, why in answer.message) == (status, True), answer.text
    told = f"[ERROR] POST /api/upgrade: there is no upgrade: {answer.message.splitlines()[0]}"
    wait_until(lambda: told in program.stdout, "the log says it too")


def goes_on(program: Program) -> None:
    """It serves as if nothing had been: the model has not been loaded again, and others can be."""
    assert program.chat("m").status == 200
    program.await_starts("m", 1)
    assert [command for command in program.relatives().values() if "llamaswap.py" in command] == []


def test_a_new_configuration_that_cannot_be_used_changes_nothing(run_program: RunProgram) -> None:
    with run_program(models(m=demo())) as program:
        assert program.chat("m").status == 200
        program.config_path.write_text('{"models": {"m": {"cmd": 7}}}')
        failed(program, "config.yaml:1: models.m.cmd: llamaswap has to know the port")
        goes_on(program)


@pytest.mark.parametrize(
    ("module", "text", "why"),
    [
        (
            "core/scheduler.py",
            "import nothing_of_that_name",
            "ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("core/scheduler.py", "def f(:", "SyntaxError"),
        ("cli.py", "import os; os._exit(3)", "the new process ended before it was ready"),
        (
            "handing_over.py",
            "def take(*_): raise KeyError('what')\nTaker.take = take",
            "cannot be read: KeyError('what')",
        ),
        ("handing_over.py", "def take(*_): raise RuntimeError('no')\nTaker.take = take", "RuntimeError: no"),
        ("upgrade/taking.py", "def state(self): os._exit(4)\nPredecessor.state = state", "ended before it was ready"),
    ],
)
def test_a_new_version_that_breaks_changes_nothing(
    run_program: RunProgram, installed: Installed, module: str, text: str, why: str
) -> None:
    has_traceback = "Error" in why and "KeyError" not in why
    with run_program(models(m=demo()), command=installed.command, tracebacks=int(has_traceback)) as program:
        assert program.chat("m").status == 200
        installed.append(module, text)
        failed(program, why)
        goes_on(program)
        installed.mend()
        program.upgrade()
        goes_on_after(program)


def goes_on_after(program: Program) -> None:
    assert program.before.wait(DEADLINE) == 0
    assert program.chat("m").status == 200
    program.await_starts("m", 1)


@pytest.mark.slow
def test_a_new_version_that_hangs_is_ended(run_program: RunProgram, installed: Installed, tmp_path: Path) -> None:
    with run_program(models(m=demo()), command=installed.command) as program, ThreadPoolExecutor() as pool:
        assert program.chat("m").status == 200
        Still(tmp_path, installed, "it has taken what runs, and is not ready")
        connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
        with closing(connection):
            connection.request("POST", "/api/upgrade")
            goes = pool.submit(program.chat, "m")
            assert goes.result(DEADLINE).status == 200  # the model is ready: nobody has to decide anything
            answer = connection.getresponse()
            assert answer.status == 500
            assert "the new process did not take over within 10 s" in answer.read().decode()
        goes_on(program)


# -- kill -9 of either, and an end meanwhile --


@pytest.mark.parametrize("where", PLACES)
def test_the_old_process_goes_on_when_the_new_one_is_killed(
    run_program: RunProgram, installed: Installed, tmp_path: Path, where: str
) -> None:
    with run_program(models(m=demo()), command=installed.command) as program, ThreadPoolExecutor() as pool:
        assert program.chat("m").status == 200
        still = Still(tmp_path, installed, where)
        answer = pool.submit(program.post, "/api/upgrade", None)
        pid = still.pid()
        again = program.post("/api/upgrade", None)
        assert (again.status, again.message) == (409, "another upgrade is under way")
        waits = pool.submit(program.post, "/api/models/unload", None)
        os.kill(pid, signal.SIGKILL)
        assert answer.result(DEADLINE).status == 500
        assert waits.result(DEADLINE).status == 200
        assert program.chat("m").status == 200
        program.await_starts("m", 2)


@pytest.mark.parametrize("where", PLACES)
def test_nothing_is_left_when_the_old_process_is_killed_before_it_has_handed_over(
    run_program: RunProgram, installed: Installed, tmp_path: Path, where: str
) -> None:
    with run_program(models(m=demo()), command=installed.command, is_hurt=True) as program:
        assert program.chat("m").status == 200
        still = Still(tmp_path, installed, where)
        program.signal(signal.SIGUSR2)
        still.pid()
        program.signal(signal.SIGKILL)
        assert program.wait() == -signal.SIGKILL
        still.go_on()
        wait_until(lambda: not program.relatives(), "nobody is left")
        if where != "it has not read its configuration":
            assert "the process that was to be replaced has ended, so this one ends too" in program.stderr


def test_the_new_process_goes_on_when_the_old_one_is_killed_after_it_has_handed_over(
    run_program: RunProgram, held: Held
) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        assert program.running("m")["in_flight"] == 1
        program.kill_before()
        wait_until(lambda: program.running("m")["in_flight"] == 0, "nobody is inside any more")
        held.end()
        assert program.chat("m").status == 200
        program.await_starts("m", 1)


def test_requests_in_the_old_process_end_well_when_the_new_one_is_killed(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        program.signal(signal.SIGKILL)
        program.wait()
        wire.chunk()
        held.end(wire)
        assert program.before.wait(DEADLINE) == 0
        wait_until(lambda: not program.relatives(), "the guardian has ended the model")
        program.code = 0


def test_an_upgrade_that_is_under_way_is_called_off_when_the_program_is_told_to_end(
    run_program: RunProgram, installed: Installed, tmp_path: Path
) -> None:
    with run_program(models(m=demo()), command=installed.command) as program, ThreadPoolExecutor() as pool:
        assert program.chat("m").status == 200
        still = Still(tmp_path, installed, "it has taken what runs, and is not ready")
        answer = pool.submit(program.post, "/api/upgrade", None)
        still.pid()
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
        assert "the server is shutting down" in answer.result(DEADLINE).message


def test_there_is_no_upgrade_while_the_process_before_still_serves(run_program: RunProgram, held: Held) -> None:
    with run_program(models(m=held.command)) as program, program.stream("m") as wire:
        wire.read_head_and_first_chunk()
        program.upgrade()
        failed(program, f"the process before this one, {program.before.pid}, still serves 1 request;", 409)
        held.end(wire)
        assert program.before.wait(DEADLINE) == 0
        program.upgrade()


@pytest.mark.slow
def test_an_upgrade_waits_for_a_process_before_that_has_no_request_any_more(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (program, context):
        connection = http.client.HTTPSConnection("127.0.0.1", program.port, timeout=DEADLINE, context=context)
        with closing(connection):
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b"OK"
            program.upgrade()
            program.upgrade()  # the idle connection has ten seconds
            assert connection.sock.recv(1) == b""


# -- where it is run --


def test_systemd_is_told_who_is_the_main_process(run_program: RunProgram, tmp_path: Path) -> None:
    environment = {"WATCHDOG_USEC": "6000000"}  # few lines: nobody reads them during the upgrade
    with NotifySocket(tmp_path / "notify") as notify:
        environment["NOTIFY_SOCKET"] = str(notify.path)
        with run_program(models(m=demo()), env=environment) as program:
            notify.hear("READY=1")
            told = program.upgrade()
            notify.hear(f"MAINPID={told['pid']}")
            assert program.before.wait(DEADLINE) == 0
            assert "STOPPING=1" not in notify.heard
            notify.hear_anew("WATCHDOG=1")
            assert program.chat("m").status == 200
            notify.hear("STATUS=m ready")
            program.signal(signal.SIGTERM)
            notify.hear("STOPPING=1")
            assert program.wait() == 0  # a second signal would end it before its model has ended in good order


def test_it_is_refused_where_it_cannot_be() -> None:
    assert "only on Linux" in why_impossible("darwin")
    assert "PID 1" in why_impossible(pid=1)
    assert why_impossible() == ""


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare, as root")
def test_the_first_process_of_a_container_refuses_it(tmp_path: Path) -> None:
    with Program(tmp_path, {"models": {}}, wrapper=("unshare", "--pid", "--fork", "--kill-child")) as program:
        answer = program.post("/api/upgrade", None)
        assert answer.status == 501
        assert "PID 1" in answer.message
        assert program.get("/health").status == 200
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: not program.relatives(), "the container has ended")


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare, as root")
def test_one_whose_container_ends_with_it_refuses_it(tmp_path: Path) -> None:
    shell = ("sh", "-c", '"$0" "$@"; exit $?')  # as `docker run --init` does, it waits for the one process
    wrapper = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *shell)
    with Program(tmp_path, {"models": {}}, wrapper=wrapper) as program:
        answer = program.post("/api/upgrade", None)
        assert (answer.status, answer.message.partition(" ")[0]) == (501, "sh")
        program.signal(signal.SIGKILL)
        program.wait()
        wait_until(lambda: not program.relatives(), "the container has ended")
