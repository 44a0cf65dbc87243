"""What stands in an activity row for a key: a name that the configuration gives it, or a tag; never the key itself.

Any thread. A tag is 8 hex digits of an HMAC of the key, so it tells two clients apart and leads to no key. Its salt
lies in a file beside the store, so that tags mean the same after a restart; without a store each start makes another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

SALT_BYTES = 32
ENDING = ".salt"
TAG_DIGITS = 8


class KeyTags:
    """Tags of one salt, and the names of keys."""

    __slots__ = ("_names", "_salt")

    def __init__(self, salt: bytes, names: Mapping[str, str] | None = None) -> None:
        """`names`: key -> what it is called."""
        self._salt = salt
        self._names = {key.encode(): name for key, name in (names or {}).items()}

    def tag(self, key: bytes) -> str:
        """What stands for a key, '' for none."""
        if not key:
            return ""
        for known, name in self._names.items():
            if hmac.compare_digest(known, key):
                return name
        return f"key-{hmac.digest(self._salt, key, hashlib.sha256).hex()[:TAG_DIGITS]}"


def new_salt() -> bytes:
    return os.urandom(SALT_BYTES)


def read_salt(store: str, warn: Callable[[str], None]) -> bytes:
    """The salt beside the store at this path, which is made if there is none; a new one where there is no store.

    Where the file cannot be read or written, `warn` is told, and the salt is a new one.
    """
    if not store or store == ":memory:":
        return new_salt()
    path = f"{store}{ENDING}"
    try:
        return _read(path) or _written(path)
    except OSError as error:
        warn(f"{path}: {error.strerror or error}; the tags of keys change with each start")
        return new_salt()


def _read(path: str) -> bytes:
    """b"" where there is none, or not all of it."""
    with suppress(FileNotFoundError), Path(path).open("rb") as file:
        salt = file.read(SALT_BYTES)
        return salt if len(salt) == SALT_BYTES else b""
    return b""


def _written(path: str) -> bytes:
    """A new one, for its owner alone; that of a process that was faster."""
    salt, part = new_salt(), f"{path}.{os.getpid()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, salt)
    finally:
        os.close(descriptor)
    Path(part).replace(path)
    return _read(path) or salt
