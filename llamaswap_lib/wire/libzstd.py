"""The system's libzstd through `ctypes`: its streaming decompression, no more.

Pure but for the loading of the library; `ctypes` is imported when the first `Library` is made. A decompressor is for
one thread at a time; the interpreter lock is given away while it works. Guarantees: a frame that wants a larger window
than allowed is refused before it has it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# By their whole paths on macOS, where a bare name may be looked for in the working folder first.
NAMES = (
    tuple(f"{folder}/libzstd.1.dylib" for folder in ("/opt/homebrew/lib", "/usr/local/lib", "/opt/local/lib"))
    if sys.platform == "darwin"
    else ("libzstd.so.1",)
)
_WINDOW_LOG_MAX = 100  # the number of that parameter


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
        self._functions = ctypes.CDLL(next((name for name in NAMES if Path(name).exists()), NAMES[-1]))
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
        self._check(self._functions.ZSTD_DCtx_setParameter(stream, _WINDOW_LOG_MAX, self._window_log_max))
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
