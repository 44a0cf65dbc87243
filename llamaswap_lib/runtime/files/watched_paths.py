"""Which inotify watches are needed to be told of every change to some files, and which events concern them.

One thread uses it. For each path it watches (1) the file at its end, for what is written into it; (2) each folder in
which a link, the file itself or a missing name is looked up, for these names; (3) the real folders on the path, because
moving or deleting them gives no other events. After an event the paths are walked again, because they may lead to other
files.

Other files in the same folder cost little: what is written into them gives no events, and events for names that do not
matter are dropped. Never opens a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamaswap_lib.runtime.files import inotify
from llamaswap_lib.runtime.files.inotify import Inotify

_MOST_WALKS = 5  # of which each found other things than the one before
_PASSED = inotify.DELETE_SELF | inotify.MOVE_SELF
_LOOKUP = _PASSED | inotify.CREATE | inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED_TO
_OTHER_END = _PASSED | inotify.ATTRIB
_FILE_END = _OTHER_END | inotify.MODIFY | inotify.CLOSE_WRITE
_VANISHED = (errno.ENOENT, errno.ENOTDIR)
_WORDS = {
    errno.ENOSPC: "the system's limit of inotify watches is reached (fs.inotify.max_user_watches)",
    errno.EMFILE: "the system's limit of inotify instances or of open files is reached (fs.inotify.max_user_instances)",
}
MOST_LINKS = 40  # in one path; the kernel's number


@dataclass(slots=True)
class _PathWatch:
    """`names` are those that matter in a folder; None for all."""

    path: str
    mask: int
    names: set[str] | None

    def add(self, mask: int, names: Iterable[str] | None) -> None:
        self.mask |= mask
        self.names = None if names is None or self.names is None else self.names | set(names)


class WatchedPaths:
    """The watches for the files that `renew` was last given, and for everything in some folders."""

    def __init__(
        self,
        notifier: Inotify | None,
        folders: Iterable[Path],
        on_info: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> None:
        """`on_info` is told why polling is needed, once for each cause; `on_error` of links in a circle, once."""
        self._notifier = notifier
        self._folders = [str(folder.absolute()) for folder in folders]
        self._on_info = on_info
        self._on_error = on_error
        self._watches: dict[int, _PathWatch] = {}
        self._ends: set[str] = set()
        self._created: set[str] = set()
        self._written: set[str] = set()
        self._devices: dict[int, str] = {}  # the kind of file system on each that gives no events; "" for others
        self._told: set[str] = set()
        self._circles: set[str] = set()
        self.needs_polling = True
        """Whether there may be changes without an event."""

    @property
    def is_being_written(self) -> bool:
        """Whether one of the files was written to, and is not closed yet."""
        return not self._written.isdisjoint(self._ends)

    @property
    def may_be_written(self) -> bool:
        """Whether one of the files was created, and may not be closed yet."""
        return not self._created.isdisjoint(self._ends)

    def assume_written(self) -> None:
        """Take every file for finished until it is written again."""
        self._written.clear()
        self._created.clear()

    def read(self) -> bool:
        """Whether there were events since the last time that may concern the files. Does not block."""
        if self._notifier is None:
            return False
        is_concerned = False
        for event in self._notifier.read():
            if event.mask & inotify.OVERFLOW:
                is_concerned = True
                continue
            watch = self._watches.get(event.watch)
            if watch is None or (event.name and watch.names is not None and event.name not in watch.names):
                continue
            is_concerned = True
            if event.mask & inotify.IGNORED:
                del self._watches[event.watch]
            else:
                self._note_writing(os.path.join(watch.path, event.name) if event.name else watch.path, event.mask)  # noqa: PTH118
        return is_concerned

    def _note_writing(self, path: str, mask: int) -> None:
        """After a change, a file is open until CLOSE_WRITE; after its creation too, but for links."""
        if mask & inotify.MODIFY:
            self._written.add(path)
        elif mask & inotify.CREATE:
            self._created.add(path)
        elif mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO):
            self._written.discard(path)
            self._created.discard(path)

    def renew(self, files: Iterable[str]) -> None:
        """Watch these files, given by absolute paths, and no others."""
        paths = list(files)
        trails = self._walk(paths)
        for _ in range(_MOST_WALKS):
            self.needs_polling = not self._watch(trails)
            seen, trails = trails, self._walk(paths)  # there was no event for a change between the two
            if seen == trails:
                break
        else:
            self.needs_polling = True
        self._ends = {trail.end for trail in trails}
        circles = {trail.path for trail in trails if trail.error == errno.ELOOP}
        for path in sorted(circles - self._circles):
            self._on_error(f"{path}: its symbolic links lead in a circle, or there are too many of them")
        self._circles = circles

    def _walk(self, paths: Sequence[str]) -> list[Trail]:
        return [trail_of(path) for path in [*paths, *self._folders]]

    def _watch(self, trails: Sequence[Trail]) -> bool:
        """Whether there will be an event for every change to what is on the trails."""
        if self._notifier is None:
            return False
        is_complete = True
        watches: dict[int, _PathWatch] = {}
        for wanted in self._wanted(trails):
            try:
                number = self._notifier.add(wanted.path, wanted.mask)
                watch = watches.setdefault(number, wanted)
                if watch is not wanted:  # the same by another path
                    watch.add(wanted.mask, wanted.names)
                    self._notifier.add(wanted.path, watch.mask)
            except OSError as error:  # noqa: PERF203 - each may fail alone
                if error.errno not in _VANISHED:  # those the next walk finds
                    is_complete = False
                    self._tell(wanted.path, reason(error))
        for number in self._watches.keys() - watches.keys():
            self._notifier.remove(number)
        self._watches = watches
        for trail in trails:
            if trail.error not in (0, errno.ELOOP, *_VANISHED):
                is_complete = False
                self._tell(trail.path, os.strerror(trail.error))
        return self._is_told_of_all(self._notifier, trails) and is_complete

    def _wanted(self, trails: Sequence[Trail]) -> Iterable[_PathWatch]:
        """All watches, from the root to the ends."""
        wanted: dict[str, _PathWatch] = {}

        def want(path: str, mask: int, names: Iterable[str] | None) -> None:
            wanted.setdefault(path, _PathWatch(path, 0, set())).add(mask, names)

        for trail in trails:
            for folder in trail.folders:
                want(folder, _PASSED, ())
            for folder, name in trail.lookups:
                want(folder, _LOOKUP, (name,))
            if trail.end:
                if not stat.S_ISDIR(trail.mode):
                    want(trail.end, _FILE_END if stat.S_ISREG(trail.mode) else _OTHER_END, ())
                elif trail.path in self._folders:
                    want(trail.end, _LOOKUP, None)
                else:
                    want(trail.end, _PASSED, ())
        return sorted(wanted.values(), key=lambda watch: watch.path)

    def _is_told_of_all(self, notifier: Inotify, trails: Sequence[Trail]) -> bool:
        """Whether the file systems tell of every change."""
        devices: dict[int, str] = {}
        for trail in trails:
            for path, device, _ in trail.met:
                if device not in devices:
                    kind = self._devices.get(device)  # else: `path` is no link, for its folder would have been met
                    devices[device] = kind if kind is not None else notifier.file_system_without_events(path)
                    if devices[device]:
                        self._tell(path, f"file systems of the kind {devices[device]} do not tell of every change")
        self._devices = devices
        return not any(devices.values())

    def _tell(self, path: str, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            self._on_info(f"changes to the configuration's files are looked for once a second: {path}: {why}")


def reason(error: OSError) -> str:
    """Why inotify cannot be used, for people."""
    number = error.errno or 0
    return _WORDS.get(number) or error.strerror or str(error)


# -- the folders and links that a path goes through --


@dataclass(slots=True)
class Trail:
    """What a path leads through. Two are equal if they lead through the same folders and links to the same file."""

    path: str
    lookups: list[tuple[str, str]]
    """Folder and name of each link, of the end, and of what is missing: a change of such a name changes the path."""
    folders: list[str]
    """The real folders that it goes through."""
    end: str
    """The path without links; "" if nothing is there."""
    mode: int
    """`st_mode` of the end, 0 if nothing is there."""
    error: int
    """The errno of what the path ends at; 0 for none."""
    met: list[tuple[str, int, int]]
    """Path, device and inode of everything that it goes through, the root first."""


def trail_of(path: str) -> Trail:
    """The trail of an absolute path: links are resolved one by one, as the kernel does it. Reads links, never files."""
    root = os.lstat("/")
    trail = Trail(path, [], [], "", 0, 0, [("/", root.st_dev, root.st_ino)])
    folder, links = "/", 0
    names = _names(path)
    while names:
        name = names.pop()
        if name == "..":
            folder = os.path.dirname(folder)  # noqa: PTH120 - it has no links; nothing here is a Path
            continue
        here = os.path.join(folder, name)  # noqa: PTH118
        try:
            status = os.lstat(here)
            target = os.readlink(here) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
        except (OSError, ValueError) as error:
            trail.lookups.append((folder, name))
            trail.error = getattr(error, "errno", None) or errno.EINVAL
            return trail
        trail.met.append((here, status.st_dev, status.st_ino))
        if stat.S_ISLNK(status.st_mode):
            trail.lookups.append((folder, name))
            links += 1
            if links > MOST_LINKS:
                trail.error = errno.ELOOP
                return trail
            names += _names(target)
            folder = "/" if target.startswith("/") else folder
        elif not names:
            trail.lookups.append((folder, name))
            trail.end, trail.mode = here, status.st_mode
        elif stat.S_ISDIR(status.st_mode):
            trail.folders.append(here)
            folder = here
        else:
            trail.lookups.append((folder, name))
            trail.error = errno.ENOTDIR
            return trail
    if not trail.end:  # it ends with `..` or is the root
        trail.end, trail.mode = folder, stat.S_IFDIR
    return trail


def _names(path: str) -> list[str]:
    """The last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
