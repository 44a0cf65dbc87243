"""`llamaswap systemd` and `llamaswap launchd`: what they print is good for this installation, from any folder."""

from __future__ import annotations

import getpass
import os
import plistlib
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.ports import PortBlock
from tests.e2e.program import COMMAND, DEADLINE, wait_until
from tests.e2e.talk import ask
from tests.service.verify import needs_systemd, verify

CONFIG = "shutdownTimeout: 100\nmodels: {m: {cmd: 'python3 x ${PORT}', unloadTimeout: 20}, n: {cmd: 'x ${PORT}'}}\n"


def run(folder: Path, *words: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(CONFIG)
    return subprocess.run(
        (*COMMAND, *words),
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


def printed(folder: Path, *words: str) -> str:
    done = run(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serves(argv: Sequence[str], port: int) -> None:
    """Started in another folder, it answers and ends in order."""
    process = subprocess.Popen(argv, cwd="/", stdout=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None
        try:
            return ask(port, "GET", "/health").text == "OK"
        except OSError:
            return False

    try:
        wait_until(answers, "it answers")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait(DEADLINE)


@needs_systemd
@pytest.mark.parametrize("more", [(), ("-user",)], ids=["system", "user"])
def test_systemd_has_nothing_to_say_against_what_is_printed(tmp_path: Path, more: tuple[str, ...]) -> None:
    service = printed(tmp_path, "systemd", "-c", "config.yaml", *more)
    socket = printed(tmp_path, "systemd", "-c", "config.yaml", "-listen", "127.0.0.1:8080", "-socket", *more)
    (tmp_path / "llamaswap.service").write_text(service)
    (tmp_path / "llamaswap.socket").write_text(socket)
    assert verify(tmp_path, is_user=bool(more)) == ""


def test_the_unit_starts_this_installation_from_any_folder(tmp_path: Path) -> None:
    ports = PortBlock()
    try:
        unit = printed(tmp_path, "systemd", "-c", "config.yaml", "-listen", f"127.0.0.1:{ports.first}")
        [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        serves(shlex.split(command), ports.first)
    finally:
        ports.close()
    assert f"\nWorkingDirectory=-{tmp_path}\n" in unit
    assert f"\nUser={os.environ.get('SUDO_USER') or getpass.getuser()}\n" in unit
    assert "\nTimeoutStopSec=150\n" in unit  # shutdownTimeout, the longest unloadTimeout, and 30
    assert "\nKillMode=mixed\n" in unit


def test_the_property_list_starts_this_installation_from_any_folder(tmp_path: Path) -> None:
    ports = PortBlock()
    try:
        read = plistlib.loads(
            printed(tmp_path, "launchd", "-c", "config.yaml", "-listen", f"127.0.0.1:{ports.first}").encode()
        )
        serves(read["ProgramArguments"], ports.first)
    finally:
        ports.close()
    assert read["ExitTimeOut"] == 150


def test_the_unit_has_our_path_only_if_a_program_is_on_it_that_systemd_would_not_find(tmp_path: Path) -> None:
    words = ("systemd", "-c", "config.yaml")
    assert "Environment=" not in run(tmp_path, *words).stdout  # python3 is in /usr/bin, and x nowhere
    (tmp_path / "x").write_text("#!/bin/sh\n")
    (tmp_path / "x").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    assert f"\nEnvironment=PATH={path}\n" in run(tmp_path, *words, path=path).stdout


def test_certificates_are_passed_on(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    tls = ("-tls-cert-file", "cert.pem", "-tls-key-file", "key.pem")
    unit = printed(tmp_path, "systemd", "-c", "config.yaml", *tls)
    assert f" -tls-cert-file {tmp_path}/cert.pem -tls-key-file {tmp_path}/key.pem\n" in unit
    assert "ListenStream=8443\n" in printed(tmp_path, "systemd", "-c", "config.yaml", *tls, "-socket")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (":8080", "8080"),
        ("0.0.0.0:8080", "8080"),
        ("[::]:8080", "8080"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_the_socket_unit_listens_where_the_flag_says_for_both_families(
    tmp_path: Path, address: str, wanted: str
) -> None:
    unit = printed(tmp_path, "systemd", "-c", "config.yaml", "-listen", address, "-socket")
    assert f"ListenStream={wanted}\nBindIPv6Only=both\n" in unit


def test_how_to_install_it_is_told_beside_it(tmp_path: Path) -> None:
    told = {
        (): "sudo tee /etc/systemd/system/llamaswap.service",
        ("-user",): "systemctl --user enable --now llamaswap.service",
        ("-socket",): "sudo systemctl stop llamaswap.service && sudo systemctl enable --now llamaswap.socket",
    }
    for more, wanted in told.items():
        done = run(tmp_path, "systemd", "-c", "config.yaml", *more)
        assert wanted in done.stderr
        assert wanted not in done.stdout
    assert "launchctl bootstrap" in run(tmp_path, "launchd", "-c", "config.yaml").stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("-run-as", "nobody-of-this-name"), "there is no user 'nobody-of-this-name' on this machine"),
        (("-run-as", "root", "-user"), "-run-as: your own user manager runs everything as you"),
        (("-socket", "-listen", "localhost:80"), "a socket unit needs an IP address or none, got 'localhost'"),
        (("-listen", "nowhere"), "expected [host]:port"),
        (("-tls-cert-file", "x"), "give both, or neither"),
        (("-c", "missing.yaml"), "missing.yaml"),
    ],
)
def test_what_makes_no_unit_is_told(tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    done = run(tmp_path, "systemd", "-c", "config.yaml", *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
