"""`llamaswap there`, as the one file that is copied to other machines: the port, the address, signals, the end."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from llamaswap_lib.commands.table import find_command
from llamaswap_lib.there import PORTS, replaced
from tests.children import python, shell, stubborn
from tests.e2e.program import COMMAND, DEADLINE, ROOT, Program, demo, environment, models, wait_until

FILE = ROOT / "llamaswap_lib" / "there.py"
TOKEN = "_0123456789abcdef"
LINE = re.compile(rf"LLAMASWAP_ADDRESS={TOKEN} http://(\S+):(\d+)\n")
NOWHERE = "http://127.0.0.1:1"
ENV = {**os.environ, "LLAMASWAP_ANNOUNCE": TOKEN}


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A copy of it, where nothing else of ours is."""
    return shutil.copy(FILE, str(tmp_path / "copied.py"))


def there(file: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", file, *words)


def run(file: str, *words: str, env: Mapping[str, str] = ENV) -> subprocess.CompletedProcess[str]:
    argv = there(file, *words)
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False)


@contextmanager
def started(file: str, *words: str, env: Mapping[str, str] = ENV) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(there(file, *words), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with process:
            yield process
    finally:
        process.kill()


def read_to(process: subprocess.Popen[str], wanted: str) -> str:
    """What it prints until a line has that."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if wanted in line:
            return read
    raise AssertionError(f"never: {wanted}, but {read}")


class Front(HTTPServer):
    """A llamaswap that knows one run, or not."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.knows_it = True
        self.takes_addresses = True
        self.address = ""
        self.moved_to = ""  # the address that it sends everybody to
        self.asked = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Front

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.takes_addresses and not self.server.moved_to:
            self.server.address = told["address"]
        self._answer(self.server.takes_addresses)

    def do_GET(self) -> None:
        self.server.asked.set()
        self._answer(self.server.knows_it)

    def _answer(self, is_good: bool) -> None:
        is_ours = self.path == f"/api/announce/{TOKEN}"
        body = json.dumps({"address": self.server.address}).encode()
        if self.server.moved_to:
            self.send_response(301)
            self.send_header("Location", f"{self.server.moved_to}{self.path}")
        else:
            self.send_response(200 if is_good and is_ours else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def a_front() -> Iterator[Front]:
    with Front() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def front() -> Iterator[Front]:
    with a_front() as server:
        yield server


# -- the command, the port, the line --


def test_it_tells_where_the_server_listens_and_ends_with_its_code(file: str) -> None:
    script = 'echo "at $0 $1 with ${LLAMASWAP_ANNOUNCE-no token}"; exit 7'
    done = run(file, "--host", "node1", "--", *shell(script), "HOST", "--port=PORT")
    assert done.returncode == 7, done.stderr
    [(host, port)] = LINE.findall(done.stdout)
    assert host == "node1"
    assert PORTS[0] <= int(port) <= PORTS[1]
    assert f"at node1 --port={port} with no token\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        *(
            ("PORT", "81"),
            ("--port=PORT", "--port=81"),
            ("HOST:PORT", "n:81"),
            ("http://HOST:PORT/v1", "http://n:81/v1"),
        ),
        *(("$PORT", "81"), ("${PORT}", "81"), ("serve --port $PORT -h ${HOST}", "serve --port 81 -h n")),
        *(
            ("PORT=PORT", "PORT=81"),
            ("OLLAMA_HOST=HOST", "OLLAMA_HOST=n"),
            ("TRANSPORT", "TRANSPORT"),
            ("$PORTS", "$PORTS"),
        ),
        ("SUPPORT=1", "SUPPORT=1"),
    ],
)
def test_the_words_host_and_port_are_replaced_and_no_parts_of_others(word: str, wanted: str) -> None:
    assert replaced(word, "n", 81) == wanted


def test_the_name_is_that_of_a_pod_and_a_port_is_one_of_those_that_may_be_used(file: str) -> None:
    done = run(file, "--ports", "29000-29009", "--", "true", "PORT", env={**ENV, "POD_IP": "fd00::17"})
    assert re.fullmatch(rf"LLAMASWAP_ADDRESS={TOKEN} http://\[fd00::17\]:2900\d\n", done.stdout)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 1, "no command; it stands behind --, such as: there -- llama-server --host HOST --port PORT"),
        (("--", "true"), 1, "the command has no word PORT, so the server is not told where to listen"),
        (("--", "/no/such", "PORT"), 127, "cannot start /no/such: No such file or directory"),
        (("--", "/", "PORT"), 126, "cannot start /: Permission denied"),
        (("--front", "front:8080", "--", "true", "PORT"), 1, "--front: expected the address of llamaswap such as "),
    ],
)
def test_what_is_wrong_is_said(file: str, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(file, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"llamaswap there: {said}")


def test_without_a_token_nothing_is_started(file: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "LLAMASWAP_ANNOUNCE"}
    done = run(file, "--", "echo", "PORT", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no token" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--ports", "9-1"), ("--ports", "x"), ("--grace", "-1"), ("--lost-after", "x")]
)
def test_a_wrong_value_is_refused(file: str, flag: str, value: str) -> None:
    done = run(file, f"{flag}={value}", "--", "true", "PORT")
    assert done.returncode == 2
    assert f"argument {flag}: expected " in done.stderr


def test_it_is_read_by_python_3_8_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(FILE.read_text(), feature_version=(3, 8))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported == ["__future__"]


# -- signals, and the end --


WAITS = """
import signal, sys
def asked(number, _):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(5)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, asked)
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_goes_to_the_server(file: str, number: signal.Signals) -> None:
    with started(file, "--", *python(WAITS), "PORT") as process:
        read_to(process, "up")
        process.send_signal(number)
        read_to(process, f"got {number.name}")
        assert process.wait(DEADLINE) == 5


def test_a_server_that_stays_is_killed_and_the_code_says_so(file: str) -> None:
    with started(file, "--grace", "0.2", "--", *stubborn(), "PORT") as process:
        read_to(process, "stubborn")
        process.terminate()
        assert process.wait(DEADLINE) == 128 + signal.SIGKILL


def test_what_outlives_the_server_in_its_group_ends_with_it(file: str) -> None:
    lasting = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('child', flush=True)\nsignal.pause()"
    script = '"$0" -S -c "$1" & while ! read line; do :; done <fifo; exit 3'
    folder = Path(file).parent
    os.mkfifo(folder / "fifo")
    words = (*shell(f"cd '{folder}'; {script}"), sys.executable, lasting, "PORT")
    with started(file, "--grace", "0.2", "--", *words) as process:
        read_to(process, "child")
        (folder / "fifo").write_text("go\n")
        assert process.wait(DEADLINE) == 3
        assert process.stdout is not None
        assert process.stdout.read() == "", "nobody holds the pipe any more"


# -- the llamaswap in front --


def test_the_address_is_told_by_a_request_where_that_works_and_once(file: str, front: Front) -> None:
    with started(file, "--host", "node1", "--front", front.url, "--", *python(WAITS), "PORT") as process:
        assert "LLAMASWAP_ADDRESS" not in read_to(process, "up")
        wait_until(lambda: front.address.startswith("http://node1:"), "it is told")
        process.terminate()
        rest = read_to(process, "got SIGTERM")
        assert "LLAMASWAP_ADDRESS" not in rest


def test_an_address_that_was_not_taken_is_printed_and_told_again(file: str, front: Front) -> None:
    front.takes_addresses = False
    words = ("--front", f"{front.url}/", "--lost-after", "2", "--", *python(WAITS), "PORT")
    with started(file, *words) as process:
        read_to(process, "LLAMASWAP_ADDRESS=")
        front.takes_addresses = True
        wait_until(lambda: bool(front.address), "it is told again")
        process.terminate()


def test_a_front_that_sends_to_another_address_is_followed_there(file: str, front: Front) -> None:
    with a_front() as other:
        other.moved_to = front.url
        with started(file, "--host", "node1", "--front", other.url, "--", *python(WAITS), "PORT") as process:
            assert "LLAMASWAP_ADDRESS" not in read_to(process, "up")
            wait_until(lambda: front.address.startswith("http://node1:"), "it is told")
            process.terminate()


def test_without_the_llamaswap_in_front_the_server_ends_and_then_the_job(file: str) -> None:
    """Though nobody reads what it says any more, and its stdin has ended."""
    read, write = os.pipe()
    os.close(read)
    marked = Path(file).with_name("ended")
    at_end = f"echo $SLURM_JOB_ID >'{marked}'"
    words = ("--front", NOWHERE, "--lost-after", "0.2", "--at-end", at_end, "--", "sleep", "1000", "PORT")
    try:
        done = subprocess.run(
            there(file, *words), env={**ENV, "SLURM_JOB_ID": "31"}, stdin=subprocess.DEVNULL, stdout=write,
            stderr=write, timeout=DEADLINE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 128 + signal.SIGTERM
    assert marked.read_text() == "31\n"


def test_a_job_of_slurm_is_cancelled_with_its_server(file: str) -> None:
    folder = Path(file).parent
    (folder / "scancel").write_text(f'#!/bin/sh\necho "$@" >"{folder}/cancelled"\n')
    (folder / "scancel").chmod(0o755)
    env = {**ENV, "SLURM_JOB_ID": "31", "PATH": f"{folder}:{os.environ['PATH']}"}
    done = run(file, "--front", NOWHERE, "--lost-after", "0.2", "--", "sleep", "1000", "PORT", env=env)
    assert (folder / "cancelled").read_text() == "31\n"
    why = "does not answer any more (Connection refused)"
    assert f"the llamaswap at {NOWHERE} {why}: ending the server" in done.stderr


def test_a_llamaswap_that_does_not_know_the_run_is_none(file: str, front: Front) -> None:
    words = ("--front", front.url, "--lost-after", "0.5", "--", *python(WAITS), "PORT")
    with started(file, *words) as process:
        read_to(process, "up")
        assert front.asked.wait(DEADLINE)
        front.knows_it = False
        read_to(process, "got SIGTERM")
        assert process.wait(DEADLINE) == 5
        assert process.stderr is not None
        assert "does not know this run any more" in process.stderr.read()


def test_why_the_llamaswap_in_front_does_not_answer_is_said(file: str, front: Front) -> None:
    url = front.url.replace("http:", "https:")
    done = run(file, "--front", url, "--lost-after", "0.2", "--", "sleep", "1000", "PORT")
    assert f"the llamaswap at {url} does not answer any more ([SSL: " in done.stderr


# -- with the program --


def test_the_command_prints_the_file(tmp_path: Path) -> None:
    argv = (*COMMAND, "there", "--print")
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == FILE.read_text()
    assert find_command("there") is not None


def test_what_stands_behind_the_dashes_is_not_ours(tmp_path: Path) -> None:
    argv = (*COMMAND, "there", "--token", TOKEN, "--host", "n", "--", "echo", "--print=false", "--", "PORT")
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert re.search(r"^--print=false -- \d+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("has_front", [False, True])
def test_a_model_behind_it_is_loaded_answers_and_is_unloaded(tmp_path: Path, file: str, has_front: bool) -> None:
    front = ("--front", "http://127.0.0.1:${OWN_PORT}") if has_front else ()
    cmd = " ".join((*there(file, "--host", "127.0.0.1", *front, "--"), demo().replace("${PORT}", "PORT")))
    config = {**models(m={"cmd": cmd, "proxy": "announced"}), "logToStdout": "both"}
    with Program(tmp_path, config) as program:
        assert program.chat("m").status == 200
        if not has_front:
            program.await_log("LLAMASWAP_ADDRESS=***")
        assert program.post("/api/models/unload/m", None).status == 200
        wait_until(lambda: not program.states(), "it has ended")
        assert has_front == ("LLAMASWAP_ADDRESS=" not in program.stdout)
        assert "moves to" not in program.stdout
