"""A small JSON file that outlives the program: for its owner alone, read with a bound, replaced as a whole.

One thread at a time. What cannot be read counts as not there, what cannot be written stays in memory; the log is told
of each, once for as long as it is the same.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

MOST_BYTES = 8 << 20
_T = TypeVar("_T")


class SmallFile:
    """The file at `path`."""

    def __init__(
        self, path: Path, warn: Callable[[str], None], if_unread: str, if_unwritten: str, *, sets_aside: bool = False
    ) -> None:
        """What the log is told to come of it where the file cannot be read, or written.

        `sets_aside`: one that is damaged is given another name.
        """
        self.path = path
        self._warn = warn
        self._if_unread = if_unread
        self._if_unwritten = if_unwritten
        self._sets_aside = sets_aside
        self._told = ""

    def read(self, parse: Callable[[Any], _T]) -> _T | None:
        """What `parse` makes of it, which may raise ValueError; None where there is no file, or none of use."""
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - bounded
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise ValueError("it is too large")
            return parse(json.loads(data))
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell(f"{self.path}: {error.strerror or error}; {self._if_unread}")
        except (ValueError, RecursionError) as error:
            self._tell(f"{self.path}: {error}; {self._set_aside()}{self._if_unread}")
        return None

    def _set_aside(self) -> str:
        """Give it another name, if that is wanted and can be done; what is told of it."""
        other = self.path.with_name(f"{self.path.name}.damaged")
        with suppress(OSError):
            if self._sets_aside:
                self.path.replace(other)
                return f"it is now called {other.name}, and "
        return ""

    def write(self, value: object) -> None:
        """Replace it, and make its folder if there is none."""
        data, other = json.dumps(value, indent=1).encode(), self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            if len(data) > MOST_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                other.unlink()
            with os.fdopen(os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            other.replace(self.path)
        except OSError as error:
            self._tell(f"{self.path}: {error.strerror or error}; {self._if_unwritten}")
            with suppress(OSError):
                other.unlink()
        else:
            self._told = ""

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._warn(line)
        self._told = line
