"""The answer of an upstream as the rest of a stream that has begun.

The http thread of the client runs it, inside the lease. Its head has gone out before: 200, a stream of events, chunked
unless the client speaks HTTP/1.0. Guarantees: the upstream's events go on byte for byte, in a framing that continues
ours; a chat completion that came whole goes on as a stream of one chunk; any other answer that is no stream of events
is an HttpError that nothing was sent of; one that breaks off is cut.
"""

from __future__ import annotations

import json
import re
from typing import Any

from llamaswap_lib.errors import BadGateway
from llamaswap_lib.printable import bounded
from llamaswap_lib.proxy.relay import Relay
from llamaswap_lib.wire.body_framing import Body, ChunkingBody, body_of, ends_clear
from llamaswap_lib.wire.chunked import LAST_CHUNK, BadChunk, chunk_of
from llamaswap_lib.wire.heads import BodyKind, Framing, ResponseHead
from llamaswap_lib.wire.sse import as_stream

MAX_ERROR_BYTES = 65_536
MAX_WHOLE_BYTES = 8_388_608  # of a chat completion: more than any model says in one
MAX_SHOWN = 500
NO_STREAM = "answered with JSON where a stream was asked for"
_remove_encodings = re.compile(rb"(?im)^accept-encoding:[^\r]*\r\n").sub


class UpstreamRefused(BadGateway):
    """The upstream answered with an error; its own words, where they are an `error` object."""

    def __init__(self, message: str, own: Any = None) -> None:
        super().__init__(message)
        self.own = own
        self.is_ours = not isinstance(own, dict)

    def body(self) -> dict[str, Any]:
        return super().body() if self.is_ours else {"error": self.own}


class Continuation(Relay):
    """A relay whose answer goes on in the body that its client reads already."""

    __slots__ = ()

    def run(self, path: str, query: str) -> None:
        """Pass on the events; raises HttpError before the first of them, or ClientGone."""
        self.message = self._request_head(path, query)
        head, rest = self._ask()
        try:
            may_stay = self._deliver(head, rest)
        except BaseException:
            self.connection.close()
            raise
        self._let_go(may_stay)

    def _request_head(self, path: str, query: str) -> bytes:
        """A compressed stream could not go on behind what was said in the clear."""
        return _remove_encodings(b"", super()._request_head(path, query))

    def _deliver(self, head: ResponseHead, rest: bytes) -> bool:
        exchange, framing = self.exchange, head.body("POST")
        if fault := _fault(head):
            said = self._read_some(body_of(framing, decoded=True, lenient=True), rest, fault)
            if fault != NO_STREAM or not (events := as_stream(said)):
                raise self._refused(fault, said)
            exchange.send(chunk_of(events) + LAST_CHUNK if exchange.head.minor else events)
            return False
        opening, body, closing = _continued(framing, is_chunked=bool(exchange.head.minor))
        try:
            first = body.take(rest) if rest else b""
        except BadChunk as bad:
            raise self._broken(str(bad)) from None
        exchange.send(opening + first)
        if not body.done and not self._deliver_rest(framing, body):
            return False
        exchange.send(closing)
        return head.keep_alive and ends_clear(body)

    def _cut(self, body: Body) -> None:
        del body  # what shows us its end shows a client of HTTP/1.0 nothing
        self.exchange.cut(reset=not self.exchange.head.minor)
        self._log_cut()

    def _refused(self, fault: str, said: bytes) -> UpstreamRefused:
        """What the upstream says in place of a stream."""
        message = f"the server of {self.model.id} {fault}"
        try:
            return UpstreamRefused(message, json.loads(said)["error"])
        except (ValueError, TypeError, LookupError, RecursionError):
            words = " ".join(said.decode("utf-8", "replace").split())[:MAX_SHOWN]
            return UpstreamRefused(f"{message}: {words}" if words else message)

    def _read_some(self, body: Body, rest: bytes, fault: str) -> bytes:
        """What is no stream, or the beginning of it."""
        said, most_bytes = bytearray(), MAX_WHOLE_BYTES if fault == NO_STREAM else MAX_ERROR_BYTES
        try:
            while True:
                said += body.take(rest) if rest else b""
                if body.done or len(said) > most_bytes:
                    break
                rest = self._receive()
                if not rest:
                    break
        except (OSError, BadChunk):
            pass  # what there is of it is better than nothing
        return bytes(said)


def _fault(head: ResponseHead) -> str:
    """Why this answer cannot go on in a stream of events, '' if it can."""
    if head.status != 200:
        return f"answered {head.status} {bounded(head.reason, MAX_SHOWN)}".rstrip()
    encoding = head.first.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        return f"answered in the encoding {bounded(encoding, MAX_SHOWN)}"
    if "json" in head.first.get("content-type", "").lower():
        return NO_STREAM
    return ""


def _continued(framing: Framing, *, is_chunked: bool) -> tuple[bytes, Body, bytes]:
    """What goes before the body in a stream that is chunked, or ends by close; the follower; and what goes behind."""
    if not is_chunked or framing.kind is BodyKind.CHUNKED:
        return b"", body_of(framing, decoded=not is_chunked, lenient=True), b""
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return b"", ChunkingBody(), LAST_CHUNK
    if not framing.length:
        return b"", body_of(framing), LAST_CHUNK
    return b"%x\r\n" % framing.length, body_of(framing), b"\r\n" + LAST_CHUNK  # one chunk, as long as the body
