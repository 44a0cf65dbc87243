"""The program as one file, on a Python without anything else: it does all that a checkout does.

`LLAMASWAP_TEST_COMMAND` runs every other end-to-end test on it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.program import DEADLINE, ROOT, Program, wait_until

BUILD = ROOT / "tools" / "build_pyz.py"
NAMES = ("llamaswap.py", "llamaswap.pyz")
BARE = ("env", "-i", sys.executable, "-IS")  # no environment, no folder of the user's, no installed packages


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def build(folder: Path) -> Path:
    subprocess.run(
        (sys.executable, str(BUILD), "--out", str(folder)), check=True, capture_output=True, timeout=DEADLINE
    )
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Iterator[Path]:
    """One with both files and the demo configuration, into which nothing may be written."""
    place = tmp_path / "a folder's name"
    place.mkdir()
    for name in NAMES:
        (place / name).write_bytes((built / name).read_bytes())
    (place / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    place.chmod(0o555)
    yield place
    place.chmod(0o755)


def test_two_builds_are_the_same_bytes_under_both_names(built: Path, tmp_path: Path) -> None:
    assert len({(folder / name).read_bytes() for folder in (built, build(tmp_path)) for name in NAMES}) == 1


def test_it_holds_the_licences_and_is_stored(built: Path) -> None:
    with zipfile.ZipFile(built / "llamaswap.pyz") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert "LICENSE" in names
    assert any(name.startswith("PyYAML-") and name.endswith("-LICENSE") for name in names)
    assert not any(name.endswith((".so", ".pyc")) for name in names)


@pytest.mark.parametrize("name", NAMES)
def test_its_commands_work_on_a_bare_python(folder: Path, name: str) -> None:
    def run(*arguments: str) -> str:
        argv = (*BARE, name, *arguments)
        return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=True).stdout

    assert run("-version").startswith("llamaswap ")
    assert run("check", "-c", "config.yaml") == "ok: 3 models\n"
    shown = json.loads(run("check", "-c", "config.yaml", "-show", "-json"))
    assert shlex.split(shown["config"]["models"]["small"]["cmd"])[1] == str(folder / name)


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_models_swap_on_a_bare_python(folder: Path, tmp_path: Path, name: str) -> None:
    command = shlex.join((sys.executable, "-IS", str(folder / name)))
    config = json.loads(json.dumps({"models": {m: {"cmd": "${LLAMASWAP} demo --port ${PORT}"} for m in ("a", "b")}}))
    with Program(tmp_path, config, command=shlex.split(command)) as program:
        for model in ("a", "b", "a"):
            assert program.chat(model, max_tokens=3).status == 200
        assert program.states() == {"a": "ready"}
        assert len(program.guardians()) == 1


@pytest.mark.parametrize("how", ["overwritten", "deleted"])
def test_a_file_that_goes_away_under_it_disturbs_nothing(built: Path, tmp_path: Path, how: str) -> None:
    """Everything that it may ever need was read at the start: bodies in files, errors, pages, guardians, the end."""
    script = tmp_path / "llamaswap.py"
    script.write_bytes((built / "llamaswap.py").read_bytes())
    model = shlex.join((sys.executable, "-S", str(ROOT / "llamaswap_lib" / "demo"))) + " --port ${PORT}"
    config = {"models": {"a": {"cmd": model}, "b": {"cmd": model, "proxy": "http://localhost:${PORT}"}}}
    with Program(tmp_path, config, command=(sys.executable, "-IS", str(script))) as program:
        if how == "deleted":
            script.unlink()
        else:
            script.write_bytes(b"nothing of the kind" * 10)
        assert program.chat("a", max_tokens=3).status == 200
        assert program.chat("b", max_tokens=3, padding="x" * 3_000_000).status == 200
        assert "did you mean" in program.chat("aa").message
        assert program.ask("POST", "/v1/chat/completions", b"{", content_type="application/json").status == 400
        page = program.get("/ui/").text
        assert page.startswith("<!doctype html>")
        script = re.findall(r'<script type="module" src="([^"]+)"', page)[0]
        assert "live.start()" in program.get(f"/ui/{script}").text
        os.kill(program.guardians()[0], 9)
        wait_until(lambda: len(program.guardians()) == 1, "there is another guardian")
        assert program.chat("a", max_tokens=3).status == 200
        assert "died" not in program.stdout


@pytest.mark.parametrize("how", ["unchanged", "overwritten", "deleted"])
def test_a_reload_that_needs_more_of_the_file_needs_it_as_it_was(built: Path, tmp_path: Path, how: str) -> None:
    script = tmp_path / "llamaswap.py"
    script.write_bytes((built / "llamaswap.py").read_bytes())
    model = shlex.join((sys.executable, "-S", str(ROOT / "llamaswap_lib" / "demo"))) + " --port ${PORT}"
    config = {"models": {name: {"cmd": model} for name in ("a", "b")}}
    with Program(tmp_path, config, command=(sys.executable, "-IS", str(script))) as program:
        assert program.chat("a", max_tokens=3).status == 200
        if how == "deleted":
            script.unlink()
        elif how == "overwritten":
            script.write_bytes(b"nothing of the kind" * 10)
        program.write_config({**config, "routing": {"router": {"use": "memory"}}})
        answer = program.post("/api/config/reload", None)
        if how == "unchanged":
            assert answer.status == 200, answer.text
        else:
            assert answer.status == 400
            assert "(routing by memory), and the program's files have changed since it was started" in answer.message
        assert program.chat("b", max_tokens=3).status == 200
        assert program.get("/api/models/a/plan").json()["rule"]["kind"] == ("memory" if how == "unchanged" else "group")
