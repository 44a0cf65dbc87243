"""Changes a file of somebody else's program: a dated copy first, and the new text in one step."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.errors import LlamaswapError

MOST_BYTES = 8 << 20
PRIVATE = 0o600


class CannotChange(LlamaswapError):
    """A file that is left as it is; the text says which and why."""


class Change(NamedTuple):
    """What is to be in a file. `text` is what a person adds to it by hand."""

    path: Path
    text: str
    edit: Callable[[str], str]  # from the text that is there, '' for none; raises ValueError and TypeError
    is_private: bool = False  # it has a key in it


class Changed(NamedTuple):
    """`copy` is that of the old text; None where there was none. `is_new`: something was written."""

    path: Path
    copy: Path | None
    is_new: bool


def perform(change: Change) -> Changed:
    """Make the change; raises CannotChange, and then nothing has changed."""
    path = change.path.resolve()
    try:
        old = _read(path)
        new = _edited(change, old or "")
        if new == old:
            return Changed(change.path, None, is_new=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = None if old is None else _copy(path)
        _write(path, new, is_private=change.is_private)
    except OSError as error:
        raise CannotChange(f"{change.path} cannot be written: {error.strerror or error}") from None
    return Changed(change.path, copy, is_new=True)


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MOST_BYTES:
        raise CannotChange(f"{path} is left as it is: it is too large")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CannotChange(f"{path} is left as it is: it is not UTF-8") from None


def _edited(change: Change, old: str) -> str:
    try:
        return change.edit(old)
    except (ValueError, TypeError, RecursionError) as error:
        raise CannotChange(f"{change.path} is left as it is, for it cannot be changed safely: {error}") from None


def _copy(path: Path) -> Path:
    """A copy beside it that is no copy made before."""
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    number = 0
    while True:
        copy = path.with_name(f"{path.name}.{stamp}{f'-{number}' if number else ''}.bak")
        try:
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
        except FileExistsError:
            number += 1
            continue
        shutil.copy2(path, copy)
        return copy


def _write(path: Path, text: str, *, is_private: bool) -> None:
    """In one step: a reader sees the old text or the new one. Its mode stays, but that a key is for its user alone."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    import tempfile  # noqa: PLC0415 - the server writes none

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode & PRIVATE if is_private else mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
