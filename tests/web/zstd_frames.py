"""Zstandard made by hand, for what no encoder would make; and by the system's library, for what one does."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import pytest

from llamaswap_lib.wire.zstd import find_zstandard

needs_zstd = pytest.mark.skipif(not find_zstandard(), reason="neither Python nor the system has Zstandard")

MAGIC = b"\x28\xb5\x2f\xfd"
MOST_BLOCK_BYTES = 131_072
CHECKSUM = (201, 1)  # a parameter of the library's encoder


def window(log: int) -> bytes:
    return bytes([(log - 10) << 3])


def block(data: bytes) -> bytes:
    """A block as it is."""
    return (len(data) << 3).to_bytes(3, "little") + data


def run(byte: bytes, count: int) -> bytes:
    """A block of one byte again and again."""
    return (count << 3 | 2).to_bytes(3, "little") + byte


def last(block: bytes) -> bytes:
    return bytes([block[0] | 1]) + block[1:]


def frame(*blocks: bytes, window_log: int = 20, descriptor: bytes = b"\0", dictionary: bytes = b"") -> bytes:
    *first, end = blocks or (block(b""),)
    return MAGIC + descriptor + window(window_log) + dictionary + b"".join(first) + last(end)


def stored(data: bytes) -> bytes:
    """A frame that compresses nothing."""
    pieces = (data[start : start + MOST_BLOCK_BYTES] for start in range(0, len(data), MOST_BLOCK_BYTES))
    return frame(*map(block, pieces))


def zeros(size_bytes: int) -> bytes:
    """A frame of zeros, about so many, at four bytes for 128 KiB."""
    return frame(run(b"\0", MOST_BLOCK_BYTES) * (size_bytes // MOST_BLOCK_BYTES), run(b"\0", 1))


def skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def compressed(data: bytes, parameters: Sequence[tuple[int, int]] = ()) -> bytes:
    """What the system's library makes of it; skips the test where there is none."""
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        pytest.skip("the system has no libzstd to compress with")
    library.ZSTD_createCCtx.restype = library.ZSTD_compressBound.restype = ctypes.c_size_t
    library.ZSTD_compress2.restype = ctypes.c_size_t
    context = ctypes.c_void_p(library.ZSTD_createCCtx())
    room = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    for number, value in parameters:
        library.ZSTD_CCtx_setParameter(context, number, value)
    size = ctypes.c_size_t(len(data))
    filled = library.ZSTD_compress2(context, room, ctypes.c_size_t(len(room)), data, size)
    library.ZSTD_freeCCtx(context)
    assert filled <= len(room), "it is an error"
    return ctypes.string_at(room, filled)
