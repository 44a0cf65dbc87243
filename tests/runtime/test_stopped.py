"""Whether a tree of processes is stopped: made up ones, and real ones that a signal stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from llamaswap_lib.runtime.guard.table import HAS_PROC, ProcessEntry, read_stat
from llamaswap_lib.runtime.health.watchdog import is_tree_stopped, tree_of

PATIENCE = 30.0
LISTENS = "import signal, socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
SLEEPS = "signal.pause()"

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="nobody knows without a /proc")


def entry(pid: int, parent: int, group: int = 1, session: int = 1) -> ProcessEntry:
    return ProcessEntry(pid, parent, group, session, "0")


def test_a_tree_is_the_group_the_session_and_all_that_descends_from_them() -> None:
    members = [entry(10, 1, 10, 10), entry(11, 1, 10, 10), entry(12, 1, 12, 10), entry(13, 12, 13, 13)]
    members.append(entry(14, 13, 14, 14))
    others = [entry(1, 0), entry(20, 1, 20, 20), entry(21, 20, 20, 20)]
    assert {one.pid for one in tree_of(10, [*others, *reversed(members)])} == {10, 11, 12, 13, 14}


def await_state(pid: int, *, stopped: bool) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := read_stat(pid)) is not None and found.is_stopped != stopped:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_one_process_is_stopped_until_it_is_continued() -> None:
    with subprocess.Popen((sys.executable, "-S", "-c", LISTENS + SLEEPS), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert not is_tree_stopped(process.pid, port)
        process.send_signal(signal.SIGSTOP)
        await_state(process.pid, stopped=True)
        assert is_tree_stopped(process.pid, port)
        process.send_signal(signal.SIGCONT)
        await_state(process.pid, stopped=False)
        assert not is_tree_stopped(process.pid, port)
        process.kill()
    assert not is_tree_stopped(process.pid, port)


def test_of_several_those_that_listen_count() -> None:
    source = f"import os; os.fork() and os.wait() or None; {LISTENS} print(os.getpid(), flush=True); {SLEEPS}"
    with subprocess.Popen(
        (sys.executable, "-S", "-c", source), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        port, server = int(process.stdout.readline()), int(process.stdout.readline())
        assert server != process.pid
        process.send_signal(signal.SIGSTOP)
        await_state(process.pid, stopped=True)
        assert not is_tree_stopped(process.pid, port)  # its parent is stopped, and serves nobody
        assert not is_tree_stopped(process.pid, None)
        process.send_signal(signal.SIGCONT)
        await_state(process.pid, stopped=False)
        os.kill(server, signal.SIGSTOP)
        await_state(server, stopped=True)
        assert is_tree_stopped(process.pid, port)
        assert not is_tree_stopped(process.pid, None)
        os.killpg(process.pid, signal.SIGKILL)
