"""Small files of /proc and /sys. Any thread; nothing is kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from llamaswap_lib.errors import SHORTAGES

MOST_BYTES = 1 << 20  # of one file


def read(path: str) -> bytes:
    """What is in it, b'' where there is none or it may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        data = piece = os.read(descriptor, 1 << 16)
        while piece and len(data) < MOST_BYTES:
            piece = os.read(descriptor, 1 << 16)
            data += piece
        return data
    except OSError:
        return b""  # a driver that has gone, or a process
    finally:
        os.close(descriptor)


def text(path: str) -> str:
    return read(path).decode("utf-8", "replace").strip()


def number(path: str) -> int | None:
    """A decimal number, or one in hexadecimal with 0x; None for anything else."""
    return as_number(text(path))


def as_number(said: str) -> int | None:
    try:
        return int(said, 16) if said.startswith("0x") else int(said)
    except ValueError:
        return None


def names(folder: str) -> list[str]:
    """What is in a folder, sorted; [] where there is none."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def is_closed(folder: str) -> bool:
    """Whether it is there and what is in it may not be read, as of /proc/PID/fd of another user's process."""
    return _why_not(folder) not in (0, errno.ENOENT, errno.ESRCH, *SHORTAGES)


def is_out_of_reach(folder: str) -> bool:
    """Whether this process lacks what it takes to look into it, such as a descriptor."""
    return _why_not(folder) in SHORTAGES


def _why_not(folder: str) -> int:
    """The number of the error with which it cannot be looked into; 0 for none."""
    try:
        os.listdir(folder)
    except OSError as error:
        return error.errno or 0
    return 0


def is_suspended(device: str) -> bool:
    """Whether the system has switched the device off to save power; its folder in /sys."""
    return text(f"{device}/power/runtime_status") == "suspended"


def links(folder: str) -> Iterator[tuple[str, str]]:
    """Each link in a folder and where it leads: of /proc/PID/fd, what a process has open."""
    for name in names(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # closed meanwhile
        yield name, target
