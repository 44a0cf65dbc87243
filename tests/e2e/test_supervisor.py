"""Under a supervisor that speaks systemd's protocols: it hears how things are, and its socket outlives the program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.conftest import RunProgram
from tests.e2e.freezing import freeze
from tests.e2e.held import Held
from tests.e2e.program import COMMAND, DEADLINE, HELLO, demo, models, wait_until
from tests.e2e.service import NotifySocket, Service
from tests.e2e.talk import ask

ACTIVATE = shutil.which("systemd-socket-activate")
WATCHDOG = {"WATCHDOG_USEC": "300000"}


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as found:
        yield found


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.yaml").write_text(json.dumps(config))


@contextmanager
def kept_socket() -> Iterator[tuple[socket.socket, int]]:
    """A socket that listens whatever becomes of the programs that serve it, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening, listening.getsockname()[1]


# -- what it is told --


def test_it_is_told_what_happens_from_ready_to_stopping(run_program: RunProgram, notify: NotifySocket) -> None:
    shows = "import os, sys; sys.exit('NOTIFY_SOCKET' in os.environ)"
    config = models(m=demo(), shows=f"python3 -c {shows!r} ${{PORT}}")
    with run_program(config, env={"NOTIFY_SOCKET": str(notify.path)}) as program:
        notify.hear("READY=1")
        notify.hear("STATUS=no model is loaded")
        assert program.chat("m").status == 200
        notify.hear("STATUS=m ready")
        assert program.get("/unload").status == 200
        notify.hear_anew("STATUS=no model is loaded")
        assert "exited with code 0" in program.chat("shows").message  # it did not inherit the address
        program.signal(signal.SIGTERM)
        notify.hear("STOPPING=1")
        assert program.wait() == 0
        assert not any(line.startswith("WATCHDOG") for line in notify.heard)


def test_it_is_told_that_it_is_ready_only_when_it_can_be_asked(tmp_path: Path) -> None:
    write_config(tmp_path, models(m=demo()))
    with kept_socket() as (listening, port), Service(tmp_path, listening):
        assert ask(port, "GET", "/health").status == 200


# -- the watchdog --


def test_the_watchdog_is_fed_until_the_models_have_ended(
    run_program: RunProgram, notify: NotifySocket, tmp_path: Path
) -> None:
    held = Held(tmp_path)
    config = {**models(m=demo(), h=held.command), "shutdownTimeout": 60}
    with run_program(config, env={"NOTIFY_SOCKET": str(notify.path), **WATCHDOG}) as program:
        for _ in range(4):
            notify.hear_anew("WATCHDOG=1")
            assert program.chat("m", max_tokens=1).status == 200
        with program.stream("h") as wire:
            wire.read_head_and_first_chunk()
            program.signal(signal.SIGTERM)
            notify.hear("STOPPING=1")
            for _ in range(2):
                notify.hear_anew("WATCHDOG=1")
            held.end(wire)
        assert program.wait() == 0


def test_a_frozen_program_feeds_no_watchdog(run_program: RunProgram, notify: NotifySocket) -> None:
    with run_program(models(m=demo()), env={"NOTIFY_SOCKET": str(notify.path), **WATCHDOG}) as program:
        notify.hear("WATCHDOG=1")
        freeze(program.process.pid)
        notify.await_silence(1.0)
        program.signal(signal.SIGCONT)
        notify.hear_anew("WATCHDOG=1")


def test_a_controller_that_hangs_feeds_no_watchdog(
    run_program: RunProgram, notify: NotifySocket, tmp_path: Path
) -> None:
    """A policy of the user's own runs on the controller's thread; this one waits at a door, where there is one."""
    door = tmp_path / "door"
    (tmp_path / "mine.py").write_text(
        "import os\nclass Mine:\n  def evict(self, target, running):\n"
        f"    if os.path.exists({str(door)!r}): open({str(door)!r}).close()\n    return []\n"
    )
    config = {**models(a=demo(), b=demo()), "routing": {"router": {"use": "mine.py:Mine"}}}
    env = {"NOTIFY_SOCKET": str(notify.path), **WATCHDOG}
    with run_program(config, env=env) as program, ThreadPoolExecutor() as pool:
        assert program.chat("a").status == 200
        notify.hear_anew("WATCHDOG=1")
        os.mkfifo(door)
        answer = pool.submit(program.chat, "b")
        notify.await_silence(1.0)
        where = f'File "{tmp_path / "mine.py"}", line 4, in evict'
        wait_until(lambda: where in program.stdout, "the log says where it hangs")
        assert "[ERROR] thread controller does not answer" in program.stdout
        assert program.get("/health").status == 200  # everything else goes on
        opened = os.open(door, os.O_RDWR)  # which lets the policy in
        door.unlink()
        assert answer.result(DEADLINE).status == 200
        os.close(opened)
        notify.hear_anew("WATCHDOG=1")


# -- its socket --


def test_connections_that_come_during_a_restart_wait_for_the_next_process(tmp_path: Path) -> None:
    write_config(tmp_path, {**models(m=demo("--tokens-per-second", "50")), "shutdownTimeout": 20})
    with kept_socket() as (listening, port), Service(tmp_path, listening) as first:
        body = json.dumps({"model": "m", **HELLO, "max_tokens": 100, "ignore_eos": True}).encode()
        with ThreadPoolExecutor() as pool:
            chat = pool.submit(ask, port, "POST", "/v1/chat/completions", body, content_type="application/json")
            first.notify.hear("STATUS=m ready")
            first.process.send_signal(signal.SIGTERM)
            first.notify.hear("STOPPING=1")
            wait_until(lambda: not listens(first.process.pid, port), "it listens no more")
            early = pool.submit(ask, port, "GET", "/health")
            assert chat.result(DEADLINE).status == 200  # it was in progress
            assert first.stop() == 0
            assert not early.done()
            with Service(tmp_path, listening):
                assert early.result(DEADLINE).status == 200


def listens(pid: int, port: int) -> bool:
    """Whether one of the descriptors of the process is the listening socket."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(descriptor.readlink()))
        except OSError:  # noqa: PERF203 - it was closed meanwhile
            continue
    return bool(found & sockets)


def test_restarts_with_a_kept_socket_lose_no_request(tmp_path: Path) -> None:
    """Clients that make a connection for each request: all are answered, by one process or the next."""
    write_config(tmp_path, models(m=demo()))
    with kept_socket() as (listening, port), ThreadPoolExecutor() as pool:
        is_over, seen = threading.Event(), Counter[int]()

        def keep_asking() -> None:
            while not is_over.is_set():
                seen[ask(port, "GET", "/v1/models").status] += 1

        def they_ask() -> None:
            before = seen.total()
            wait_until(lambda: seen.total() > before + 50, "they ask")

        with Service(tmp_path, listening):
            clients = [pool.submit(keep_asking) for _ in range(6)]
            they_ask()
        for _ in range(2):
            with Service(tmp_path, listening):
                they_ask()
        with Service(tmp_path, listening):
            they_ask()
            is_over.set()
            for client in clients:
                client.result(DEADLINE)
        assert set(seen) == {200}


def test_models_do_not_inherit_its_socket(tmp_path: Path) -> None:
    shows = (
        "import os, sys; is_told = any(name.startswith('LISTEN_') for name in os.environ); "
        "sys.exit(is_told or any(os.path.exists(f'/proc/self/fd/{number}') for number in (3, 4)))"
    )
    write_config(tmp_path, models(shows=f"python3 -c {shows!r} ${{PORT}}"))
    with kept_socket() as (listening, port), Service(tmp_path, listening):
        body = json.dumps({"model": "shows", **HELLO}).encode()
        told = ask(port, "POST", "/v1/chat/completions", body, content_type="application/json")
        assert "exited with code 0" in told.message


def test_tls_is_spoken_on_its_socket(tmp_path: Path) -> None:
    authority, pem = trustme.CA(), tmp_path / "both.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    write_config(tmp_path, models(m=demo()))
    flags = ("-tls-cert-file", str(pem), "-tls-key-file", str(pem))
    with kept_socket() as (listening, port), Service(tmp_path, listening, flags=flags, env=WATCHDOG) as service:
        wait_until(lambda: f"listening on https://127.0.0.1:{port}" in service.output, "the log tells where it listens")
        assert ask(port, "GET", "/health", context=context).text == "OK"
        service.notify.hear_anew("WATCHDOG=1")


@pytest.mark.skipif(ACTIVATE is None, reason="needs systemd-socket-activate, of systemd")
def test_the_tool_of_systemd_starts_it_with_the_first_connection(
    tmp_path: Path, notify: NotifySocket, port: int
) -> None:
    write_config(tmp_path, models(m=demo()))
    with (tmp_path / "out").open("wb") as out:
        tool = (str(ACTIVATE), "-E", f"NOTIFY_SOCKET={notify.path}", "--fdname=web", "-l", f"127.0.0.1:{port}")
        process = subprocess.Popen((*tool, *COMMAND, "-c", "config.yaml"), cwd=tmp_path, stdout=out, stderr=out)
    try:
        wait_until(lambda: b"Listening" in (tmp_path / "out").read_bytes(), "systemd's tool listens")
        assert ask(port, "GET", "/health").text == "OK"
        notify.hear("READY=1")
        listening = f"listening on http://127.0.0.1:{port}"
        wait_until(lambda: listening in (tmp_path / "out").read_text(), "the log tells where it listens")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_what_is_no_socket_that_listens_is_an_error(tmp_path: Path) -> None:
    write_config(tmp_path, {"models": {}})
    become = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
    ended = subprocess.run(
        ("bash", "-c", 'exec 3</dev/null; exec "$@"', "x", COMMAND[0], "-c", become, *COMMAND, "-c", "config.yaml"),
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": "1"}, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the supervisor's socket cannot be used: descriptor 3 is not a socket" in ended.stderr


def test_files_cannot_be_edited_without_a_key_over_its_socket_that_others_reach(tmp_path: Path) -> None:
    write_config(tmp_path, models(m=demo()))
    with socket.create_server(("0.0.0.0", 0)) as listening:
        service = Service(tmp_path, listening, flags=("-listen", "127.0.0.1:0", "-allow-config-edit"))
        try:
            assert service.process.wait(DEADLINE) == 1
            assert "needs apiKeys" in service.output
        finally:
            service.give_up()
