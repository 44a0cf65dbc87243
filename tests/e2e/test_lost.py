"""`lostAfter`: models on another machine, whose server is gone or out of reach while the command here goes on."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.program import DEADLINE, HELLO, Program, demo, models, wait_until
from tests.e2e.test_elsewhere import HAS_NAMESPACES, node

PORT = 29_100
pytestmark = pytest.mark.skipif(not HAS_NAMESPACES, reason="needs root, unshare, nsenter and ip: a network of its own")


class Job:
    """The model `a` at a fixed port of another machine; its command here does not end with its server."""

    def __init__(self, folder: Path, address: str, enter: str) -> None:
        self.url = f"http://{address}:{PORT}"
        self._pid = folder / "pid"
        self._mark = folder / "first"
        self.server = f"{enter} {demo('--host', address).replace('${PORT}', str(PORT))}"

    def entry(self, lost_after: float, first_flags: str = "") -> dict[str, Any]:
        first = f"mkdir {shlex.quote(str(self._mark))} 2>/dev/null && flags={shlex.quote(first_flags)}"
        words = f"{first}; {self.server} $flags & echo $! > {shlex.quote(str(self._pid))}; exec sleep 1000000"
        return {"cmd": f"sh -c {shlex.quote(words)}", "proxy": self.url, "lostAfter": lost_after}

    def end_server(self) -> None:
        """It has ended, and refuses connections; the command here goes on."""
        os.kill(int(self._pid.read_text()), signal.SIGKILL)
        wait_until(self._refuses, "the server has ended")

    def _refuses(self) -> bool:
        address = urlsplit(self.url)
        try:
            socket.create_connection((address.hostname or "", address.port or 0), DEADLINE).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it is ending
        return False

    @property
    def is_lost(self) -> str:
        return f"[WARN] a: lost: no answer from {self.url} for "


def test_a_request_to_a_server_that_refuses_is_answered_by_the_next_run(tmp_path: Path) -> None:
    with node() as (address, enter):
        job = Job(tmp_path, address, enter)
        with Program(tmp_path, models(a=job.entry(1))) as program:
            assert program.chat("a").status == 200
            job.end_server()
            assert program.chat("a").status == 200
            program.await_starts("a", 2)
            program.await_log(f"{job.is_lost}1 s\n")
            program.await_log(f"a: stopping, lost: no answer from {job.url} for 1 s")
            assert 'llamaswap_evictions_total{model="a",reason="lost"} 1' in program.get("/metrics").text


def test_requests_wait_for_a_server_that_comes_back_in_time(tmp_path: Path) -> None:
    with node() as (address, enter):
        job = Job(tmp_path, address, enter)
        with Program(tmp_path, models(a=job.entry(600))) as program, program.wire() as one, program.wire() as other:
            assert program.chat("a").status == 200
            job.end_server()
            one.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: program.running("a")["phase"] == "unreachable", "it is looked for")
            other.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            reason = "its server cannot be reached: waiting for it to answer, or to be lost"
            wait_until(lambda: reason in [row["reason"] for row in program.queue()], "another one waits")
            with subprocess.Popen(shlex.split(job.server), stdout=subprocess.DEVNULL) as server:
                try:
                    assert one.status() == 200
                    assert other.status() == 200
                finally:
                    server.kill()
            program.await_starts("a", 1)
            assert job.is_lost not in program.stdout


def test_a_request_without_a_byte_leaves_a_machine_that_is_silent(tmp_path: Path) -> None:
    with node() as (address, enter):
        job = Job(tmp_path, address, enter)
        with Program(tmp_path, models(a=job.entry(1, "--prompt-seconds 3600"))) as program, program.wire() as wire:
            assert program.post("/api/models/load/a", {}).status == 200
            wire.request("POST", "/v1/chat/completions", {"model": "a", **HELLO})
            wait_until(lambda: program.running("a")["in_flight"] == 1, "it is inside")
            subprocess.run(shlex.split(f"{enter} ip link set eth0 down"), check=True)
            wait_until(lambda: job.is_lost in program.stdout, "it is lost")
            subprocess.run(shlex.split(f"{enter} ip link set eth0 up"), check=True)
            assert wire.status() == 200
            program.await_starts("a", 2)


def test_a_model_that_works_for_long_without_a_byte_is_not_lost(tmp_path: Path) -> None:
    with node() as (address, enter):
        job = Job(tmp_path, address, enter)
        with Program(tmp_path, models(a=job.entry(1, "--prompt-seconds 8"))) as program:
            assert program.chat("a").status == 200
            program.await_starts("a", 1)
            assert job.is_lost not in program.stdout
