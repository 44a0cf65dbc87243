"""Zstandard: Python's own from 3.14 on, else that of the system's library; or there is none.

Pure, any thread. To look for it takes some milliseconds, and is therefore not done before the server listens, but right
behind that, once. A decompressor is for one frame, on one thread at a time. Guarantees: a frame whose window is larger
than 8 MB is refused, as the web has it (RFC 9659), so no decompressor takes more memory than that and its buffers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

from llamaswap_lib.wire.libzstd import BadFrame, Library

WINDOW_LOG_MAX = 23  # 8 MB


class Decompressor(Protocol):
    """Decodes one member of a body; the shape is that of Python's own decompressors."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more data."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next `max_length` bytes at most; it keeps what it has not taken of `data`."""


class Zstandard(NamedTuple):
    """One way to decode it."""

    open: Callable[[], Decompressor]
    error: type[Exception]  # which a decompressor raises for what it cannot decode


def of_python() -> Zstandard | None:
    """That of Python's library."""
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:  # before 3.14, or not built
        return None
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    return Zstandard(lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)


def of_system() -> Zstandard | None:
    """That of the system's library."""
    try:
        library = Library(WINDOW_LOG_MAX)
    # No `_ctypes` was built, no such library or one of before 2019; or no memory that may be executed.
    except (ImportError, OSError, AttributeError, MemoryError):
        return None
    return Zstandard(library.open, BadFrame)


@lru_cache(maxsize=1)
def find_zstandard() -> Zstandard | None:
    """The one that is used, None where there is none. Imports what that needs, the first time."""
    return of_python() or of_system()
