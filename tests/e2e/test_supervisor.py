"""Under a supervisor that speaks systemd's protocols: it hears how things are, and its socket outlives the program."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import RunProgram
from tests.e2e.program import COMMAND, DEADLINE, demo, models, wait_until
from tests.e2e.talk import ask, events

ACTIVATE = shutil.which("systemd-socket-activate")


class Ear:
    """Where the supervisor hears; leave it with `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.settimeout(DEADLINE)
        self.heard: list[str] = []

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def hear(self, wanted: str) -> None:
        """Read until the line comes."""
        while wanted not in self.heard:
            self.heard += self._sock.recv(4096).decode().splitlines()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    with Ear(tmp_path / "notify") as found:
        yield found


def test_it_is_told_what_happens_from_ready_to_stopping(run_program: RunProgram, ear: Ear) -> None:
    shows = "import os, sys; sys.exit('NOTIFY_SOCKET' in os.environ)"
    config = models(m=demo(), shows=f"python3 -c {shows!r} ${{PORT}}")
    with run_program(config, env={"NOTIFY_SOCKET": str(ear.path)}) as program:
        ear.hear("READY=1")
        ear.hear("STATUS=no model is loaded")
        assert program.chat("m").status == 200
        ear.hear("STATUS=m ready")
        assert "exited with code 0" in program.chat("shows").message  # it did not inherit the address
        program.signal(signal.SIGTERM)
        ear.hear("STOPPING=1")
        assert program.wait() == 0
        assert not any(line.startswith("WATCHDOG") for line in ear.heard)


def test_the_watchdog_is_fed_until_the_end(run_program: RunProgram, ear: Ear) -> None:
    env = {"NOTIFY_SOCKET": str(ear.path), "WATCHDOG_USEC": "200000"}
    with run_program(models(m=demo()), env=env) as program:
        for count in range(1, 5):
            ear.heard.clear()
            ear.hear("WATCHDOG=1")
            assert program.chat("m").status == 200, count


def test_a_frozen_program_feeds_no_watchdog(run_program: RunProgram, ear: Ear) -> None:
    env = {"NOTIFY_SOCKET": str(ear.path), "WATCHDOG_USEC": "200000"}
    with run_program(models(m=demo()), env=env) as program:
        ear.hear("WATCHDOG=1")
        program.signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):  # noqa: PT012 - what was on its way is heard first
            ear._sock.settimeout(1.0)
            while True:
                ear._sock.recv(4096)
        program.signal(signal.SIGCONT)
        ear._sock.settimeout(DEADLINE)
        ear.heard.clear()
        ear.hear("WATCHDOG=1")


@pytest.mark.skipif(ACTIVATE is None, reason="needs systemd-socket-activate, of systemd")
def test_a_restart_behind_its_socket_refuses_nobody(tmp_path: Path) -> None:
    """The socket is the supervisor's: it stays, with all who wait in it, while one program ends and the next starts."""
    (tmp_path / "config.yaml").write_text(f"models: {{m: {{cmd: {demo('--tokens-per-second', '50')!r}}}}}\n")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def start(name: str) -> subprocess.Popen[bytes]:
            """As systemd does it: descriptor 3, and the pid in the environment."""
            become = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
            descriptor = listening.fileno()
            shell = f'exec 3<&{descriptor}; exec "$@"'
            with (tmp_path / name).open("wb") as out:
                return subprocess.Popen(
                    ("bash", "-c", shell, "x", COMMAND[0], "-c", become, *COMMAND, "-c", "config.yaml"),
                    cwd=tmp_path, stdout=out, pass_fds=[descriptor], env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": "1"},
                )  # fmt: skip

        first = start("first")
        assert ask(port, "GET", "/health").status == 200
        first.send_signal(signal.SIGTERM)
        wait_until(lambda: b"stopping" in (tmp_path / "first").read_bytes(), "the first ends")
        waiting = socket.create_connection(("127.0.0.1", port), DEADLINE)
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert first.wait(DEADLINE) == 0
        second = start("second")
        try:
            waiting.settimeout(DEADLINE)
            assert waiting.recv(4096).startswith(b"HTTP/1.1 200 ")
        finally:
            waiting.close()
            second.send_signal(signal.SIGTERM)
            assert second.wait(DEADLINE) == 0


@pytest.mark.skipif(ACTIVATE is None, reason="needs systemd-socket-activate, of systemd")
def test_the_tool_of_systemd_starts_it_with_the_first_connection(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: {m: {cmd: 'x ${PORT}'}}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "out").open("wb") as out:
        argv = (str(ACTIVATE), "-l", f"127.0.0.1:{port}", *COMMAND, "-c", "config.yaml")
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=out, stderr=out)
    try:
        wait_until(lambda: b"Listening" in (tmp_path / "out").read_bytes(), "systemd's tool listens")
        assert ask(port, "GET", "/health").text == "OK"
        assert f"listening on http://127.0.0.1:{port}" in (tmp_path / "out").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_what_is_no_socket_that_listens_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: {}\n")
    become = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"
    ended = subprocess.run(
        ("bash", "-c", 'exec 3</dev/null; exec "$@"', "x", COMMAND[0], "-c", become, *COMMAND, "-c", "config.yaml"),
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": "1"}, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "the supervisor's socket cannot be used: descriptor 3 is no socket" in ended.stderr


def test_a_stream_goes_on_within_the_shutdown_timeout(run_program: RunProgram) -> None:
    config = {**models(m=demo("--tokens-per-second", "50")), "shutdownTimeout": 20}
    with run_program(config) as program, program.stream("m", max_tokens=100) as wire:
        wire.read_head_and_first_chunk()
        program.signal(signal.SIGTERM)
        assert events(b"".join(wire.chunks()))[-1] == "[DONE]"
        assert program.wait() == 0
