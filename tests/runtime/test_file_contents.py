"""Whether files have another content, and that hardly any of them is read for that."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.runtime.files.changes import Content, FileContents


def content(path: Path, contents: FileContents | None = None) -> Content:
    return (contents or FileContents()).of([str(path)])[str(path)]


@contextmanager
def powerless() -> Iterator[None]:
    """Not as root, who may read anything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_files_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    for name, text in {"a": "same", "b": "same", "c": "else", "d": ""}.items():
        (tmp_path / name).write_text(text)
    a, b, c, d = (content(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


@pytest.mark.parametrize(("text", "is_missing"), [("x", False), ("", True), (None, True)])
def test_an_empty_file_and_none_may_be_filled_yet(tmp_path: Path, text: str | None, is_missing: bool) -> None:
    if text is not None:
        (tmp_path / "a").write_text(text)
    assert content(tmp_path / "a").is_missing == is_missing


class Counting(FileContents):
    """Counts how often a file is read."""

    reads = 0

    def _read(self, path: str) -> Content:
        self.reads += 1
        return super()._read(path)


def test_a_file_that_was_changed_long_ago_is_read_once(tmp_path: Path) -> None:
    file, contents = tmp_path / "a", Counting(clock=lambda: time.time_ns() + 10**10)
    file.write_text("old")
    before = content(file, contents)
    assert content(file, contents) == before
    assert contents.reads == 1


def test_a_file_is_read_again_if_only_the_time_of_its_inode_has_changed(tmp_path: Path) -> None:
    """Programs that copy files set the other time back."""
    file, contents = tmp_path / "a", Counting(clock=lambda: time.time_ns() + 10**10)
    file.write_text("old")
    before, status = content(file, contents), file.stat()
    file.write_text("new")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content(file, contents) != before


def test_a_file_that_has_just_been_changed_is_read_again_whatever_its_times_say(tmp_path: Path) -> None:
    """Two changes within the coarse grain of the times of files look like one."""
    file, contents = tmp_path / "a", Counting()
    file.write_text("old")
    content(file, contents)
    content(file, contents)
    assert contents.reads == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_a_file_that_the_kernel_makes_up_is_always_read(tmp_path: Path) -> None:
    contents = Counting(clock=lambda: time.time_ns() + 10**10)
    first, second = content(Path("/proc/self/stat"), contents), content(Path("/proc/self/stat"), contents)
    assert (first.kind, second.kind) == ("file", "file")
    assert contents.reads == 2


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)  # a terabyte takes an hour to read
    before = content(file)
    assert (before.kind, before.size) == ("file", 1 << 40)
    assert content(file) == before
    file.chmod(0o600)
    assert content(file) == before
    os.utime(file, ns=(1, 1))
    assert content(file) != before


def test_a_file_of_just_the_size_that_is_read_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 99 + b"a")
    (tmp_path / "b").write_bytes(b"x" * 99 + b"b")
    contents = FileContents(digested_bytes=100)
    assert content(tmp_path / "a", contents) != content(tmp_path / "b", contents)
    assert content(tmp_path / "a", contents).size == 100


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    contents = Counting()
    found = {content(tmp_path / name, contents) for name in ("fifo", "folder", "device")}
    assert contents.reads == 0
    assert len(found) == 3
    assert all(one.kind.startswith("no file") for one in found)


def test_a_fifo_that_takes_the_place_of_a_file_while_it_is_opened_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert FileContents()._read(str(tmp_path / "fifo")).kind.startswith("no file")


def test_what_cannot_be_read_is_another_content(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("secret")
    readable = content(file)
    tmp_path.chmod(0)
    try:
        with powerless():
            unreadable = content(file)
    finally:
        tmp_path.chmod(0o700)
    assert (readable.kind, unreadable.kind) == ("file", "Permission denied")


def test_links_in_a_circle_and_paths_that_can_be_none_are_told_with_their_reason(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert content(tmp_path / "a").kind == "Too many levels of symbolic links"
    assert "embedded null" in content(Path("/\0")).kind  # Pythons say it in different words


def test_what_is_not_asked_for_any_more_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    contents = FileContents()
    content(tmp_path / "a", contents)
    assert contents.of([]) == {}
    assert contents._known == {}
