"""Files of safetensors: how many bytes of weights they have.

The format: https://huggingface.co/docs/safetensors, a length of 8 bytes, little-endian, and that much JSON.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from llamaswap_lib.model_files.opening import MOST_BYTES, Beginning, Unreadable, open_file

LENGTH = struct.Struct("<Q")
SUFFIX = ".safetensors"
MOST_FILES = 1000


def files(folder: str) -> list[str]:
    """The paths of all such files in a folder; raises Unreadable."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))  # noqa: PTH208 - as it is named
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not 0 < len(names) <= MOST_FILES:
        raise Unreadable(f"has {len(names)} files of safetensors")
    return [f"{folder}/{name}" for name in names]


def weights(path: str) -> int:
    """Bytes of all tensors of a file; raises Unreadable."""
    file, size = open_file(path)
    with file:
        beginning = Beginning(file)
        beginning.reach(LENGTH.size)
        (length,) = LENGTH.unpack_from(beginning.data)
        if length > MOST_BYTES:
            raise Unreadable("is no file of safetensors")
        beginning.reach(LENGTH.size + length)
        header = _json_of(bytes(beginning.data[LENGTH.size : LENGTH.size + length]))
    try:
        end = max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)
        is_whole = 0 <= end <= size - LENGTH.size - length
    except (TypeError, KeyError, IndexError):
        raise Unreadable("is no file of safetensors") from None
    if not is_whole:
        raise Unreadable("is shorter than its header says")
    return int(end)


def _json_of(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unreadable("is no file of safetensors")
    return found
