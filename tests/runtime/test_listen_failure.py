"""What is said when the server cannot listen: who has the port, as far as it can be known, and what to do."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llamaswap_lib.listen_failure import command_text, is_llamaswap, why_not
from llamaswap_lib.runtime.ports import find_holder, is_free

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
LISTENS = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
IN_USE = OSError(errno.EADDRINUSE, "Address already in use (while attempting to bind on address ...)")


@contextmanager
def listening_child(*words: str) -> Iterator[tuple[int, int]]:
    """A process that listens, with more words in its command: its pid and its port."""
    argv = (sys.executable, "-c", LISTENS, *words)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
        child.communicate("\n")


@needs_proc
def test_the_process_that_has_the_port_is_named_with_its_command_and_a_port_that_is_free() -> None:
    with listening_child("--model", "a b") as (pid, port):
        told = why_not("127.0.0.1", port, IN_USE)
        start, _, cure = told.partition("; stop it, or take another port: -listen 127.0.0.1:")
        command = shlex.join((sys.executable, "-c", LISTENS, "--model", "a b"))
        assert start == f"cannot listen on 127.0.0.1:{port}: Address already in use by process {pid} ({command})"
        assert int(cure) > port
        assert is_free(int(cure))


@needs_proc
def test_secrets_in_its_command_are_not_shown() -> None:
    with listening_child("--api-key", "s3cret", "--hf-token=t0ken") as (_, port):
        told = why_not("", port, IN_USE)
    assert "s3cret" not in told
    assert "t0ken" not in told
    assert "--api-key '[hidden]'" in told or "--api-key [hidden]" in told


@needs_proc
def test_a_long_command_is_cut_and_stays_on_one_line() -> None:
    with listening_child("x\ny\x1b[31m", "z" * 5000) as (_, port):
        told = why_not("", port, IN_USE)
    assert told.isprintable()
    assert len(told) < 600


@needs_proc
def test_the_holder_of_a_port_has_pid_and_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        holder = find_holder(port)
    assert holder.pid == os.getpid()
    assert holder.words
    assert find_holder(port) == (None, "another process", ())


def test_a_port_that_is_taken_by_nobody_who_can_be_seen_is_told_too() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # it does not listen
        told = why_not("127.0.0.1", sock.getsockname()[1], IN_USE)
    assert "Address already in use by another process; stop it, or take another port" in told


@pytest.mark.parametrize(
    ("command", "is_it"),
    [
        ("llamaswap -c config.yaml", True),
        ("/usr/bin/python3 /opt/llamaswap/llamaswap.py -c config.yaml", True),
        ("python3 -I llamaswap.pyz", True),
        ("python3 -m llamaswap_lib -c x", True),
        ("python3 /opt/llamaswap.py demo --port 5800", False),
        ("python3 -m llamaswap_lib demo --port 5800", False),
        ("python3 -S /opt/llamaswap_lib/demo --port 5800", False),
        ("llama-swap -config config.yaml", False),
        ("llama-server -m /models/llamaswap.gguf", False),
        ("python3 -m http.server 8080 --directory llamaswap", False),
        ("", False),
    ],
)
def test_another_llamaswap_is_known_by_its_command(command: str, is_it: bool) -> None:
    assert is_llamaswap(command.split()) is is_it


def test_a_title_that_a_program_gave_itself_is_shown_as_it_is() -> None:
    assert command_text(("nginx: master process /usr/sbin/nginx",)) == "nginx: master process /usr/sbin/nginx"


NO_SUCH = (
    "Cannot assign requested address; this machine does not have that address; -listen :80 listens on all that it has"
)
LOW = "Permission denied; only some users may listen below port 1024; take a higher one: -listen [::1]:8080"


@pytest.mark.parametrize(
    ("host", "port", "error", "told"),
    [
        ("203.0.113.7", 80, OSError(errno.EADDRNOTAVAIL, "x"), f"203.0.113.7:80: {NO_SUCH}"),
        ("::1", 80, OSError(errno.EACCES, "x"), f"[::1]:80: {LOW}"),
        ("", 8080, OSError(errno.EACCES, "x"), ":8080: Permission denied"),
        ("box.invalid", 80, socket.gaierror(socket.EAI_NONAME, "Name not known"), "box.invalid:80: Name not known"),
        ("a..b", 80, UnicodeError("label empty or too long"), "a..b:80: label empty or too long"),
    ],
)
def test_other_errors_have_their_reason_and_a_cure_where_there_is_one(
    host: str, port: int, error: OSError | UnicodeError, told: str
) -> None:
    assert why_not(host, port, error) == f"cannot listen on {told}"
