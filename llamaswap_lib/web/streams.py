"""An answer of our own that ends when there is nothing more to say: chunked, or until the connection ends for HTTP/1.0.

The http thread of its client.
"""

from __future__ import annotations

from collections.abc import Sequence

from llamaswap_lib.web.chunks import LAST_CHUNK, chunk_of
from llamaswap_lib.web.exchange import Exchange
from llamaswap_lib.web.forwarding import serialize_response


class Stream:
    """The body of one exchange, piece by piece; every method raises ClientGone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_chunked = bool(exchange.head.minor)

    def begin(self, headers: Sequence[tuple[str, str]], data: bytes = b"") -> None:
        """Send the head at once, and with it the first of the body."""
        fields = [*headers]
        if self._is_chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        else:
            self._exchange.closes = True
        self._exchange.begin(200, serialize_response(200, "OK", fields), self._framed(data))

    def send(self, data: bytes) -> None:
        if data:
            self._exchange.send(self._framed(data))

    def end(self) -> None:
        """In good order: the client sees that this is all."""
        if self._is_chunked:
            self._exchange.send(LAST_CHUNK)

    def _framed(self, data: bytes) -> bytes:
        return chunk_of(data) if data and self._is_chunked else data
