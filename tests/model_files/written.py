"""GGUF files as bytes, by the text of the format alone: what the reader reads is written here a second time."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

F32, F16, Q4_0 = 0, 1, 2
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
ALIGNMENT = 32


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(one: Any) -> bytes:
    """With its type before it."""
    if isinstance(one, bool):
        return struct.pack("<IB", BOOL, one)
    if isinstance(one, int):
        return struct.pack("<II", UINT32, one)
    if isinstance(one, float):
        return struct.pack("<If", FLOAT32, one)
    if isinstance(one, str):
        return struct.pack("<I", STRING) + text(one)
    kinds = [value(item) for item in one]
    kind = kinds[0][:4] if kinds else struct.pack("<I", UINT32)
    return struct.pack("<I", ARRAY) + kind + struct.pack("<Q", len(one)) + b"".join(item[4:] for item in kinds)


def gguf_bytes(values: Mapping[str, Any], tensors: Sequence[tuple[str, int, int]] = (), version: int = 3) -> bytes:
    """`tensors`: name, kind and bytes of each; the weights are zeros."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    head += b"".join(text(key) + value(one) for key, one in values.items())
    offset = 0
    for name, kind, size in tensors:
        head += text(name) + struct.pack("<IQQIQ", 2, 1, 1, kind, offset)
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return head + bytes(-len(head) % ALIGNMENT) + bytes(offset)


def write_gguf(
    path: Path, values: Mapping[str, Any], tensors: Sequence[tuple[str, int, int]] = (), size: int | None = None
) -> Path:
    """With `size` the file is made so large, without taking room."""
    data = gguf_bytes(values, tensors)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(size if size is not None else len(data))
    return path
