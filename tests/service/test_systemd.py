"""The units: what systemd itself says of them, and that every word of a command comes through."""

from __future__ import annotations

import plistlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from llamaswap_lib.cli import main
from llamaswap_lib.service.launchd import agent_plist
from llamaswap_lib.service.systemd import Service, service_unit, socket_unit
from tests.e2e.program import COMMAND
from tests.service.verify import needs_systemd, verify

SERVICE = Service(
    command=("/usr/bin/env", "/opt/it's 100% $HOME/llamaswap.py", "-c", 'a "quoted" \\ name;'),
    folder="/opt/100% mine",
    end_seconds=40,
    run_as="root",
)
OWN = replace(SERVICE, run_as=None)
FULL = replace(SERVICE, port=443, groups=("root", "daemon"), path="/opt/a b/bin:/usr/bin", nvidia_modprobe="/bin/true")


@needs_systemd
@pytest.mark.parametrize("service", [SERVICE, FULL, OWN], ids=["system", "system with all", "user"])
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path, service: Service) -> None:
    (tmp_path / "llamaswap.service").write_text(service_unit(service))
    (tmp_path / "llamaswap.socket").write_text(socket_unit("8080"))
    assert verify(tmp_path, is_user=service.run_as is None) == ""


@needs_systemd
def test_systemd_finds_what_is_wrong_with_a_unit(tmp_path: Path) -> None:
    (tmp_path / "llamaswap.service").write_text(service_unit(SERVICE).replace("KillMode=mixed", "KillMode=mixt"))
    assert "mixt" in verify(tmp_path, is_user=False)


@needs_systemd
def test_the_service_is_hardened_as_far_as_systemd_can_tell(tmp_path: Path) -> None:
    """7 and above is what it calls exposed; a service that opens GPUs and runs any program is not below 5."""
    unit = tmp_path / "llamaswap.service"
    unit.write_text(service_unit(replace(SERVICE, run_as="nobody")))
    done = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--threshold=60", str(unit)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ("%h", "%%h"),
        ("$x", "$$x"),
        ('"', '"\\""'),
        ("a\\b", "a\\\\b"),
    ],
)
def test_each_word_is_written_so_that_it_comes_through(word: str, wanted: str) -> None:
    assert f"\nExecStart=x {wanted}\n" in service_unit(replace(SERVICE, command=("x", word)))


def test_the_path_is_no_command_in_which_a_dollar_would_be_doubled() -> None:
    assert '\nEnvironment="PATH=/a b/$c:/%%d"\n' in service_unit(replace(SERVICE, path="/a b/$c:/%d"))


def test_the_time_to_stop_is_that_of_the_longest_orderly_end() -> None:
    assert "TimeoutStopSec=101\n" in service_unit(replace(SERVICE, end_seconds=100.5))
    read = plistlib.loads(agent_plist(("x",), "/f", 100.5, "/bin", "/log").encode())
    assert read["ExitTimeOut"] == 101


def test_a_low_port_gets_the_capability_for_it_and_no_other_does() -> None:
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in service_unit(replace(SERVICE, port=443))
    assert "CAP_NET_BIND_SERVICE" not in service_unit(SERVICE)


def test_a_unit_of_the_users_own_names_no_user() -> None:
    text = service_unit(OWN)
    assert "User=" not in text
    assert "WantedBy=default.target" in text


def test_what_cuda_needs_is_loaded_before_the_start_where_nvidia_is() -> None:
    assert "ExecStartPre=-+/bin/true -c 0 -u\n" in service_unit(FULL)
    assert "ExecStartPre" not in service_unit(SERVICE)


def test_the_property_list_of_launchd_holds_the_command_and_where_programs_are() -> None:
    read = plistlib.loads(agent_plist(SERVICE.command, "/folder", 1, "/opt/homebrew/bin:/bin", "/log").encode())
    assert read["ProgramArguments"] == list(SERVICE.command)
    assert read["EnvironmentVariables"] == {"PATH": "/opt/homebrew/bin:/bin"}
    assert read["WorkingDirectory"] == "/folder"


# -- the commands --


@pytest.mark.parametrize("command", ["systemd", "launchd"])
@pytest.mark.parametrize(
    ("flags", "why"),
    [(("-workers", "2"), "-workers is for a configuration with peers"), (("-allow-config-edit",), "needs apiKeys")],
)
def test_nothing_is_printed_for_what_would_not_start(
    command: str, flags: tuple[str, ...], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("models: {m: {cmd: 'server --port ${PORT}'}}")
    assert main([command, str(path), *flags]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert why in told.err
    if "-workers" not in flags:
        assert main([command, str(path), *flags, "-listen", "127.0.0.1:8080"]) == 0


@pytest.mark.parametrize("words", [("systemd", "-c"), ("launchd", "-c"), ("init",)], ids=" ".join)
def test_a_working_folder_that_is_gone_is_told(words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("models: {}")
    (tmp_path / "gone").mkdir()
    script = 'rmdir "$0" && exec "$@"'
    done = subprocess.run(
        ("sh", "-c", script, tmp_path / "gone", *COMMAND, *words, path),
        cwd=tmp_path / "gone", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("llamaswap: the folder that this was started in no longer exists\n")
