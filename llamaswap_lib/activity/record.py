"""One request as the loop saw it: what the row of it will be made from.

The loop makes a Record when a request's model is named, and fills it in while the request lasts; from `end` on nobody
changes it, and it is the activity writer's. It holds times, counts and bytes, and nothing that was worked out: reading
what an answer says happens on the writer's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple


class Ended(str, Enum):
    """How a request ended."""

    COMPLETE = "complete"  # its answer was sent whole, whatever its status
    CLIENT_LEFT = "client_left"
    UPSTREAM_BROKE = "upstream_broke"  # the upstream gave no answer, or not all of it
    CANCELLED = "cancelled"  # by an operator
    REFUSED = "refused"  # answered by us with an error of the client's: 4xx
    FAILED = "failed"  # answered by us with an error of ours or of our machine: 5xx


class Sample(NamedTuple):
    """What was kept of an answer's body, framing and encoding as they came.

    `head` and `tail` are its first and last bytes; where nothing is missing between them, `tail` is b"" and `head` is
    all. `stamps` are (offset in bytes, seconds after the start of the request) of its first pieces: a piece begins at
    that offset. `first_at` and `last_at` are when its first and last piece came, in seconds after that start; None
    where no piece came.
    """

    head: bytes = b""
    tail: bytes = b""
    size_bytes: int = 0
    stamps: tuple[tuple[int, float], ...] = ()
    first_at: float | None = None
    last_at: float | None = None

    @property
    def is_whole(self) -> bool:
        return len(self.head) == self.size_bytes


class Spent(NamedTuple):
    """Where the time went before the upstream had the request, in seconds."""

    queue: float = 0.0  # waiting for a place or for others to end, without loading
    load: float = 0.0  # waiting for a process to become ready
    behind: str = ""  # the model that it waited for most recently, '' for none


NOT_SPENT = Spent()  # of a request that waited for nothing


class Record(NamedTuple):
    """One request that has ended."""

    timestamp: float  # of its start, seconds since 1970
    seconds: float  # it lasted
    model: str  # the real id of an alias; as written for peers and unknown models
    path: str  # as sent upstream
    method: str
    status: int  # 0 where no head of an answer was sent
    ended: Ended
    content_type: str = ""  # of the answer
    content_encoding: str = ""  # of the answer
    is_chunked: bool = False  # the sample has the framing of chunks
    error: str = ""  # our own words, '' where the upstream answered
    sample: Sample = Sample()
    spent: Spent = NOT_SPENT
    request_bytes: int = 0  # of the body as sent upstream; of one that was refused, as it came or was to come
    response_bytes: int = 0  # of the body as sent to the client
    sent_at: float | None = None  # when the request had been sent upstream, seconds after the start
    head_at: float | None = None  # when the head of the upstream's answer was there, seconds after the start
    retries: int = 0
    selector: str = ""
    priority: str | None = None  # of a local model that took the request
    is_local: bool = True  # False for peers and unknown models
    session: str = ""
    key: str = ""  # a tag for the key, never the key
    remote_ip: str = ""
    request_fields: str = ""  # header lines as they came, where they are captured; redacted by who keeps them
    response_fields: str = ""
    request_body: bytes | None = None  # as sent upstream, where it is captured
    captures: bool = False  # whether a capture is wanted; the sample then has all of the body, if that is not too long
    number: int = 0  # among the requests in progress


MakeRecord = Callable[[], Record]  # called once, by the activity writer
