"""Zstandard: Python's own from 3.14 on, else that of the system's library, through `ctypes`; or there is none.

Pure but for the loading of the library, any thread. To look for it takes some milliseconds, and is therefore not done
before the server listens, but right behind that, once; `ctypes` is imported only then. A decompressor is for one frame,
on one thread at a time; the interpreter lock is given away while it works. Guarantees: a frame whose window is larger
than 8 MB is refused, as the web has it (RFC 9659), so no decompressor takes more memory than that and its buffers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

WINDOW_LOG_MAX = 23  # 8 MB

# Of the system. By whole paths on macOS, where a bare name may be looked for in the working folder first.
LIBRARIES = (
    tuple(f"{folder}/libzstd.1.dylib" for folder in ("/opt/homebrew/lib", "/usr/local/lib", "/opt/local/lib"))
    if sys.platform == "darwin"
    else ("libzstd.so.1",)
)
_WINDOW_LOG_PARAMETER = 100  # the number of that one in the library


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


class BadFrame(ValueError):
    """The data cannot be decoded, in the library's words."""


class Library:
    """The library, loaded; raises ImportError, OSError or MemoryError where it cannot be, AttributeError if too old."""

    def __init__(self, window_log_max: int) -> None:
        import ctypes  # noqa: PLC0415 - costs 5 ms, and few need it

        class Source(ctypes.Structure):  # ZSTD_inBuffer
            _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))

        class Target(ctypes.Structure):  # ZSTD_outBuffer; an address, since `ctypes.cast` leaves cycles of references
            _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))

        self._ctypes, self._source, self._target = ctypes, Source, Target
        self._window_log_max = window_log_max
        self._functions = ctypes.CDLL(next((name for name in LIBRARIES if Path(name).exists()), LIBRARIES[-1]))
        buffers = (ctypes.POINTER(Target), ctypes.POINTER(Source))
        for name, result, arguments in (
            ("ZSTD_createDStream", ctypes.c_void_p, ()),
            ("ZSTD_freeDStream", ctypes.c_size_t, (ctypes.c_void_p,)),
            ("ZSTD_DCtx_setParameter", ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
            ("ZSTD_decompressStream", ctypes.c_size_t, (ctypes.c_void_p, *buffers)),
            ("ZSTD_isError", ctypes.c_uint, (ctypes.c_size_t,)),
            ("ZSTD_getErrorName", ctypes.c_char_p, (ctypes.c_size_t,)),
        ):
            function = getattr(self._functions, name)
            function.restype, function.argtypes = result, arguments

    def open(self) -> FrameDecompressor:
        """A decompressor for one frame."""
        stream = self._functions.ZSTD_createDStream()
        if stream is None:
            raise MemoryError
        decompressor = FrameDecompressor(self, stream)
        self._check(self._functions.ZSTD_DCtx_setParameter(stream, _WINDOW_LOG_PARAMETER, self._window_log_max))
        return decompressor

    def step(self, stream: int, data: bytes, max_length: int) -> tuple[int, bytes, bool]:
        """How much of `data` was used, what came out, and whether the frame has ended; raises BadFrame."""
        ctypes = self._ctypes
        room = ctypes.create_string_buffer(max_length)
        source = self._source(data, len(data), 0)
        target = self._target(ctypes.addressof(room), max_length, 0)
        still = self._functions.ZSTD_decompressStream(stream, ctypes.byref(target), ctypes.byref(source))
        self._check(still)
        return source.at, ctypes.string_at(room, target.at), still == 0

    def free(self, stream: int) -> None:
        self._functions.ZSTD_freeDStream(stream)

    def _check(self, result: int) -> None:
        if self._functions.ZSTD_isError(result):
            raise BadFrame(self._functions.ZSTD_getErrorName(result).decode("ascii", "replace"))


class FrameDecompressor:
    """Decodes one frame; the shape is that of `compression.zstd.ZstdDecompressor`."""

    __slots__ = ("_library", "_stream", "_untaken", "eof", "needs_input")

    def __init__(self, library: Library, stream: int) -> None:
        """It frees `stream`."""
        self._library = library
        self._stream = stream
        self._untaken = b""
        self.eof = False
        self.needs_input = True

    @property
    def unused_data(self) -> bytes:
        return self._untaken if self.eof else b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._untaken + data
        used_bytes, decoded, self.eof = self._library.step(self._stream, data, max_length)
        self._untaken = data[used_bytes:]
        self.needs_input = not self.eof and not self._untaken and len(decoded) < max_length
        return decoded

    def __del__(self) -> None:
        self._library.free(self._stream)
