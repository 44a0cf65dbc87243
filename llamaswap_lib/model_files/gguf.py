"""The header of a GGUF file: what the model is, and how many bytes each of its tensors takes.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. How large a
tensor is, is told by where the next one begins, so new kinds of quantization are no news here. Of lists only short
ones of numbers are kept, of others how many items they have.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.model_files.opening import Beginning, Unreadable, open_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
PART = re.compile(r"-(\d{5})-of-(\d{5})$")  # of a model in several files, in the stem of its name
MOST_PARTS = 1000
MOST_KEYS = 65_536
MOST_TENSORS = 65_536
MOST_DIMENSIONS = 8
MOST_DEPTH = 3  # of lists in lists
MOST_INNER_LISTS = 65_536  # in all lists together
LONGEST_NAME = 65_535  # bytes
LONGEST_LIST = 1024  # items of a list of numbers that is kept: one for each layer
LONGEST_TEXT = 256  # bytes of a text that is kept
ALIGNMENT = 32  # bytes, where the file says nothing

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
TEXT, LIST = 8, 9
NUMBERS = {
    number: struct.Struct(f"<{letter}") for number, letter in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)
}

Value = int | float | bool | str | tuple[int | float | bool, ...]


class Tensor(NamedTuple):
    """`kind` is the number of its type, as of F32, F16, Q4_0; `size` is bytes."""

    name: str
    kind: int
    size: int


class Header(NamedTuple):
    """Of one file. `values` by key; `counts`: how many items each list has; `tensors` in the order of the header."""

    values: Mapping[str, Value]
    counts: Mapping[str, int]
    tensors: tuple[Tensor, ...]


def read_header(path: str) -> Header:
    """Raises Unreadable."""
    file, size = open_file(path)
    with file:
        return _Parser(Beginning(file)).header(size)


def part_of(path: Path) -> tuple[int, int] | None:
    """Which part of how many this file is, by its name; None for one that is all."""
    part = PART.search(path.stem)
    return None if part is None else (int(part[1]), int(part[2]))


def parts(path: Path) -> list[Path]:
    """All files of the model of which this is the first one, at most MOST_PARTS of them."""
    part = PART.search(path.stem)
    if part is None:
        return [path]
    stem = path.stem[: part.start()]
    last = max(1, min(int(part[2]), MOST_PARTS))  # a name may say that there are none
    return [path.with_name(f"{stem}-{number:05}-of-{part[2]}{path.suffix}") for number in range(1, last + 1)]


class _Parser:
    """Reads on from where it is."""

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self._data = beginning.data
        self._at = 0
        self._values: dict[str, Value] = {}
        self._counts: dict[str, int] = {}
        self._inner_lists = 0

    def header(self, size: int) -> Header:
        if self._bytes(4) != MAGIC:
            raise Unreadable("is no GGUF file")
        version = self._u32()
        if version not in VERSIONS:
            if version and not version & 0xFFFF:
                raise Unreadable("is big-endian, for another kind of machine")
            raise Unreadable(f"has version {version} of GGUF; known are 2 and 3")
        tensors, keys = self._u64(), self._u64()
        if tensors > MOST_TENSORS or keys > MOST_KEYS:
            raise Unreadable(f"is said to have {tensors} tensors and {keys} keys")
        for _ in range(keys):
            key = self._text(LONGEST_NAME)
            self._read_value(key, self._u32())
        begun = [self._beginning_of_tensor() for _ in range(tensors)]
        return Header(self._values, self._counts, self._with_sizes(begun, size))

    def _beginning_of_tensor(self) -> tuple[str, int, int]:
        """Its name, its kind and its offset in bytes."""
        name, dimensions = self._text(LONGEST_NAME), self._u32()
        if dimensions > MOST_DIMENSIONS:
            raise Unreadable(f"has a tensor of {dimensions} dimensions")
        self._skip(8 * dimensions)
        return name, self._u32(), self._u64()

    def _with_sizes(self, begun: list[tuple[str, int, int]], size: int) -> tuple[Tensor, ...]:
        alignment = self._values.get("general.alignment", ALIGNMENT)
        if isinstance(alignment, bool) or not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise Unreadable("has no usable alignment")
        begin = -(-self._at // alignment) * alignment
        ends = sorted({*(offset for _, _, offset in begun), max(0, size - begin)})
        following = dict(itertools.pairwise(ends))
        if any(offset not in following for _, _, offset in begun):
            raise Unreadable("is shorter than its header says")
        return tuple(Tensor(name, kind, following[offset] - offset) for name, kind, offset in begun)

    # -- values --

    def _read_value(self, key: str, kind: int, depth: int = 0) -> None:
        """Into what is kept, if it is one of those; nothing is kept of a list in a list."""
        if kind == TEXT:
            length = self._u64()
            if length <= LONGEST_TEXT and not depth:
                self._values[key] = self._bytes(length).decode("utf-8", "replace")
            else:
                self._skip(length)
        elif kind == LIST:
            self._read_list(key, depth)
        elif kind in NUMBERS:
            self._values[key] = self._unpack(NUMBERS[kind])
        else:
            raise Unreadable(f"has a value of the unknown type {kind}")

    def _read_list(self, key: str, depth: int) -> None:
        if depth == MOST_DEPTH:
            raise Unreadable("has lists in lists in lists")
        kind, count = self._u32(), self._u64()
        if not depth:
            self._counts[key] = count
        if kind == TEXT:
            self._skip_texts(count)
        elif kind in NUMBERS:
            number = NUMBERS[kind]
            start = self._at
            self._skip(count * number.size)
            if not depth and count <= LONGEST_LIST:
                self._values[key] = tuple(one for (one,) in number.iter_unpack(self._data[start : self._at]))
        elif kind == LIST:
            self._inner_lists += count
            if self._inner_lists > MOST_INNER_LISTS:
                raise Unreadable(f"has more than {MOST_INNER_LISTS} lists in lists")
            for _ in range(count):
                self._read_list(key, depth + 1)
        else:
            raise Unreadable(f"has a list of the unknown type {kind}")

    def _skip_texts(self, count: int) -> None:
        """There are hundreds of thousands of tokens, so this is as tight as it gets."""
        data, at, unpack = self._data, self._at, U64.unpack_from
        while count:
            try:
                while count:
                    at += 8 + unpack(data, at)[0]
                    count -= 1
            except (struct.error, OverflowError):  # noqa: PERF203 - at each end of what has been read
                self._beginning.reach(at + 8)
        self._at = at

    # -- bytes --

    def _skip(self, count: int) -> None:
        self._at += count
        self._beginning.reach(self._at)

    def _bytes(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return bytes(self._data[start : self._at])

    def _text(self, longest: int) -> str:
        length = self._u64()
        if length > longest:
            raise Unreadable(f"has a name of {length} bytes")
        return self._bytes(length).decode("utf-8", "replace")

    def _unpack(self, number: struct.Struct) -> int | float | bool:
        start = self._at
        self._skip(number.size)
        found: int | float | bool = number.unpack_from(self._data, start)[0]
        return found

    def _u32(self) -> int:
        return int(self._unpack(U32))

    def _u64(self) -> int:
        return int(self._unpack(U64))
