"""Linux's inotify through `ctypes`: the kernel tells of changes to files, on a descriptor for `poll`.

Owns one inotify descriptor, closed in child programs. One thread uses it. Nothing here blocks, but `add` looks a path
up, which may take long on a network file system. `ctypes` is imported when the first `Inotify` is made.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes

# <sys/inotify.h>
MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
OVERFLOW, IGNORED = 0x4000, 0x8000
DONT_FOLLOW = 0x0200_0000

# `f_type` of statfs(2): file systems that are changed without this kernel, or whose files are made up by it.
_UNTOLD = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF53_4D42: "cifs",
    0xFE53_4D42: "smb2",
    0x6573_5546: "fuse",
    0x0102_1997: "9p",
    0x00C3_6400: "ceph",
    0x5346_414F: "afs",
    0x6B41_4653: "afs",
    0x7375_7245: "coda",
    0x7461_636F: "ocfs2",
    0x0116_1970: "gfs2",
    0x0BD0_0BD0: "lustre",
    0x4750_4653: "gpfs",
    0x786F_4256: "vboxsf",
    0xBACB_ACBC: "vmhgfs",
    0x9FA0: "proc",
    0x6265_6572: "sysfs",
}
_STATFS_BYTES = 1024  # more than any `struct statfs`
_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name with the zeros behind it
_READ_BYTES = 65_536
_MOST_READS = 16  # more than the longest queue of short names; the rest is read the next time


class Event(NamedTuple):
    """What has happened. `watch` is what `add` returned, -1 for OVERFLOW; `name` is "" for the watched thing itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """The watches of one descriptor, and their events."""

    def __init__(self) -> None:
        """Raises OSError where there is no inotify, and where the user has too many already."""
        self._library = _library()
        self._fd: int = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)  # what IN_NONBLOCK and IN_CLOEXEC are
        if self._fd < 0:
            raise _error()

    def fileno(self) -> int:
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch a file or a folder for the events of `mask`; the number of its watch.

        Links are followed in folders on the way, not at the end of the path. A file that is watched already, by
        whatever path, keeps its number and gets the new mask. Raises OSError.
        """
        watch: int = self._library.inotify_add_watch(self._fd, os.fsencode(path), mask | DONT_FOLLOW)
        if watch < 0:
            raise _error()
        return watch

    def remove(self, watch: int) -> None:
        """Its file may be gone, and the watch with it; an IGNORED comes for it in either case."""
        self._library.inotify_rm_watch(self._fd, watch)

    def file_system_without_events(self, path: str) -> str:
        """The kind of file system that `path` is on if changes there may come without events, else ""."""
        data = self._create_buffer(_STATFS_BYTES)
        if self._library.statfs(os.fsencode(path), data) < 0:
            return ""
        number = data.raw[: 4 if sys.byteorder == "little" else struct.calcsize("l")]
        return _UNTOLD.get(int.from_bytes(number, sys.byteorder), "")

    def read(self) -> list[Event]:
        """What has happened since the last time, in order."""
        events: list[Event] = []
        for _ in range(_MOST_READS):
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            events += parse_events(data)
        return events

    def close(self) -> None:
        os.close(self._fd)

    @staticmethod
    def _create_buffer(size: int) -> ctypes.Array[ctypes.c_char]:
        import ctypes  # noqa: PLC0415 - imported already

        return ctypes.create_string_buffer(size)


def parse_events(data: bytes) -> list[Event]:
    """The events in what was read from an inotify descriptor, which holds whole ones only."""
    events = []
    at = 0
    while at < len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + length].rstrip(b"\0")
        at += length
        events.append(Event(watch, mask, os.fsdecode(name)))
    return events


def _library() -> ctypes.CDLL:
    """The C library. Raises OSError."""
    if not sys.platform.startswith(("linux", "android")):
        raise OSError(errno.ENOSYS, "this system has no inotify")
    try:
        import ctypes  # noqa: PLC0415 - costs 5 ms, and few need it

        library = ctypes.CDLL(None, use_errno=True)
        library.inotify_init1.argtypes = [ctypes.c_int]
        library.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
        library.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
        library.statfs.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    # No `_ctypes` was built, no such function; or no memory that may be executed, as hardened systems have it.
    except (ImportError, AttributeError, MemoryError) as error:
        raise OSError(errno.ENOSYS, f"no ctypes: {error}") from error
    return library


def _error() -> OSError:
    import ctypes  # noqa: PLC0415 - imported already

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
