"""The files of the configuration, read and replaced while the program runs: with `-allow-config-edit` only.

Owns which files that are, what they are called, and how one is replaced: in one step, never half written, with mode,
owner and symbolic link as they were, and with a backup of what was there. Any thread; one change at a time. Only files
in use are reached, by names made here: a client's text never becomes a path, but for a new file in `-config-dir`. A
text with which the configuration could not be loaded is not stored.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from llamaswap_lib.errors import BadRequest, ConfigError, Conflict, NotFound, PreconditionFailed
from llamaswap_lib.ip_addresses import is_loopback
from llamaswap_lib.typed_yaml.text import MAX_FILE_BYTES

from .load import Report, config_files

GIVEN = "-config"  # the name of that file, where the folder has one of the same name
BACKUP_SUFFIX = ".bak"
PATIENCE = 10.0  # seconds
NEW_FILE_MODE = 0o600  # a configuration may hold keys
ETAG_CHARS = 32
UNMOVABLE = (errno.EBUSY, errno.EXDEV)
UNLINKABLE = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
_is_new_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,200}\.ya?ml").fullmatch

Texts = Sequence[tuple[str, bytes]]  # of all files, in the order in which they are merged
Judge = Callable[[Texts], Report]
Rename = Callable[[Path, Path], None]


def etag_of(data: bytes) -> str:
    """A strong entity tag: it is another one for any other text."""
    return f'"{hashlib.sha256(data).hexdigest()[:ETAG_CHARS]}"'


def refuse_open_editing(api_keys: Sequence[str], host: str) -> None:
    """Raise ConfigError if other machines could edit the configuration without a key; `host` as `-listen` has it."""
    if not api_keys and not is_loopback(host):
        raise ConfigError(
            "with -allow-config-edit clients can run any command here, so the configuration needs apiKeys; or keep"
            " other machines out: -listen 127.0.0.1:8080"
        )


class ConfigEditor:
    """Reads and replaces the files that `-config FILE` and `-config-dir FOLDER` name."""

    def __init__(self, file: Path | None, folder: Path | None) -> None:
        self._file = file
        self.folder = folder
        self._one_at_a_time = threading.Lock()

    def files(self) -> dict[str, Path]:
        """The files in use by their names, in the order in which they are merged. Raises ConfigError."""
        paths = config_files(self._file, self.folder)
        in_folder = {path.name: path for path in paths if path is not self._file}
        if self._file is None:
            return in_folder
        given = GIVEN if self._file.name in in_folder else self._file.name
        return {given: self._file, **in_folder}

    def read(self, name: str) -> bytes:
        """The text of a file in use. Raises NotFound, ConfigError and OSError."""
        return read_file(self._known(name, self.files()))

    def check(self, name: str, data: bytes, judge: Judge) -> Report:
        """What `judge` says of the whole with `data` as the file's text.

        Raises NotFound, Conflict, ConfigError and OSError.
        """
        with self._turn():
            files = self.files()
            self._known(name, files)
            return judge(_texts(files, name, data))

    def replace(self, name: str, data: bytes, etags: Collection[str], judge: Judge) -> Report:
        """Store `data` as the file's text, if its present one has one of the `etags`; what `judge` says of the whole.

        With errors in that nothing is stored. Raises NotFound, PreconditionFailed, Conflict, ConfigError and OSError.
        """
        with self._turn():
            files = self.files()
            path = self._known(name, files)
            before = read_file(path)
            if etag_of(before) not in etags:
                raise PreconditionFailed(f"{name} has been changed meanwhile; read it again")
            report = judge(_texts(files, name, data))
            if not report.errors and data != before:
                replace_file(path, before, data)
            return report

    def create(self, name: str, data: bytes, judge: Judge) -> Report:
        """Store `data` as a new file of the folder; otherwise like `replace`. Raises BadRequest, too."""
        with self._turn():
            files = self.files()
            if name in files:
                raise PreconditionFailed(f"there is a file {name} already")
            if self.folder is None:
                raise NotFound("there is no such file; new ones can be made only in a folder given with -config-dir")
            if not _is_new_name(name):
                raise BadRequest(
                    "expected a name of letters, digits, _, -, dots and blanks that ends with .yaml or .yml"
                )
            files[name] = self.folder / name
            order = sorted(files, key=lambda one: (files[one] is not self._file, one))
            report = judge(_texts({one: files[one] for one in order}, name, data))
            if not report.errors:
                create_file(self.folder / name, data)
            return report

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One change at a time; raises Conflict where another one takes long, for a policy of the user's own say."""
        if not self._one_at_a_time.acquire(timeout=PATIENCE):
            raise Conflict("another change of the configuration's files has not ended yet; try again later")
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def _known(self, name: str, files: Mapping[str, Path]) -> Path:
        path = files.get(name)
        if path is None:
            raise NotFound("no file of the configuration has this name; GET /api/config/files lists them")
        return path


def _texts(files: Mapping[str, Path], name: str, data: bytes) -> Texts:
    """The texts of all files, `data` in the place of what `name` holds."""
    return [(str(path), data if one == name else read_file(path)) for one, path in files.items()]


def read_file(path: Path) -> bytes:
    """Raises OSError, also for what is no regular file, which can be read only once, and for one that is too large."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EINVAL, f"it has more than {MAX_FILE_BYTES >> 20} MB")
    return data


def replace_file(path: Path, before: bytes, data: bytes, rename: Rename = os.replace) -> None:
    """Replace the text `before` with `data` in one step, and leave `before` in a backup beside it.

    A symbolic link stays, and the file behind it is replaced. Raises OSError, PreconditionFailed and Conflict.
    """
    target = Path(os.path.realpath(path))
    status = target.stat()
    backup = target.with_name(target.name + BACKUP_SUFFIX)
    with _temporary(target, data, status) as new, _temporary(backup, before, status) as old:
        if read_file(target) != before:
            raise PreconditionFailed(f"{path.name} has been changed meanwhile; read it again")
        rename(old, backup)
        try:
            rename(new, target)
        except OSError as error:
            if error.errno not in UNMOVABLE:
                raise
            raise Conflict(
                f"{target} cannot be replaced: the file itself is a mount, such as a volume of a container; mount its"
                " folder instead"
            ) from error
    _sync_folder(target.parent)


def create_file(path: Path, data: bytes) -> None:
    """A new file, there as a whole or not at all. Raises OSError, and PreconditionFailed if there is one already."""
    with _temporary(path, data, None) as new:
        try:
            os.link(new, path)
        except FileExistsError:
            raise PreconditionFailed(f"there is a file {path.name} already") from None
        except OSError as error:  # a file system without hard links
            if error.errno not in UNLINKABLE:
                raise
            if os.path.lexists(path):
                raise PreconditionFailed(f"there is a file {path.name} already") from None
            new.rename(path)
    _sync_folder(path.parent)


@contextmanager
def _temporary(target: Path, data: bytes, status: os.stat_result | None) -> Iterator[Path]:
    """A file beside `target` that holds `data`, safe on the disk, with mode and owner of `status`; gone at the end.

    Its name does not end as those do that are read in a `-config-dir`.
    """
    path = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE_MODE)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if status is not None:
                _take_after(descriptor, status)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _take_after(descriptor: int, status: os.stat_result) -> None:
    """Mode and owner as in `status`, as far as we may; a group that it cannot have again gets no other in its place."""
    mode = stat.S_IMODE(status.st_mode)
    try:
        os.fchown(descriptor, -1, status.st_gid)
    except OSError:
        mode &= ~stat.S_IRWXG
    with suppress(OSError):
        os.fchown(descriptor, status.st_uid, -1)
    with suppress(OSError):
        os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    """Have a rename outlive a loss of power, where the file system knows that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
