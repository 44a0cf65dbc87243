"""A worker's process: how it begins, and how its parent sees it end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from llamaswap_lib.activity.record import Record
from llamaswap_lib.activity.row import Row
from llamaswap_lib.config.check import Listen
from llamaswap_lib.runtime.logs.server_logs import Logs
from llamaswap_lib.upgrade.link import Message
from llamaswap_lib.workers.connection_counts import ConnectionCounts
from llamaswap_lib.workers.process import _BOOT, WorkerProcess
from llamaswap_lib.workers.pulse import MOST_MISSED
from tests.e2e.program import DEADLINE, wait_until
from tests.workers.test_worker import begin_of

pytestmark = pytest.mark.slow  # each starts a process


def test_nothing_is_imported_from_the_folder_that_it_starts_in(tmp_path: Path) -> None:
    for name in ("json.py", "signal.py"):
        (tmp_path / name).write_text("raise SystemExit('it is from the folder')")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_WR)  # the parent has ended
        ended = subprocess.run(
            (sys.executable, "-c", _BOOT, json.dumps([sys.path, 1, theirs.fileno(), -1, -1, -1, 0])),
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},  # which may be "."
            pass_fds=(theirs.fileno(),),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "")


class _Nobody:
    """A parent that wants nothing."""

    def take_rows(self, rows: Sequence[Row], records: Sequence[Record | None]) -> None: ...
    def take_events(self, events: bytes) -> None: ...
    def take_connection(self, client: Message, descriptor: int) -> None:
        os.close(descriptor)

    def take_left(self, client: Message, descriptor: int) -> None:
        os.close(descriptor)

    def note_refused(self, name: str, error: str) -> None: ...


def test_one_that_is_stopped_is_ended_and_says_where_it_was() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(Logs()) as logs:
        counts = ConnectionCounts().descriptor
        worker = WorkerProcess(7, 0, listening, counts, _Nobody(), logs, 0.01)
        try:
            assert worker.await_ready(DEADLINE) == ""
            os.kill(worker.pid, signal.SIGSTOP)
            os.waitpid(worker.pid, os.WUNTRACED)  # until it is
            assert worker.wait() == "killed by SIGABRT"
        finally:
            worker.kill()
            os.close(counts)
        assert worker.end() == 0
        told = b"".join(logs.histories().values()).decode()
        assert f"worker 7 (process {worker.pid}) has not answered for " in told
        assert "Fatal Python error: Aborted" in told
        assert "worker.py" in told.partition("Fatal Python error: Aborted")[2]


def test_one_that_serves_answers_each_look() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(Logs()) as logs:
        counts = ConnectionCounts().descriptor
        worker = WorkerProcess(1, 0, listening, counts, _Nobody(), logs)
        pulse = worker._pulse
        try:
            worker.begin(begin_of(Listen(*listening.getsockname())))
            assert worker.is_serving.wait(DEADLINE)
            for _ in range(2 * MOST_MISSED):
                assert not pulse.has_stopped()
                wait_until(lambda: not pulse._is_awaited, "it answers")
        finally:
            worker.kill()
            os.close(counts)
        assert worker.wait() == "killed by SIGKILL"
        assert worker.end() == 0


def test_one_that_hangs_and_is_heard_no_more_is_killed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(Logs()) as logs:
        counts = ConnectionCounts().descriptor
        worker = WorkerProcess(1, 0, listening, counts, _Nobody(), logs)
        try:
            assert worker.await_ready(DEADLINE) == ""
            os.kill(worker.pid, signal.SIGSTOP)
            os.waitpid(worker.pid, os.WUNTRACED)  # until it hangs
            worker.link.close(0.0)
            assert worker.wait() == "killed by SIGKILL"
        finally:
            worker.kill()
            os.close(counts)
        assert worker.end() == 0
