"""Models on other machines: no request gets to one that is not the model's own, though it had the address first."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.e2e.program import ROOT, Program, demo, models, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
OURS = Path("/proc/thread-self/ns/net")
HAS_NAMESPACES = os.geteuid() == 0 and all(map(shutil.which, ("unshare", "nsenter", "ip")))


@contextmanager
def network() -> Iterator[Path]:
    """A network of its own, where nothing is yet, for as long as a process stays in it."""
    with subprocess.Popen(("unshare", "-n", "sleep", "1000")) as holder:
        try:
            made = Path(f"/proc/{holder.pid}/ns/net")
            wait_until(lambda: made.readlink() != OURS.readlink(), "it has its network")
            yield made
        finally:
            holder.kill()


@contextmanager
def moved_to(made: Path) -> Iterator[None]:
    """This thread, and what it starts, is in that network: a browser of another test would notice a change of ours."""
    with OURS.open() as before, made.open() as there:
        try:
            _move(there)
            yield
        finally:
            _move(before)


def _move(place: TextIO) -> None:
    if LIBC.setns(place.fileno(), 0):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def node() -> Iterator[tuple[str, str]]:
    """A machine of its own, as far as the network is concerned: its address, and how a command is run there."""
    with network() as here, network() as there, moved_to(here):
        enter = f"nsenter --net={there}"
        for line in (
            "ip link set lo up",
            f"ip link add eth0 type veth peer name eth0 netns {there.parts[2]}",
            "ip addr add 198.18.0.1/30 dev eth0",
            "ip link set eth0 up",
            f"{enter} ip addr add 198.18.0.2/30 dev eth0",
            f"{enter} ip link set eth0 up",
            f"{enter} ip link set lo up",
        ):
            done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"there is no second network here: {line}: {done.stderr.strip()}")
        yield "198.18.0.2", enter


def serving(address: str, port: int, enter: str = "", *flags: str) -> dict[str, Any]:
    """A model at a fixed port of another machine."""
    command = demo("--host", address, *flags).replace("${PORT}", str(port))
    return {"cmd": f"{enter} {command}".strip(), "proxy": f"http://{address}:{port}"}


@contextmanager
def two_users(tmp_path: Path, alice: dict[str, Any], bob: dict[str, Any]) -> Iterator[tuple[Program, Program]]:
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()
    with (
        Program(tmp_path / "alice", models(alice=alice)) as first,
        Program(tmp_path / "bob", models(bob=bob, other=demo())) as second,
    ):
        yield first, second


def assert_nobody_is_mixed_up(first: Program, second: Program, address: str) -> None:
    assert first.chat("alice").status == 200
    assert second.chat("other").status == 200
    refused = second.chat("bob")
    assert refused.status == 502
    assert "could not start: " in refused.message
    assert f"{address}; use another port or host in `proxy` and `cmd`, or stop what listens there" in refused.message
    assert first.chat("alice").json()["model"] == "alice"
    assert first.get("/unload").status == 200
    assert second.post("/api/models/load/bob", {}).status == 200  # by hand: it need not wait until it is tried again
    assert second.chat("bob").json()["model"] == "bob"
    second.await_starts("bob", 2)


@pytest.mark.skipif(not HAS_NAMESPACES, reason="needs root, unshare, nsenter and ip: a network of its own")
def test_two_users_with_one_port_of_another_machine_are_not_mixed_up(tmp_path: Path) -> None:
    with node() as (address, enter):
        entry = serving(address, 29_100, enter)
        with two_users(tmp_path, entry, entry) as (first, second):
            assert_nobody_is_mixed_up(first, second, f"another server answers at http://{address}:29100")


@pytest.mark.parametrize("host", ["127.13", "127.0.0.13"])
def test_two_users_are_not_mixed_up_where_an_address_of_this_machine_leads_to_another(
    tmp_path: Path, port: int, host: str
) -> None:
    entry = {**serving("127.0.0.13", port), "proxy": f"http://{host}:{port}"}
    with two_users(tmp_path, entry, entry) as (first, second):
        assert_nobody_is_mixed_up(first, second, f" at http://{host}:{port}")


@pytest.mark.skipif(not HAS_NAMESPACES, reason="needs root, unshare, nsenter and ip: a network of its own")
def test_models_that_share_a_port_of_another_machine_swap(tmp_path: Path) -> None:
    with node() as (address, enter):
        slow = serving(address, 29_100, enter, "--stop-seconds", "0.5")
        with Program(tmp_path, models(a=slow, b=serving(address, 29_100, enter))) as program:
            for name in ("a", "b", "a", "b"):
                assert program.chat(name).json()["model"] == name
            assert "another server" not in program.stdout


@pytest.mark.skipif(not HAS_NAMESPACES, reason="needs root, unshare, nsenter and ip: a network of its own")
def test_the_last_server_of_another_machine_is_waited_for_while_it_ends(tmp_path: Path) -> None:
    # As with a batch system: the client ends at once, and the server on the node only when that is noticed.
    agent = """
import os, signal, subprocess, sys
if os.fork():
    signal.pause()
os.environ.pop("LLAMASWAP_RUN")
os.setsid()
parent = os.getppid()
server = subprocess.Popen(sys.argv[1:])
while os.getppid() == parent:
    try:
        server.wait(0.05)
        break
    except subprocess.TimeoutExpired:
        pass
try:
    server.wait(1)
except subprocess.TimeoutExpired:
    server.kill()
"""
    (tmp_path / "agent.py").write_text(agent)
    with node() as (address, enter):
        entry = serving(address, 29_100, enter)
        entry["cmd"] = f"{sys.executable} -S {tmp_path / 'agent.py'} {entry['cmd']}"
        entry["env"] = ["LLAMASWAP_RUN="]
        with Program(tmp_path, models(a=entry, b=entry)) as program:
            for name in ("a", "b", "a"):
                assert program.chat(name).json()["model"] == name
            assert program.get("/unload").status == 200
            wait_until(lambda: not program.relatives(), "the last server ends")


@pytest.mark.skipif(not HAS_NAMESPACES, reason="needs root, unshare, nsenter and ip: a network of its own")
def test_a_command_that_is_not_told_to_listen_may_stand_for_a_server_that_runs_elsewhere(tmp_path: Path) -> None:
    with node() as (address, enter):
        words = shlex.split(f"{enter} {sys.executable} -S {ROOT / 'llamaswap_lib' / 'demo'} --host {address}")
        with subprocess.Popen((*words, "--port", "29100", "--model", "theirs"), stdout=subprocess.DEVNULL) as server:
            try:
                with suppress(OSError):
                    wait_until(lambda: _is_listening(address, 29_100), "it listens")
                entry = {"cmd": "sleep 1000000000", "proxy": f"http://{address}:29100"}
                with Program(tmp_path, models(a=entry)) as program:
                    assert program.chat("a").status == 200
                    with program.wire() as wire:
                        wire.request("GET", "/logs/stream/a")
                        assert wire.status() == 200
                        wire.read_to(f"llamaswap: another server answers at http://{address}:29100 already".encode())
            finally:
                server.kill()


def _is_listening(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True
