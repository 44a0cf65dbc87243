"""Content codings of request bodies: which ones a Content-Encoding names, and the body without them.

Pure, any thread. Guarantees: (1) a body is decoded in pieces, pulled through the codings one after the other, so that
memory is bounded by PIECE_BYTES and the window of each, whatever comes out; (2) no more than a bound comes out, nor out
of any step on the way; (3) what comes out is whole: a body whose end is missing is BadRequest, and so is one with bytes
behind its end that do not belong to it. A gzip and a zstd may have several members or frames, as their formats say.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from llamaswap_lib.errors import BadRequest, HttpError, UnsupportedMediaType
from llamaswap_lib.printable import bounded, printable
from llamaswap_lib.wire.zstd import Decompressor, find_zstandard

PIECE_BYTES = 65_536
MOST_CODINGS = 3  # one upon the other
MOST_MEMBERS = 10_000  # of one body: each takes some microseconds, even if it is empty
_MOST_SHOWN = 40
_ZLIB, _GZIP, _RAW = zlib.MAX_WBITS, 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS  # formats that `zlib` knows
_NO_CODINGS = frozenset(("", "identity", "utf-8", "utf8"))  # some clients write a charset here


class Coding(NamedTuple):
    """A content coding that is understood."""

    name: str
    open: Callable[[], Decompressor]  # for one member
    error: type[Exception]  # which that raises
    most_members: int = MOST_MEMBERS


def find_codings(values: Iterable[str]) -> Sequence[Coding]:
    """The codings that the Content-Encoding headers with these values name, in the order they were applied.

    Raises UnsupportedMediaType.
    """
    names = [name.strip(" \t").lower() for value in values for name in value.split(",")]
    codings = [_find(name) for name in names if name not in _NO_CODINGS]
    if len(codings) > MOST_CODINGS:
        raise _unsupported(f"the body has {len(codings)} content codings; at most {MOST_CODINGS} are allowed")
    return codings


def decode(pieces: Iterable[bytes], codings: Sequence[Coding], most_bytes: int, too_long: HttpError) -> Iterator[bytes]:
    """The body that comes in `pieces` without its codings, in pieces; raises `too_long` beyond `most_bytes`.

    Raises BadRequest and UnsupportedMediaType for one that is not what its codings say.
    """
    for number in reversed(range(len(codings))):
        most = longest_coded(most_bytes) if number else most_bytes
        pieces = _decode_one(pieces, codings[number], most, too_long)
    return iter(pieces)


def longest_coded(most_bytes: int) -> int:
    """How long a body of so many bytes gets at most when it is encoded: what cannot be compressed grows a little."""
    return most_bytes + most_bytes // 64 + PIECE_BYTES


def _decode_one(pieces: Iterable[bytes], coding: Coding, most_bytes: int, too_long: HttpError) -> Iterator[bytes]:
    member: Decompressor | None = None
    members = size_bytes = 0
    for data in _small(pieces):
        while data or (member is not None and not member.needs_input):
            if member is None:
                members += 1
                if members > coding.most_members:
                    raise _too_many_members(coding)
                member = coding.open()
            try:
                decoded = member.decompress(data, PIECE_BYTES)
            except coding.error as error:
                raise _undecodable(coding, members, error) from None
            data = b""
            if decoded:
                size_bytes += len(decoded)
                if size_bytes > most_bytes:
                    raise too_long
                yield decoded
            if member.eof:
                data, member = member.unused_data, None
    if member is not None:
        raise _surplus(coding) if members > 1 else BadRequest(f"the body is not complete: its {coding.name} has no end")


def _small(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a decompressor does not take at once it copies: so it gets little at a time."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE_BYTES):
            yield piece[start : start + PIECE_BYTES]


def _too_many_members(coding: Coding) -> BadRequest:
    if coding.most_members == 1:
        return BadRequest(f"the body has more bytes after the end of its {coding.name}")
    return BadRequest(f"the body has more than {coding.most_members} {coding.name} streams, one after the other")


def _surplus(coding: Coding) -> BadRequest:
    return BadRequest(
        f"the body has more bytes after the end of its {coding.name}, which are no complete {coding.name}"
    )


def _undecodable(coding: Coding, members: int, error: Exception) -> HttpError:
    if members > 1:
        return _surplus(coding)
    reason = printable(str(error).rpartition(": ")[2])
    return _unsupported(f"the body has the Content-Encoding {coding.name}, but cannot be decoded: {reason}")


def _unsupported(message: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(message, headers={"Accept-Encoding": ", ".join(_known())})


# -- which there are --


def _find(name: str) -> Coding:
    known = _known()
    coding = known.get("gzip" if name == "x-gzip" else name)
    if coding is None:
        shown = repr(bounded(name, _MOST_SHOWN))  # repr: nothing unprintable goes out
        offer = " or ".join(known)
        raise _unsupported(f"the Content-Encoding {shown} is not understood; send the body without one, or in {offer}")
    return coding


@lru_cache(maxsize=1)
def _known() -> dict[str, Coding]:
    """By their names; found once."""
    known = {
        "gzip": Coding("gzip", lambda: _Inflater(_GZIP), zlib.error),
        "deflate": Coding("deflate", _Deflated, zlib.error, most_members=1),
    }
    if zstandard := find_zstandard():
        known["zstd"] = Coding("zstd", *zstandard)
    return known


class _Inflater:
    """`zlib`'s decompressor, with its input kept."""

    __slots__ = ("_stream", "_untaken", "needs_input")

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self._untaken = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        decoded = self._stream.decompress(self._untaken + data, max_length)
        self._untaken = self._stream.unconsumed_tail
        self.needs_input = not self._untaken and len(decoded) < max_length
        return decoded


class _Deflated(_Inflater):
    """What is called deflate: zlib's format, or, from clients that take the name at its word, the bare one within it.

    The first two bytes tell. (No encoder begins the bare format as that of zlib begins: it would have to leave bits
    set that are no use.)
    """

    __slots__ = ("_is_known",)

    def __init__(self) -> None:
        super().__init__(_ZLIB)
        self._is_known = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if not self._is_known:
            data, self._untaken = self._untaken + data, b""
            if len(data) < 2:
                self._untaken = data
                return b""
            self._is_known = True
            if data[0] & 0x0F != zlib.DEFLATED or int.from_bytes(data[:2], "big") % 31:
                self._stream = zlib.decompressobj(_RAW)
        return super().decompress(data, max_length)
