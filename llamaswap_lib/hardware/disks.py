"""How full the file systems are on which models lie.

Thread `hardware`. One of another machine is not asked, where mounts are known: a server that does not answer would hold
up everything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from llamaswap_lib.hardware import files
from llamaswap_lib.hardware.readings import Disk

_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space, a tab, a line end or a backslash
_REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "afs", "glusterfs", "gpfs", "beegfs", "autofs")
)


def disks(folders: Iterable[str], proc: str = "/proc") -> Iterator[Disk]:
    """The file systems of the folders, each once, under the first folder on it."""
    wanted = sorted(set(folders))
    mounts = list(_mounts(files.text(f"{proc}/self/mountinfo"))) if wanted else []
    seen = set()
    for folder in wanted:
        if _is_remote(folder, mounts):
            continue
        try:
            device, room = os.stat(folder).st_dev, os.statvfs(folder)
        except (OSError, ValueError):  # it is not there, or no name of a folder
            continue
        if device not in seen:
            seen.add(device)
            yield Disk(folder, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)


def _mounts(mountinfo: str) -> Iterator[tuple[str, str]]:
    """Where each file system is, and its type."""
    for line in mountinfo.splitlines():
        before, _, behind = line.partition(" - ")
        words = before.split()
        if len(words) >= 5 and behind:
            yield _ESCAPED.sub(lambda found: chr(int(found[1], 8)), words[4]), behind.split()[0]


def _is_remote(folder: str, mounts: list[tuple[str, str]]) -> bool:
    above = [(len(place), kind) for place, kind in mounts if f"{folder}/".startswith(f"{place.rstrip('/')}/")]
    kind = max(above, default=(0, ""), key=lambda found: found[0])[1]
    return kind in _REMOTE or kind.startswith("fuse.")
