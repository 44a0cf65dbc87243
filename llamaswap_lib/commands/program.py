"""This program as its user knows it: how it was called, and how it speaks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

from llamaswap_lib.errors import CannotPrint, LlamaswapError


def program() -> str:
    """How to call this program, as it was called."""
    name = Path(sys.argv[0]).name
    if name == "__main__.py":
        return f"{interpreter()} -m llamaswap_lib"
    return f"{interpreter()} {sys.argv[0]}" if name.endswith((".py", ".pyz")) else name


def interpreter() -> str:
    """This Python, as a person would type it: another one may lack PyYAML."""
    import shutil  # noqa: PLC0415 - it imports what the server has put off

    ours, usual = Path(sys.executable), shutil.which("python3")
    if usual is not None and Path(usual).parent == ours.parent:
        return "python3"
    try:
        return str(ours.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(ours)


def home_folder() -> Path:
    """The user's; raises LlamaswapError where there is none, as for a user of a container who is only a number."""
    try:
        return Path.home()
    except RuntimeError:
        raise LlamaswapError("there is no home folder: set HOME") from None


def working_folder() -> Path:
    """The folder that this was started in; raises LlamaswapError where it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise LlamaswapError("the folder that this was started in no longer exists") from None


def print_text(text: str, *, notes: Iterable[str] = ()) -> None:
    """The text on stdout, and lines about it on stderr; what an encoding lacks is escaped.

    A reader that left is no error; raises CannotPrint where the disk is full.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)  # noqa: T201 - what the user asked for
    except BrokenPipeError:
        leave_stdout()
    except OSError as error:
        raise CannotPrint(error) from None
    sys.stderr.write("".join(f"{line}\n" for line in notes))


def open_missing_streams() -> None:
    """A command does its work also where stdout or stderr were closed before: what it prints goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end


def leave_stdout() -> None:
    """Print nothing more: what is left in the buffer must not fail again at the end."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)


def fail(message: str) -> int:
    """Say it on stderr; the exit code."""
    sys.stderr.write(f"llamaswap: {message}\n")
    return 1
