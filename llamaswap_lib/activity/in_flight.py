"""The requests to models that are in progress: what is known of each, and how it is told and recorded.

The loop makes an `InFlight` when a request's model is known, notes on it what happens, and ends it. Any thread reads it
meanwhile. Once it has ended nobody changes it, and the activity writer's thread makes its record (`record`).
Guarantees: a request is in the table from its beginning to its end, and handed over for its record once. Costs a
request as little as can be: what is not needed to serve it is worked out by the thread that asks for it.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from llamaswap_lib.activity.observer import Budget, Observer
from llamaswap_lib.activity.record import NOT_SPENT, Ended, Record, Sample, Spent
from llamaswap_lib.activity.redaction import redacted
from llamaswap_lib.errors import BadGateway, GatewayTimeout, HttpError, LoadFailed, ModelHung
from llamaswap_lib.wire.heads import RequestHead, ResponseHead, read_pairs
from llamaswap_lib.wire.rfc3339 import moment_text

MOST_ENDED = 8  # requests that began and ended since somebody looked, and are still told; a rush has more of them
SMALL_BYTES = 1_024  # of bodies, for which there is always room: so much a record takes anyway
MOST_TYPE_CHARACTERS = 1_024  # of an answer's Content-Type
_BINARY = ("audio/", "image/", "video/")  # answers of which a capture keeps no body
_EVENT_STREAM = "text/event-stream"
_COMPLETE = Ended.COMPLETE  # it takes a while to look for it there
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Journal(Protocol):
    """Where records go: the activity writer's side."""

    @property
    def captures(self) -> bool:
        """Whether the bodies and headers of requests are wanted."""

    def append(self, make: Callable[[], Record], kept_bytes: int, /) -> None:
        """Have its thread call `make`, which holds so many bytes of bodies, once and soon; never blocks."""

    def has_room(self, kept_bytes: int) -> bool:
        """Whether so many bytes of bodies may wait for it, too."""


class Client(Protocol):
    """The connection that a request came on."""

    def cancel(self) -> None:
        """End the request in progress. Loop thread."""


class SentBody(Protocol):
    """What was sent upstream."""

    @property
    def is_in_memory(self) -> bool: ...
    @property
    def size_bytes(self) -> int: ...
    def read(self) -> bytes: ...


class Ending(Protocol):
    """A request and its answer, at their end."""

    @property
    def status(self) -> int:
        """What was sent; 0 where no head was."""

    @property
    def sent_bytes(self) -> int: ...
    @property
    def reply(self) -> bytes:
        """An answer of our own, its head too."""

    @property
    def failure(self) -> HttpError | None: ...
    @property
    def has_lost_client(self) -> bool:
        """It left, or was made to, before it had all of its answer."""


class Caller(NamedTuple):
    """Who asks, as far as a head tells."""

    session: str
    key: str  # a tag, or a name, never the key
    remote_ip: str


class InFlightTable:
    """The requests in progress."""

    def __init__(
        self, journal: Journal | None = None, clock: Callable[[], float] = time.monotonic, budget: Budget | None = None
    ) -> None:
        """`journal` gets the records, None for none; `clock` is that of the loop."""
        self.journal = journal
        self.clock = clock
        self.budget = budget or Budget()
        self.entries: dict[int, InFlight] = {}  # changed by the loop alone
        self.numbers = itertools.count(1)
        self.is_followed = False  # somebody wants to know of those, too, that are over when it looks
        self.is_awaited = False  # somebody wants to be told of the next change
        self.ended: deque[InFlight] = deque(maxlen=MOST_ENDED)  # since somebody looked
        self.on_change: Callable[[], None] = _nobody
        self.on_begin: Callable[[InFlight], None] | None = None  # is told of each of which there will be a row

    # -- loop thread --

    def note_change(self) -> None:
        """Tell those who await it, once."""
        self.is_awaited = False
        self.on_change()

    def cancel(self, number: int) -> bool:
        """End a request, waiting or running; whether there is one of that number."""
        entry = self.entries.get(number)
        if entry is None or entry.client is None:
            return False
        entry.is_cancelled = True
        entry.client.cancel()
        return True

    # -- any thread --

    def current(self) -> list[InFlight]:
        """Those in progress, the oldest first."""
        return list(self.entries.values())


def _nobody() -> None:
    """Nobody listens."""


class InFlight:
    """One request to a model."""

    # What most requests leave as it is costs them nothing.
    selector = ""
    priorities: Mapping[str, int] = MappingProxyType({})  # of local models
    is_local = True
    captures = False
    body: SentBody | None = None  # as sent upstream
    request_bytes = 0
    sent_at: float | None = None
    answer: ResponseHead | None = None  # the upstream's
    head_at: float | None = None
    piece = b""  # the body of an answer that came with its head
    is_chunked = False  # what is observed has the framing of chunks
    observer: Observer | None = None
    take: Callable[[bytes], None] | None = None
    queue_seconds = 0.0
    load_seconds = 0.0
    ticket = 0  # its number in the queue, while it waits and after it
    behind = ""
    retries = 0
    is_told = False  # an answer of our own has begun before the upstream's
    is_broken = False  # the upstream's answer broke off
    is_cancelled = False
    # from `end`
    seconds = 0.0
    status = 0
    sent_bytes = 0
    has_lost_client = False
    reply = b""
    error = ""
    fault: type[HttpError] | None = None
    _forgotten_bytes = 0  # of the body that came with the answer's head

    def __init__(
        self,
        table: InFlightTable,
        client: Client,
        head: RequestHead,
        caller: Caller,
        started: float,
        model: str,
        path: str,
        *,
        is_recorded: bool,
    ) -> None:
        """`started` is by the loop's clock; `path` as sent upstream; `is_recorded`: there will be a row of it."""
        self.table = table
        self.client: Client | None = client
        self.head = head
        self.caller = caller
        self.started = started
        self.timestamp = time.time() - (table.clock() - started)
        self.model = model
        self.path = path
        self.is_recorded = is_recorded
        if is_recorded and table.journal is not None and table.journal.captures:
            self.captures = True
        self.number = number = next(table.numbers)
        table.entries[number] = self
        if table.is_awaited:
            table.note_change()

    # -- loop thread --

    def observe(self, answer: ResponseHead, first: bytes, *, is_chunked: bool) -> None:
        """The body of the answer begins with `first`, in chunks or not; `take` is for what comes behind it."""
        self.is_chunked = is_chunked
        table = self.table
        if table.is_awaited:
            table.note_change()
        fields = answer.first
        is_text = not fields.get("content-type", "").startswith(_BINARY)
        is_whole_wanted = "content-encoding" in fields or (self.captures and is_text)
        self.observer = observer = Observer(table.budget, table.clock, is_whole_wanted=is_whole_wanted)
        if first:
            observer.take(first)
        self.take = observer.take

    def end(self, exchange: Ending, seconds: float) -> None:
        """It is over, after so many seconds."""
        table = self.table
        if table.is_followed:  # first: who is in neither of the two is over for long
            table.ended.append(self)
        del table.entries[self.number]
        self.client = None
        self.seconds = seconds
        self.status = exchange.status
        self.sent_bytes = exchange.sent_bytes
        self.reply = exchange.reply
        self.has_lost_client = exchange.has_lost_client
        failure = exchange.failure
        if failure is not None:  # which itself holds on to all that it went through
            self.error, self.fault = failure.message, type(failure) if failure.is_ours else None
            self.request_bytes = self.request_bytes or self.head.content_length or 0  # it was refused, perhaps unread
        if table.is_awaited:
            table.note_change()
        journal = table.journal
        if self.is_recorded and journal is not None:
            kept_bytes = len(self.piece) if self.observer is None else self.observer.kept_bytes
            body = self.body
            if body is not None:
                if self.captures and body.is_in_memory:
                    kept_bytes += body.size_bytes
                else:
                    self.body = None
            if kept_bytes > SMALL_BYTES and not journal.has_room(kept_bytes):
                kept_bytes = self._let_go(journal)
            journal.append(self.record, kept_bytes)

    def _let_go(self, journal: Journal) -> int:
        """Too much waits: go without the capture, or also without what the answer says; how many bytes are held then.

        There is always a row.
        """
        self.captures, self.body = False, None
        observer, kept_bytes = self.observer, len(self.piece)
        if observer is not None:
            observer.shorten()
            kept_bytes = observer.kept_bytes
        if kept_bytes <= SMALL_BYTES or journal.has_room(kept_bytes):
            return kept_bytes
        if observer is not None:
            observer.forget()
        self._forgotten_bytes, self.piece = len(self.piece), b""
        return 0

    # -- any thread --

    @property
    def response_bytes(self) -> int:
        """Of the answer's body, as far as it has come."""
        return self.observer.size_bytes if self.observer is not None else len(self.piece) or self._forgotten_bytes

    @property
    def metadata(self) -> dict[str, str]:
        """What stands in a row and an event beside the columns."""
        told = {} if self.priority is None else {"fifo_priority": self.priority}
        return {**told, "selector": self.selector} if self.selector else told

    @property
    def priority(self) -> str | None:
        return str(self.priorities.get(self.model, 0)) if self.is_local else None

    def describe(self, now: float) -> dict[str, Any]:
        """The entry of the table, as clients read it; `now` by the loop's clock."""
        answer, metadata = self.answer, self.metadata
        told = {
            "id": str(self.number),
            "timestamp": moment_text(round(self.timestamp * 1000)),  # as in its row
            "model": self.model,
            "req_path": self.path,
            "method": self.head.method,
            "req_headers": redacted(self.head.headers),
            "remote_ip": self.caller.remote_ip,
            "resp_headers": {} if answer is None else redacted(answer.headers),
            "resp_bytes": self.response_bytes,
            "elapsed_ms": max(0, round((now - self.started) * 1000)),
        }
        return {**told, "metadata": metadata} if metadata else told

    # -- the activity writer's thread, after the end --

    def record(self) -> Record:
        """What the row is made from. It takes the time that the loop has not."""
        started, captures, answer, model = self.started, self.captures, self.answer, self.model
        sent_at, head_at = self.sent_at, self.head_at
        session, key, remote_ip = self.caller
        if self.reply:
            fields, first = _read_reply(self.reply)
        elif answer is None:
            fields, first = "", _NO_FIELDS
        else:
            fields, first = answer.fields, answer.first
        was_usual = self.fault is None and not (self.has_lost_client or self.is_cancelled or self.is_broken)
        has_waited = self.queue_seconds or self.load_seconds or self.behind
        values = (  # by place, and not with a call of Record, which takes three times as long
            round(self.timestamp * 1000) / 1000,  # as it is told: who asks from there on, or up to there, has it
            self.seconds,
            model,
            self.path,
            self.head.method,
            self.status,
            _COMPLETE if was_usual else self._ended(),
            _EVENT_STREAM if self.is_told else first.get("content-type", "")[:MOST_TYPE_CHARACTERS],
            first.get("content-encoding", ""),
            self.is_chunked,
            self.error,
            self._sample(),
            Spent(self.queue_seconds, self.load_seconds, self.behind) if has_waited else NOT_SPENT,
            self.request_bytes,
            self.sent_bytes,
            None if sent_at is None else sent_at - started,
            None if head_at is None else head_at - started,
            self.retries,
            self.selector,
            str(self.priorities.get(model, 0)) if self.is_local else None,
            self.is_local,
            session,
            key,
            remote_ip,
            self.head.fields if captures else "",
            fields if captures else "",
            self.body.read() if captures and self.body is not None else None,
            captures,
            self.number,
        )
        return tuple.__new__(Record, values)

    def _sample(self) -> Sample:
        if self.reply:
            return Sample()
        if self.observer is not None:
            return self.observer.sample(self.started)
        piece = self.piece
        size_bytes = len(piece) or self._forgotten_bytes
        if not size_bytes or self.head_at is None:
            return Sample()
        at = self.head_at - self.started
        return tuple.__new__(Sample, (piece, b"", size_bytes, ((0, at),), at, at))

    def _ended(self) -> Ended:
        fault = self.fault
        if self.is_cancelled:
            return Ended.CANCELLED
        if self.has_lost_client and (fault is None or not self.status):
            return Ended.CLIENT_LEFT
        if fault is None:
            return Ended.UPSTREAM_BROKE if self.is_broken else Ended.COMPLETE
        if issubclass(fault, BadGateway | GatewayTimeout | ModelHung) and not issubclass(fault, LoadFailed):
            return Ended.UPSTREAM_BROKE
        return Ended.REFUSED if fault.status < 500 else Ended.FAILED


def _read_reply(reply: bytes) -> tuple[str, Mapping[str, str]]:
    """Of an answer of our own, its head first: its header lines, and the first value of each by its name."""
    head = reply.partition(b"\r\n\r\n")[0].decode("latin-1")
    fields = f"{head.partition(chr(10))[2]}\r\n"
    return fields, {name.lower(): value for name, value in reversed(read_pairs(fields))}
