"""What is noted of a request to a model while it lasts: the rows of activity and the list of those in flight need it.

Thread `loop`. The server and the proxy note here what they do, and know nothing of those who read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from llamaswap_lib.wire.heads import ResponseHead


class Trace(Protocol):
    """What is noted of a request to a model while it lasts, for those who look on; times are by the loop's clock."""

    is_recorded: bool  # there will be a row of it
    sent_at: float | None  # when all of the request had been sent to the upstream
    answer: ResponseHead | None  # the upstream's
    head_at: float | None  # when that was there
    piece: bytes  # the body of an answer that came with its head
    take: Callable[[bytes], None] | None  # is called with each piece of an answer as it passes
    queue_seconds: float
    load_seconds: float
    ticket: int  # its number in the queue, the last one; 0 before it has waited
    behind: str  # the model that it waited for, '' for none
    retries: int
    is_told: bool  # an answer of our own has begun before the upstream's
    is_broken: bool  # the upstream's answer broke off

    def observe(self, answer: ResponseHead, first: bytes, *, is_chunked: bool) -> None:
        """The body of the answer begins with `first`, in chunks or not; `take` is for what comes behind it."""

    def end(self, exchange: Any, seconds: float) -> None:
        """It is over, after so many seconds."""


class Untraced:
    """The same of a request that nobody looks on: all of it is forgotten."""

    is_recorded = False
    sent_at: float | None = None
    answer: ResponseHead | None = None
    head_at: float | None = None
    piece = b""
    take: Callable[[bytes], None] | None = None
    queue_seconds = load_seconds = 0.0
    behind = ""
    retries = ticket = 0
    is_told = is_broken = False

    def __setattr__(self, name: str, value: object) -> None:
        """Nothing is kept."""

    def observe(self, _answer: ResponseHead, _first: bytes, *, is_chunked: bool) -> None:
        """Nobody is to be told."""

    def end(self, *_: object) -> None:
        """Nobody waits for it."""


UNTRACED = Untraced()
