"""An answer of our own that ends when there is nothing more to say: chunked, or until the connection ends for HTTP/1.0.

A handler thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from llamaswap_lib.net.stream import hold_back
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.wire.chunked import LAST_CHUNK, chunk_of

UNSENT_BYTES = 8_192  # the most that waits in the kernel for a client to read on
READERS_PER_SECOND = 2_000  # of one source, whose threads are woken by what it says
LEAST_PAUSE = 0.005  # seconds: a shorter one costs more than it saves
REST = 0.05  # seconds between two looks at what is to be told, unless that is much: each request says something
MUCH_BYTES = 16_384


class Stream:
    """The body of one exchange, piece by piece; every method raises ClientGone."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_chunked = bool(exchange.head.minor)
        self._sent_bytes = 0  # since the last look
        self._looked_at = -math.inf

    def begin(self, headers: Sequence[tuple[str, str]], data: bytes = b"") -> None:
        """Send the head at once, and with it the first of the body."""
        fields = [*headers]
        if self._is_chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        else:
            self._exchange.closes = True
        self._exchange.begin_own(200, fields, self._framed(data))

    @contextmanager
    def following(self) -> Iterator[None]:
        """While its client is told what comes: it can come back, so it may be cut off for others."""
        exchange = self._exchange
        hold_back(exchange.client.stream, UNSENT_BYTES)
        exchange.follow(follows=True)
        try:
            yield
        finally:
            exchange.follow(follows=False)

    def await_room(self, reader_count: int) -> None:
        """Block until the client takes more: what it has not been sent then costs nobody anything.

        `reader_count` is how many are told the same. A crowd of them pauses, so as not to be woken for each line; one
        alone does, if it was told something just now.
        """
        clock = self._exchange.client.loop.clock
        rest = self._looked_at + REST - clock() if self._sent_bytes < MUCH_BYTES else 0.0
        pause = max(rest, reader_count / READERS_PER_SECOND)
        if pause > LEAST_PAUSE:
            self._exchange.watch.wait(timeout=pause)
        self._exchange.on_loop(self._exchange.client.room)
        self._looked_at, self._sent_bytes = clock(), 0

    def send(self, data: bytes) -> None:
        self._sent_bytes += len(data)
        if data:
            self._exchange.send(self._framed(data))

    def send_next(self, take: Callable[[], bytes]) -> None:
        """The same with what `take` gives, which the loop calls once the client takes more."""

        async def send() -> None:
            await self._exchange.client.room()
            if data := take():
                await self._exchange.write(self._framed(data))

        self._exchange.on_loop(send)

    def end(self) -> None:
        """In good order: the client sees that this is all."""
        if self._is_chunked:
            self._exchange.send(LAST_CHUNK)

    def _framed(self, data: bytes) -> bytes:
        return chunk_of(data) if data and self._is_chunked else data
