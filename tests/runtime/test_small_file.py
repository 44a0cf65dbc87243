"""A small JSON file: what is read back, what is told of one that cannot be used, and that it is replaced as a whole."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from llamaswap_lib.runtime.files.small_file import MOST_BYTES, SmallFile


class Kept:
    """A file, and what the log is told of it."""

    def __init__(self, path: Path, *, sets_aside: bool = False) -> None:
        self.told: list[str] = []
        self.file = SmallFile(path, self.told.append, "all is new", "all is lost", sets_aside=sets_aside)

    def read(self) -> Any:
        return self.file.read(_number)


def _number(said: Any) -> int:
    if not isinstance(said, int):
        raise ValueError("expected a number")
    return said


def test_what_was_written_is_read_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    kept = Kept(path)
    assert (kept.read(), kept.told) == (None, [])
    kept.file.write(1)
    kept.file.write(2)
    assert (kept.read(), kept.told, list(path.parent.iterdir())) == (2, [], [path])
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)


@pytest.mark.parametrize("text", ["", "{", '"text"', "[" * 100_000, "1" + " " * MOST_BYTES])
def test_one_that_is_damaged_counts_as_not_there_and_is_set_aside_where_that_is_wanted(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    kept = Kept(path)
    assert (kept.read(), kept.read()) == (None, None)
    [told] = kept.told  # once
    assert (told.startswith(f"{path}: "), told.endswith("; all is new")) == (True, True)
    assert path.read_text() == text

    other = Kept(path, sets_aside=True)
    assert (other.read(), other.read()) == (None, None)
    [told] = other.told
    assert told.endswith("; it is now called file.json.damaged, and all is new")
    assert [one.name for one in tmp_path.iterdir()] == ["file.json.damaged"]
    assert (tmp_path / "file.json.damaged").read_text() == text


def test_one_that_cannot_be_written_is_told_once_and_again_when_it_could_be_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.touch()
    kept = Kept(folder / "file.json")
    kept.file.write(1)
    kept.file.write(1)
    assert kept.told == [f"{folder}/file.json: File exists; all is lost"]
    folder.unlink()
    kept.file.write("x" * MOST_BYTES)
    assert kept.told[1:] == [f"{folder}/file.json: File too large; all is lost"]
    kept.file.write(1)
    kept.file.write("x" * MOST_BYTES)
    assert (len(kept.told), kept.read()) == (3, 1)
