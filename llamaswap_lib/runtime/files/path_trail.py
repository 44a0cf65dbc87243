"""The folders and links that a path goes through, resolved one by one as the kernel does it.

Any thread. Reads links, never files; keeps nothing. A change to any of them may lead the path to another file:
`lookups` and `folders` say where such changes happen.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

MOST_LINKS = 40  # in one path; the kernel's number


@dataclass(slots=True)
class Trail:
    """What a path goes through. Two are equal if they go through the same folders and links to the same file."""

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
    """The trail of an absolute path."""
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
