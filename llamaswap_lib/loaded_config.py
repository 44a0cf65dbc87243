"""Which configuration is in use: from which files, since when, and what was wrong with the last one that was not taken.

Any thread reads it; the thread that loads a configuration writes it. Each attribute is replaced as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.config.schema import Config


class FailedReload(NamedTuple):
    """A reload that changed nothing: why, and when it was (Unix time in seconds)."""

    message: str
    at: float


class LoadedConfig:
    """The configuration in use."""

    def __init__(self) -> None:
        self.note_loaded(Config(), ())

    def note_loaded(self, config: Config, files: Sequence[Path]) -> None:
        """This one is in use from now on."""
        self.config = config
        self.files = tuple(map(str, files))
        self.loaded_at = time.time()
        self.error: FailedReload | None = None

    def note_failure(self, message: str) -> None:
        """Another one was to be loaded and could not be; the one in use goes on."""
        self.error = FailedReload(message, time.time())
