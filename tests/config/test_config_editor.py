"""Files of the configuration are replaced as a whole or not at all, whatever the file system does."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamaswap_lib.config.editor import (
    ConfigEditor,
    Texts,
    create_file,
    etag_of,
    refuse_open_editing,
    replace_file,
)
from llamaswap_lib.config.load import Report
from llamaswap_lib.errors import BadRequest, ConfigError, Conflict, NotFound, PreconditionFailed
from llamaswap_lib.ip_addresses import is_loopback

OLD, NEW = b"models: {}\r\n# \xc3\xa9", b"\xef\xbb\xbfmodels: {}\t\n\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond it: what stands for a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


def test_a_file_is_replaced_byte_for_byte_with_its_mode_and_owner_and_a_backup(file: Path) -> None:
    if os.getuid() == 0:
        os.chown(file, 1234, 2345)
    before = file.stat()
    replace_file(file, OLD, NEW)
    assert file.read_bytes() == NEW
    backup = file.with_name("config.yaml.bak")
    assert backup.read_bytes() == OLD
    for path in (file, backup):
        status = path.stat()
        assert (status.st_mode, status.st_uid, status.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert names(file.parent) == ["config.yaml", "config.yaml.bak"]
    replace_file(file, NEW, OLD)
    assert backup.read_bytes() == NEW


def test_a_symbolic_link_stays_and_the_file_it_points_to_is_replaced(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "one.yaml").symlink_to(file)
    link = folder / "two.yaml"
    link.symlink_to("one.yaml")
    replace_file(link, OLD, NEW)
    assert link.is_symlink()
    assert (folder / "one.yaml").is_symlink()
    assert file.read_bytes() == NEW
    assert names(folder) == ["one.yaml", "two.yaml"]
    assert file.with_name("config.yaml.bak").read_bytes() == OLD


def test_a_full_disk_leaves_the_file_as_it_was(file: Path) -> None:
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        replace_file(file, OLD, b"#" * 5000)
    with largest_file(10), pytest.raises(OSError, match="File too large"):  # no room for the backup
        replace_file(file, OLD, b"#")
    with largest_file(10), pytest.raises(OSError, match="File too large"):
        create_file(file.with_name("b.yaml"), b"#" * 50)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["config.yaml"]


def test_a_folder_that_takes_no_files_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    link = tmp_path / "config.yaml"
    link.symlink_to("/proc/version")
    text = link.read_bytes()
    with pytest.raises(OSError, match="/proc/"):
        replace_file(link, text, NEW)
    assert link.read_bytes() == text
    assert names(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_is_mounted_by_itself_is_refused(file: Path, number: int) -> None:
    def rename(source: Path, target: Path) -> None:
        if target == file:
            raise OSError(number, os.strerror(number))
        source.replace(target)

    with pytest.raises(Conflict, match="mount its folder"):
        replace_file(file, OLD, NEW, rename)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["config.yaml", "config.yaml.bak"]


def test_a_file_that_was_changed_meanwhile_is_left_alone(file: Path) -> None:
    with pytest.raises(PreconditionFailed):
        replace_file(file, b"older", NEW)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["config.yaml"]


def test_a_backup_that_cannot_be_made_leaves_the_file_as_it_was(file: Path) -> None:
    file.with_name("config.yaml.bak").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(file, OLD, NEW)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["config.yaml", "config.yaml.bak"]


def test_a_new_file_replaces_none(file: Path) -> None:
    created = file.with_name("b.yaml")
    create_file(created, NEW)
    assert created.read_bytes() == NEW
    assert stat.S_IMODE(created.stat().st_mode) == 0o600
    dangling = file.with_name("c.yaml")
    dangling.symlink_to("nowhere")
    for path in (file, created, dangling):
        with pytest.raises(PreconditionFailed):
            create_file(path, OLD)
    assert names(file.parent) == ["b.yaml", "c.yaml", "config.yaml"]


def sound(_texts: Texts) -> Report:
    return Report((), (), None)


def test_files_are_named_without_their_folders(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    for name in ("b.yaml", "a.yml", "b.yaml.bak", "notes.txt"):
        (folder / name).write_bytes(OLD)
    (folder / "d.yaml").mkdir()
    assert list(ConfigEditor(file, folder).files()) == ["config.yaml", "a.yml", "b.yaml"]
    (folder / "config.yaml").write_bytes(OLD)
    assert list(ConfigEditor(file, folder).files()) == ["-config", "a.yml", "b.yaml", "config.yaml"]
    assert ConfigEditor(file, folder).files()["-config"] == file


@pytest.mark.parametrize(
    "name", ["../config.yaml", "/etc/passwd", ".", "..", "", "CONFIG.YAML", "config.yaml\0", "other.yaml", "config"]
)
def test_no_other_file_is_reached(file: Path, name: str) -> None:
    editor = ConfigEditor(file, None)
    with pytest.raises(NotFound):
        editor.read(name)
    with pytest.raises(NotFound):
        editor.replace(name, NEW, [etag_of(OLD)], sound)
    with pytest.raises(NotFound):
        editor.create(name, NEW, sound)
    assert names(file.parent) == ["config.yaml"]


@pytest.mark.parametrize(
    "name", ["../x.yaml", "/x.yaml", "x", ".x.yaml", "", "x.yaml.bak", "x\n.yaml", "x.yaml\n", "é.yml"]
)
def test_new_files_have_plain_names(file: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    editor = ConfigEditor(file, folder)
    with pytest.raises(BadRequest):
        editor.create(name, NEW, sound)
    assert names(folder) == []
    editor.create("new one-2.yml", NEW, sound)
    assert names(folder) == ["new one-2.yml"]


def test_a_new_file_is_judged_in_the_place_where_it_will_be_merged(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    for name in ("c.yaml", "a.yaml"):
        (folder / name).write_bytes(OLD)
    judged: list[tuple[str, bytes]] = []

    def judge(texts: Texts) -> Report:
        judged.extend(texts)
        return sound(texts)

    ConfigEditor(file, folder).create("b.yaml", NEW, judge)
    expected = [(file, OLD), (folder / "a.yaml", OLD), (folder / "b.yaml", NEW), (folder / "c.yaml", OLD)]
    assert judged == [(str(path), text) for path, text in expected]


def test_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        ConfigEditor(pipe, None).read("config.yaml")


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True)),
        *(("", False), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("box", False)),
    ],
)
def test_editing_without_a_key_is_for_this_machine_alone(address: str, is_ours: bool) -> None:
    assert is_loopback(address) is is_ours
    refuse_open_editing(["key"], address)
    if is_ours:
        refuse_open_editing([], address)
    else:
        with pytest.raises(ConfigError, match="apiKeys"):
            refuse_open_editing([], address)
