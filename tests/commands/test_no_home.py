"""Commands of a user who is only a number: without a home folder and without a name, as in a container."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.program import COMMAND, DEADLINE, environment

AS_A_NUMBER = ("unshare", "--user", "--map-user=54321", "env", "-u", "HOME")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*AS_A_NUMBER, *words),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.fixture(autouse=True)
def _needs_namespaces(tmp_path: Path) -> None:
    try:
        told = run(tmp_path, "id", "-u").stdout
    except FileNotFoundError:
        told = ""
    if told != "54321\n":
        pytest.skip("no user namespace can be made here: unshare --user --map-user")


def test_a_first_configuration_is_written(tmp_path: Path) -> None:
    ended = run(tmp_path, *COMMAND, "init")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "config.yaml").exists()


def test_what_needs_a_home_or_a_name_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("models: {a: {cmd: 'sh ${PORT}'}}\n")
    launchd, systemd = (run(tmp_path, *COMMAND, command, "-c", "c.yaml") for command in ("launchd", "systemd"))
    assert (launchd.returncode, launchd.stderr) == (1, "llamaswap: there is no home folder: set HOME\n")
    wanted = "llamaswap: -run-as: the user 54321 has no name on this machine; name another one\n"
    assert (systemd.returncode, systemd.stderr) == (1, wanted)
