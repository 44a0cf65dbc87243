"""The units: what systemd itself says of them, and that every word of a command comes through."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from llamaswap_lib.service.launchd import agent_plist
from llamaswap_lib.service.systemd import quoted, service_unit, socket_unit

COMMAND = ("/usr/bin/env", "/opt/it's 100% $HOME/llamaswap.py", "-c", 'a "quoted" \\ name;')
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze, of systemd")


@needs_systemd
@pytest.mark.parametrize("run_as", ["root", None])
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path, run_as: str | None) -> None:
    (tmp_path / "llamaswap.service").write_text(service_unit(COMMAND, 40, run_as=run_as))
    (tmp_path / "llamaswap.socket").write_text(socket_unit("8080"))
    command = ["systemd-analyze", "verify", "--man=no"] + ([] if run_as else ["--user"])
    argv, env = [*command, *map(str, tmp_path.iterdir())], {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_service_is_hardened_as_far_as_systemd_can_tell(tmp_path: Path) -> None:
    """7 and above is what it calls exposed; a service that opens GPUs and runs any program is not below 5."""
    unit = tmp_path / "llamaswap.service"
    unit.write_text(service_unit(COMMAND, 40, run_as="nobody"))
    done = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--threshold=60", str(unit)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]


def test_the_time_to_stop_is_longer_than_the_longest_orderly_stop() -> None:
    assert "TimeoutStopSec=115\n" in service_unit(COMMAND, 100.0, run_as="x")


def test_a_low_port_gets_the_capability_for_it_and_no_other_does() -> None:
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in service_unit(COMMAND, 1, run_as="x", port=443)
    assert "CAP_NET_BIND_SERVICE" not in service_unit(COMMAND, 1, run_as="x", port=8080)


def test_a_unit_of_the_users_own_names_no_user() -> None:
    text = service_unit(COMMAND, 1, run_as=None)
    assert "User=" not in text
    assert "WantedBy=default.target" in text


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("plain", "plain"), ("", '""'), ("a b", '"a b"'), ("%", "%%"), ("$x", "$$x"), ('"', '"\\""'), ("a\\b", "a\\\\b")],
)
def test_each_word_is_written_so_that_it_comes_through(word: str, wanted: str) -> None:
    assert quoted(word) == wanted


def test_the_property_list_of_launchd_holds_the_command() -> None:
    read = plistlib.loads(agent_plist(COMMAND, 30.5, "/log").encode())
    assert read["ProgramArguments"] == list(COMMAND)
    assert read["ExitTimeOut"] == 45
