"""Whether a command can be executed, as it is known beforehand and as the system then says: they agree."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llamaswap_lib.runtime.processes.launch import check_command


def program(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def outcome_of_start(word: str) -> int:
    """The error number of the system's own attempt, 0 for none."""
    try:
        os.waitpid(os.posix_spawnp(word, [word], dict(os.environ)), 0)
    except OSError as error:
        return error.errno or -1
    return 0


def outcome_of_check(word: str) -> int:
    try:
        check_command((word, "--port", "1"))
    except OSError as error:
        return error.errno if error.errno and error.filename == word else -1
    return 0


def words(folder: Path) -> list[str]:
    """Commands of every kind; those without a slash are looked for in folders that the test puts on PATH."""
    program(folder / "one" / "plain", mode=0o644)
    program(folder / "two" / "plain")
    program(folder / "one" / "only-plain", mode=0o644)
    program(folder / "one" / "moved", "#!/no/such/python -u\n")
    program(folder / "two" / "moved")
    program(folder / "one" / "only-moved", "#! \t/no/such/python\n")
    program(folder / "one" / "with-env", "#!/usr/bin/env sh\n")
    program(folder / "one" / "carriage", "#!/bin/sh\r\n")
    program(folder / "one" / "executable-only", mode=0o111)
    program(folder / "one" / "text", "exec true\n")
    program(folder / "two" / "text")
    program(folder / "one" / "text-of-nobody", "#! \n")
    program(folder / "one" / "empty", "")
    (folder / "one" / "folder").mkdir()
    (folder / "two" / "link").symlink_to(folder / "two" / "plain")
    (folder / "two" / "dangling").symlink_to(folder / "two" / "nothing")
    (folder / "two" / "round").symlink_to(folder / "two" / "round")
    named = ["plain", "only-plain", "moved", "only-moved", "with-env", "carriage", "executable-only", "folder", "link"]
    named += ["text", "text-of-nobody", "empty"]
    named += ["dangling", "round", "no-such-program", "sh", ".", "..", "x" * 300]
    return [
        *named,
        *(f"{folder}/{place}/{name}" for place in ("one", "two") for name in named),
        "/",
        "./x",
        "/etc/passwd/x",
    ]


def test_what_is_known_beforehand_is_what_the_system_says(tmp_path: Path) -> None:
    kept = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}/none:{tmp_path}/one:{tmp_path}/two:{kept}"
    try:
        for word in words(tmp_path):
            assert outcome_of_check(word) == outcome_of_start(word), word
    finally:
        os.environ["PATH"] = kept


def test_a_script_whose_interpreter_is_gone_says_which(tmp_path: Path) -> None:
    script = str(program(tmp_path / "serve", "#!/old/venv/bin/python3\n"))
    with pytest.raises(FileNotFoundError, match="its interpreter '/old/venv/bin/python3' does not exist"):
        check_command((script,))


@pytest.mark.skipif(sys.platform != "linux", reason="others hand it to a shell")
def test_a_script_that_names_no_interpreter_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = str(program(tmp_path / "serve", "exec llama-server\n"))
    with pytest.raises(OSError, match="whose first line does not name an interpreter"):
        check_command((script,))


@pytest.mark.parametrize("argv", [(), ("",)])
def test_no_command_is_told_as_such(argv: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="the command is empty"):
        check_command(argv)
