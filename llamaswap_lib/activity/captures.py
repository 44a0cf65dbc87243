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
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from llamaswap_lib.errors import ContentTooLarge, HttpError
from llamaswap_lib.wire.chunked import BadChunk
from llamaswap_lib.wire.content_coding import PIECE_BYTES, decode, find_codings
from llamaswap_lib.wire.lenient_chunks import LenientChunkedBody

from .record import Record, Sample
from .redaction import redacted

LEVEL = 1  # of zlib: text gets a quarter of its size with 10 ms for each MB
OVERHEAD_BYTES = 500  # of what holds a capture, beside its content
UNTOUCHED_BYTES = 3_000  # of a record beside the bodies: its headers, as texts of their own, and what holds them
MOST_DECODED_BYTES = 16 << 20  # of an answer

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


class _Capture(NamedTuple):
    """Its content is a line of JSON, in which the sizes of the bodies stand (None: none), and then the bodies."""

    content: bytes
    is_compressed: bool

    @property
    def size_bytes(self) -> int:
        return len(self.content) + OVERHEAD_BYTES

    def read(self) -> bytes:
        return zlib.decompress(self.content) if self.is_compressed else self.content

    def compressed(self) -> _Capture:
        return self if self.is_compressed else _Capture(zlib.compress(self.content, LEVEL), True)


class _Untouched(NamedTuple):
    """A record whose answer is there as it is to be shown: nothing was done for its capture yet."""

    record: Record
    size_bytes: int
    is_compressed: bool = False

    def read(self) -> bytes:
        record = self.record
        return _content_of(record, record.sample.head if record.path not in NO_RESPONSE_BODY else None)

    def compressed(self) -> _Capture:
        return _Capture(zlib.compress(self.read(), LEVEL), True)


class Captures:
    """Those that are kept, by the id of their row."""

    def __init__(self, most_bytes: int) -> None:
        """0 keeps none."""
        self._most_bytes = most_bytes
        self._lock = threading.Lock()  # protects all below
        self._kept: OrderedDict[int, _Capture | _Untouched] = OrderedDict()  # the oldest first
        self._uncompressed: OrderedDict[int, None] = OrderedDict()  # of them, the oldest first
        self._bytes = 0

    # -- any thread --

    @property
    def size_bytes(self) -> int:
        return self._bytes

    @property
    def are_waiting(self) -> bool:
        """Whether some are not compressed yet."""
        return bool(self._uncompressed)

    def has(self, row_id: int) -> bool:
        return row_id in self._kept

    def get(self, row_id: int) -> dict[str, Any] | None:
        """For JSON; None for one that is not kept."""
        with self._lock:
            capture = self._kept.get(row_id)
        if capture is None:
            return None
        line, _, bodies = capture.read().partition(b"\n")
        told = json.loads(line)
        size = told["req_body"] or 0
        req_body = None if told["req_body"] is None else bodies[:size]
        resp_body = None if told["resp_body"] is None else bodies[size:]
        return {"id": row_id, **told, "req_body": _base64(req_body), "resp_body": _base64(resp_body)}

    # -- the writer's thread --

    def add(self, row_id: int, record: Record) -> bool:
        """Keep what the record has, if it is to be captured; whether it is kept."""
        if not (self._most_bytes and record.captures):
            return False
        capture = _capture_of(record)
        if capture is not None and capture.size_bytes > self._most_bytes:
            capture = capture.compressed()
        if capture is None or capture.size_bytes > self._most_bytes:
            return False
        with self._lock:
            self._kept[row_id] = capture
            self._bytes += capture.size_bytes
            if not capture.is_compressed:
                self._uncompressed[row_id] = None
            self._evict()
        return True

    def compress(self, most_bytes: int) -> bool:
        """Compress some of those that are not yet, of about so many bytes; whether any are left."""
        while most_bytes > 0:
            with self._lock:
                row_id = next(iter(self._uncompressed), None)
                if row_id is None:
                    return False
                del self._uncompressed[row_id]
                capture = self._kept[row_id]
            compressed = capture.compressed()
            most_bytes -= capture.size_bytes
            with self._lock:
                if row_id in self._kept:
                    self._kept[row_id] = compressed
                    self._bytes += compressed.size_bytes - capture.size_bytes
                    self._evict()
        return bool(self._uncompressed)

    def change(self, most_bytes: int) -> None:
        """Keep no more than so many bytes from now on."""
        with self._lock:
            self._most_bytes = most_bytes
            self._evict()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._uncompressed.clear()
            self._bytes = 0

    def renumber(self, ids: Mapping[int, int]) -> None:
        """Rows have got another id: old -> new."""
        with self._lock:
            self._kept = OrderedDict((ids.get(row_id, row_id), capture) for row_id, capture in self._kept.items())
            self._uncompressed = OrderedDict((ids.get(row_id, row_id), None) for row_id in self._uncompressed)

    def _evict(self) -> None:
        """Under the lock: the oldest go until the rest is within the bound."""
        while self._bytes > self._most_bytes:
            row_id, capture = self._kept.popitem(last=False)
            self._bytes -= capture.size_bytes
            self._uncompressed.pop(row_id, None)


# -- what is kept of a request --


def _capture_of(record: Record) -> _Capture | _Untouched | None:
    """None where there was no answer, or one that cannot be decoded."""
    sample = record.sample
    resp_body = None
    if record.status == 200:
        if not sample.size_bytes:
            return None
        if not record.is_chunked and not record.content_encoding and sample.is_whole:
            size_bytes = sample.size_bytes + len(record.request_body or b"") + UNTOUCHED_BYTES
            return _Untouched(record, size_bytes)
        if record.path not in NO_RESPONSE_BODY and sample.is_whole:
            resp_body = decoded(record)
            if not resp_body:
                return None
    elif not (sample.size_bytes or record.response_bytes):
        return None
    return _Capture(_content_of(record, resp_body), False)


def _content_of(record: Record, resp_body: bytes | None) -> bytes:
    req_body = None if record.path in NO_REQUEST_BODY else record.request_body
    told = {
        "req_path": record.path,
        "req_headers": _shown(record.request_headers),
        "req_body": None if req_body is None else len(req_body),
        "resp_headers": _shown(record.response_headers),
        "resp_body": None if resp_body is None else len(resp_body),
    }
    return b"".join((json.dumps(told).encode(), b"\n", req_body or b"", resp_body or b""))


def _shown(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Under their names as they are usually written."""
    return {"-".join(map(str.capitalize, name.split("-"))): value for name, value in redacted(headers).items()}


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


def _base64(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode()
