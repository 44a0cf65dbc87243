"""What the kernel tells of files, by the real inotify."""

from __future__ import annotations

import errno
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamaswap_lib.runtime.files import inotify
from llamaswap_lib.runtime.files.inotify import Event, Inotify, parse_events

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")


@pytest.fixture
def notifier() -> Iterator[Inotify]:
    made = Inotify()
    yield made
    made.close()


def is_readable(notifier: Inotify) -> bool:
    return bool(select.select([notifier], [], [], 0)[0])


def run_python(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return done.stdout.strip()


def test_it_tells_of_what_happens_to_names_in_a_folder(notifier: Inotify, tmp_path: Path) -> None:
    watch = notifier.add(str(tmp_path), inotify.CREATE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.DELETE)
    assert not is_readable(notifier)
    assert notifier.read() == []
    (tmp_path / "a").touch()
    assert is_readable(notifier)
    (tmp_path / "a").rename(tmp_path / "naïve name")
    (tmp_path / "naïve name").unlink()
    assert notifier.read() == [
        Event(watch, inotify.CREATE, "a"),
        Event(watch, inotify.MOVED_FROM, "a"),
        Event(watch, inotify.MOVED_TO, "naïve name"),
        Event(watch, inotify.DELETE, "naïve name"),
    ]


def test_it_tells_of_what_is_written_into_a_file(notifier: Inotify, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    watch = notifier.add(str(file), inotify.MODIFY | inotify.CLOSE_WRITE)
    file.write_text("x")
    assert notifier.read() == [Event(watch, inotify.MODIFY, ""), Event(watch, inotify.CLOSE_WRITE, "")]


def test_a_name_that_is_no_text_is_told(notifier: Inotify, tmp_path: Path) -> None:
    notifier.add(str(tmp_path), inotify.CREATE)
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).touch()
    assert [event.name for event in notifier.read()] == [name]


def test_a_file_is_watched_once_by_whatever_path(notifier: Inotify, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert notifier.add(str(tmp_path / "a"), inotify.MODIFY) == notifier.add(str(tmp_path / "b"), inotify.MODIFY)


def test_what_is_not_watched_any_more_is_not_told(notifier: Inotify, tmp_path: Path) -> None:
    watch = notifier.add(str(tmp_path), inotify.CREATE)
    notifier.remove(watch)
    notifier.remove(watch)
    (tmp_path / "a").touch()
    assert notifier.read() == [Event(watch, inotify.IGNORED, "")]


def test_a_link_at_the_end_is_not_followed(notifier: Inotify, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert notifier.add(str(tmp_path / "link"), inotify.ATTRIB) > 0


def test_what_is_not_there_cannot_be_watched(notifier: Inotify, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        notifier.add(str(tmp_path / "missing"), inotify.MODIFY)


def test_children_do_not_inherit_it(notifier: Inotify) -> None:
    assert not os.get_inheritable(notifier.fileno())


def test_file_systems_that_tell_of_no_changes_are_known(notifier: Inotify, tmp_path: Path) -> None:
    assert notifier.file_system_without_events("/proc") == "proc"
    assert notifier.file_system_without_events(str(tmp_path)) == ""
    assert notifier.file_system_without_events(str(tmp_path / "missing")) == ""


def test_more_events_than_the_kernel_keeps_are_told_as_an_overflow(notifier: Inotify, tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    files = [str(tmp_path / name) for name in "ab"]
    for file in files:
        Path(file).touch()
        notifier.add(file, inotify.ATTRIB)
    for number in range(min(most, 100_000) + 2):  # only equal ones in a row are one
        os.utime(files[number % 2])
    events: list[Event] = []
    while is_readable(notifier):
        events += notifier.read()
    assert len(events) == most + 1
    assert events[-1] == Event(-1, inotify.OVERFLOW, "")


def test_events_are_read_whatever_their_names_are_padded_with() -> None:
    data = struct.pack("iIII16s", 1, inotify.CREATE, 0, 16, b"config.yaml") + struct.pack("iIII", 2, 8, 0, 0)
    data += struct.pack("iIII", -1, inotify.OVERFLOW, 0, 0)
    assert parse_events(data) == [
        Event(1, inotify.CREATE, "config.yaml"),
        Event(2, inotify.CLOSE_WRITE, ""),
        Event(-1, inotify.OVERFLOW, ""),
    ]


def test_without_descriptors_it_cannot_be_made() -> None:
    program = """
import os, resource
from llamaswap_lib.runtime.files.inotify import Inotify
import ctypes
Inotify().close()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    Inotify()
except OSError as error:
    print(error.errno)
"""
    assert run_python(program) == str(errno.EMFILE)


def test_a_python_without_ctypes_has_no_inotify() -> None:
    program = """
import sys
sys.modules["_ctypes"] = None
from llamaswap_lib.runtime.files.inotify import Inotify
try:
    Inotify()
except OSError as error:
    print(error.strerror)
"""
    assert run_python(program).startswith("no ctypes: ")


def test_ctypes_and_hashlib_are_imported_for_a_watch_only() -> None:
    program = """
import sys
before = set(sys.modules)
import llamaswap_lib.runtime.files.watch
print([name for name in ("ctypes", "hashlib") if name in sys.modules and name not in before])
"""
    assert run_python(program) == "[]"
