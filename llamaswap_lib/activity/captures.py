"""Captures: what was asked and answered, of the newest requests, in memory only.

The writer's thread adds and compresses; any thread reads. Guarantees: what is kept takes no more than the bound, and
the oldest goes first; what is secret in a header is not shown; off means that nothing is kept. Putting a capture
together and compressing it waits for a quiet moment: until then it counts with its whole size, so a flood of requests
evicts what nobody has worked on.
"""

from __future__ import annotations

import base64
import json
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Generator, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from llamaswap_lib.errors import ContentTooLarge, HttpError
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.content_coding import PIECE_BYTES, decode, find_codings
from llamaswap_lib.wire.heads import read_pairs
from llamaswap_lib.wire.lenient_chunks import LenientChunkedBody

from .record import Record, Sample
from .redaction import redacted

LEVEL = 1  # of zlib: text gets a quarter of its size with 10 ms for each MB
SMALL_BYTES = 1 << 13  # of a capture for which zlib's usual 256 KB of memory are too much
SMALL = 13, 5  # the window of so much, and how much memory zlib takes beside: a fifth of the time for a small one
COMPRESSED_BYTES = 500  # of what holds a capture that is compressed, beside its content
FRESH_BYTES = 2_500  # the same of one that is not yet: of a flood fewer are kept, so that it takes less memory
MOST_DECODED_BYTES = 16 << 20  # of an answer
PART_BYTES = 1 << 16  # that are unpacked at once, and that they are unpacked to
TOLD_BYTES = 3 << 14  # of a body in base64: a multiple of 3, so that the pieces make one text

NO_REQUEST_BODY = frozenset(
    ("/v1/audio/transcriptions", "/v1/audio/voices", "/v1/images/edits", "/sdapi/v1/img2img")
)  # files that were sent up
NO_RESPONSE_BODY = frozenset(
    ("/v1/audio/speech", "/v1/images/generations", "/sdapi/v1/txt2img", "/v1/images/edits", "/sdapi/v1/img2img")
)  # sound and pictures


def may_capture(buffer_mb: int, *, is_written: bool, has_keys: bool, is_loopback: bool) -> bool:
    """Whether requests may be captured: where other machines can ask for them without a key, only if somebody wants it.

    `is_written`: the size of the buffer stands in the configuration.
    """
    return buffer_mb > 0 and (is_written or has_keys or is_loopback)


class _Fresh(NamedTuple):
    """What a capture is made of, as it came: nothing was done for it yet. A body that is not shown is None."""

    path: str
    request_fields: str
    response_fields: str
    request_body: bytes | None
    response_body: bytes | None
    size_bytes: int

    def parts(self) -> Iterator[bytes]:
        """A line of JSON, in which the sizes of the bodies stand (None: none), and then the bodies."""
        path, request_fields, response_fields, req_body, resp_body, _ = self
        told = {
            "req_path": path,
            "req_headers": _shown(request_fields),
            "req_body": None if req_body is None else len(req_body),
            "resp_headers": _shown(response_fields),
            "resp_body": None if resp_body is None else len(resp_body),
        }
        yield json.dumps(told).encode() + b"\n"
        yield from filter(None, (req_body, resp_body))


class _Compressed(NamedTuple):
    content: bytes
    size_bytes: int

    def parts(self) -> Iterator[bytes]:
        """The same, cut anywhere."""
        unpacker = zlib.decompressobj()
        for begin in range(0, len(self.content), PART_BYTES):
            rest = self.content[begin : begin + PART_BYTES]
            while rest and (part := unpacker.decompress(rest, PART_BYTES)):
                yield part
                rest = unpacker.unconsumed_tail
        if part := unpacker.flush():
            yield part


class Captures:
    """Those that are kept, by the id of their row."""

    def __init__(self, most_bytes: int) -> None:
        """0 keeps none."""
        self._most_bytes = most_bytes
        self._lock = threading.Lock()  # protects all below
        self._kept: OrderedDict[int, _Fresh | _Compressed] = OrderedDict()  # the oldest first
        self._fresh: deque[int] = deque()  # which of them are not compressed, the oldest first
        self._bytes = 0

    # -- any thread --

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def has(self, row_id: int) -> bool:
        return row_id in self._kept

    def get(self, row_id: int) -> Iterator[bytes] | None:
        """As JSON, in pieces, so that a long one is never there as a whole; None for one that is not kept."""
        with self._lock:
            capture = self._kept.get(row_id)
        return None if capture is None else _as_json(row_id, capture.parts())

    def packed(self) -> list[tuple[int, str]]:
        """All of them by their row's id, the oldest first, as another process `unpack`s them."""
        with self._lock:
            kept = list(self._kept.items())
        return [(row_id, _packed(capture)) for row_id, capture in kept]

    def packed_of(self, record: Record) -> str | None:
        """What would be kept of the record, as another process unpacks it; None for nothing."""
        fresh = _fresh(record) if self._most_bytes and record.captures else None
        return None if fresh is None else _packed(fresh)

    # -- the writer's thread --

    def unpack(self, row_id: int, packed: str) -> None:
        """Keep what another process has packed."""
        content = base64.b64decode(packed)
        with self._lock:
            self._kept[row_id] = capture = _Compressed(content, len(content) + COMPRESSED_BYTES)
            self._bytes += capture.size_bytes
            self._evict()

    def add(self, row_id: int, record: Record) -> bool:
        """Keep what the record has, if it is to be captured; whether it is kept."""
        if not (self._most_bytes and record.captures):
            return False
        fresh = _fresh(record)
        if fresh is None:
            return False
        if fresh.size_bytes <= self._most_bytes:
            with self._lock:
                self._kept[row_id] = fresh
                self._fresh.append(row_id)
                self._bytes += fresh.size_bytes
                if self._bytes > self._most_bytes:
                    self._evict()
            return True
        compressed = _compressed(fresh)
        if compressed.size_bytes > self._most_bytes:
            return False
        with self._lock:
            self._kept[row_id] = compressed
            self._bytes += compressed.size_bytes
            self._evict()
        return True

    def compress(self, most_bytes: int) -> bool:
        """Compress some of those that are not yet, of about so many bytes; whether any are left."""
        while most_bytes > 0:
            with self._lock:
                if not self._fresh:
                    return False
                row_id = self._fresh.popleft()
                fresh = self._kept[row_id]
            compressed = _compressed(fresh)
            most_bytes -= fresh.size_bytes
            with self._lock:
                if row_id in self._kept:
                    self._kept[row_id] = compressed
                    self._bytes += compressed.size_bytes - fresh.size_bytes
                    self._evict()
        return bool(self._fresh)

    def change(self, most_bytes: int) -> None:
        """Keep no more than so many bytes from now on."""
        with self._lock:
            self._most_bytes = most_bytes
            self._evict()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._fresh.clear()
            self._bytes = 0

    def renumber(self, ids: Mapping[int, int]) -> None:
        """Rows have got another id: old -> new."""
        with self._lock:
            self._kept = OrderedDict((ids.get(row_id, row_id), capture) for row_id, capture in self._kept.items())
            self._fresh = deque(ids.get(row_id, row_id) for row_id in self._fresh)

    def forget_before(self, row_id: int) -> None:
        """The rows with lower ids are others now."""
        with self._lock:
            for old in [number for number in self._kept if number < row_id]:
                self._bytes -= self._kept.pop(old).size_bytes
            self._fresh = deque(number for number in self._fresh if number >= row_id)

    def _evict(self) -> None:
        """Under the lock: the oldest go until the rest is within the bound."""
        while self._bytes > self._most_bytes:
            row_id, capture = self._kept.popitem(last=False)
            self._bytes -= capture.size_bytes
            if self._fresh and self._fresh[0] == row_id:  # they stand in the same order
                self._fresh.popleft()


# -- what is kept of a request --


def _packed(kept: _Fresh | _Compressed) -> str:
    return base64.b64encode(_compressed(kept).content if isinstance(kept, _Fresh) else kept.content).decode()


def _compressed(kept: _Fresh | _Compressed) -> _Compressed:
    window, memory = SMALL if kept.size_bytes <= SMALL_BYTES else (zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL)
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, window, memory)
    content = b"".join([*map(packer.compress, kept.parts()), packer.flush()])
    return _Compressed(content, len(content) + COMPRESSED_BYTES)


def _fresh(record: Record) -> _Fresh | None:
    """None where there was no answer, or one that cannot be decoded."""
    sample, path = record.sample, record.path
    resp_body, size_bytes = None, sample.size_bytes
    if record.status == 200:
        if not size_bytes:
            return None
        if len(sample.head) == size_bytes and path not in NO_RESPONSE_BODY:
            resp_body = decoded(record) if record.is_chunked or record.content_encoding else sample.head
            if not resp_body:
                return None
    elif not (size_bytes or record.response_bytes):
        return None
    req_body = None if path in NO_REQUEST_BODY else record.request_body
    request_fields, response_fields = record.request_fields, record.response_fields
    size_bytes = FRESH_BYTES + len(request_fields) + len(response_fields)
    if req_body:
        size_bytes += len(req_body)
    if resp_body:
        size_bytes += len(resp_body)
    return tuple.__new__(_Fresh, (path, request_fields, response_fields, req_body, resp_body, size_bytes))


def _shown(fields: str) -> dict[str, str]:
    """Header lines under their names as they are usually written."""
    return {_usual(name): value for name, value in redacted(read_pairs(fields)).items()}


@lru_cache(maxsize=64)
def _usual(name: str) -> str:
    """The same few come again and again."""
    return "-".join(map(str.capitalize, name.split("-")))


def decoded(record: Record) -> bytes:
    """The answer's body without framing and coding, as far as it came and up to the bound; b"" if it is in no order."""
    data = _unframed(record.sample) if record.is_chunked else record.sample.head
    if not record.content_encoding:
        return data[:MOST_DECODED_BYTES]
    pieces: list[bytes] = []
    try:
        codings = find_codings([record.content_encoding])
        coded = (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
        pieces.extend(decode(coded, codings, MOST_DECODED_BYTES, ContentTooLarge("")))
    except HttpError:
        pass  # it is cut off, or too long: what has come is good
    return b"".join(pieces)


def _unframed(sample: Sample) -> bytes:
    """As a client gets it: the framing of a local model need not be strict."""
    try:
        return LenientChunkedBody(decoded=True).take(sample.head)
    except BadChunk:
        return b""


# -- what is told of it --


def _as_json(row_id: int, parts: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for part in parts:
        head += part
        if b"\n" in part:
            break
    line, _, rest = head.partition(b"\n")
    bodies = chain((rest,) if rest else (), parts)
    opening: dict[str, object] = {"id": row_id}
    for name, value in json.loads(line).items():
        if not name.endswith("_body"):
            opening[name] = value
            continue
        told = json.dumps({**opening, name: None}, ensure_ascii=False, separators=(",", ":"))
        told = told.removeprefix("{").removesuffix("null}")
        yield f"{'{' if 'id' in opening else ','}{told}".encode()
        opening = {}
        if value is None:
            yield b"null"
        else:
            rest = yield from _base64(value, bodies)
            bodies = chain((rest,) if rest else (), bodies)
    yield b"}"


def _base64(size_bytes: int, parts: Iterator[bytes]) -> Generator[bytes, None, bytes]:
    """The next so many bytes as a JSON string; returns what came behind them in the same part."""
    data = b""
    yield b'"'
    while len(data) < size_bytes and (part := next(parts, b"")):
        data += part
        whole = min(len(data), size_bytes) // 3 * 3  # what has no padding within
        for begin in range(0, whole, TOLD_BYTES):
            yield base64.b64encode(data[begin : min(begin + TOLD_BYTES, whole)])
        data, size_bytes = data[whole:], size_bytes - whole
    yield base64.b64encode(data[:size_bytes]) + b'"'
    return data[size_bytes:]
