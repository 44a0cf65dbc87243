"""The stream of events: logs, what runs, who waits, what is asked; first how it is, then what changes.

A handler thread for each client, which waits in one `poll` for news and for the client to leave. Events are made once
for all of them, by the feed (`activity/feed.py`); here are the sources that they are made from, and how they are sent.
Nobody waits for a client: of what changes a source is told that, not what, so it tells how things are when it is asked;
of the logs a client loses what it does not take in time, and is told so. What only the clock changes (how long somebody
has waited) is no news.
"""

from __future__ import annotations

import codecs
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llamaswap_lib.activity.feed import Source
from llamaswap_lib.app import App
from llamaswap_lib.endpoints.memory import describe_memory
from llamaswap_lib.endpoints.models import status_rows
from llamaswap_lib.endpoints.queue import queue_rows
from llamaswap_lib.memory.picture import is_news
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.runtime.changes import Topic
from llamaswap_lib.runtime.logs.monitor import RING_BYTES, LogMonitor
from llamaswap_lib.runtime.wakeup import CallingWakeup
from llamaswap_lib.server.answers import NOSNIFF
from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.streams import Stream
from llamaswap_lib.wire.messages import message

HEADERS = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
    NOSNIFF,
)
QUEUE_KEYS = ("ticket", "request", "model", "place", "reason")  # the others change with the clock, or not at all
LOG_PIECE = 32_768  # bytes in an event once the history is told: clients have bounds for a line
LOG_PIECES = 4  # of one log, at most, in one go


def serve_events(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/events: how things are, then what changes, until the client leaves or the server ends."""
    stream = Stream(exchange)
    if exchange.head.method == "HEAD":
        stream.begin(HEADERS)
        return
    with app.feed.listen(lambda note_news: _sources(app, note_news)) as listener, stream.following():
        stream.begin(HEADERS)
        for event in listener.first():  # one by one: what is not said yet takes no memory for a client that is slow
            stream.send(event)
        while listener.wait(lambda fds, seconds: exchange.watch.wait(*fds, timeout=seconds)):
            stream.send_next(listener.take)
    stream.end()


def _sources(app: App, note_news: Callable[[], None]) -> Sequence[Source]:
    """In the order in which clients are told at first how things are."""
    return (
        _Log("proxy", app.logs.proxy, note_news),
        _Log("upstream", app.logs.upstream, note_news),
        _Models(app, note_news),
        app.feed.in_flight(note_news),
        _Queue(app, note_news),
        _Memory(app, note_news),
    )


class _Log:
    """The bytes of one log as text: a character may come in two pieces, and what is none is shown as such."""

    def __init__(self, source: str, monitor: LogMonitor, note_news: Callable[[], None]) -> None:
        self._source = source
        self._log = monitor.subscribe(wakeup=CallingWakeup(note_news))
        self._decoder = _new_decoder()
        self._decoder.decode(self._log.take())  # who listens first is told it, as everybody who comes later

    @property
    def has_ended(self) -> bool:
        return self._log.closed

    def first(self) -> Sequence[Callable[[], bytes]]:
        position = self._log.position
        return [lambda: self._event(_new_decoder().decode(self._log.taken(position, RING_BYTES)))]

    def news(self) -> Iterator[bytes]:
        """What was said since, or the beginning of it: the rest is news again."""
        for _ in range(LOG_PIECES):
            text = self._decoder.decode(self._log.take(LOG_PIECE))
            if not text:
                break
            yield self._event(text)

    def pause(self) -> float:
        return math.inf

    def mark(self) -> int:
        return self._log.position

    def missed(self, since: int, until: int) -> bytes:
        return self._event(f"— {until - since} bytes dropped —\n") if until > since else b""

    def close(self) -> None:
        self._log.close()

    def _event(self, text: str) -> bytes:
        return message("logData", {"source": self._source, "data": text})


def _new_decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


class _State(ABC):
    """How something is. What was missed of it is made good by how it is now."""

    has_ended = True  # nothing is kept open for it

    def __init__(self, app: App, note_news: Callable[[], None]) -> None:
        self._latest = app.latest
        self._follower = app.changes.follow(CallingWakeup(note_news))

    def pause(self) -> float:
        return math.inf

    def mark(self) -> int:
        return 0

    def missed(self, since: int, until: int) -> bytes:  # noqa: ARG002 - it does not matter what it was
        return self._event()

    def close(self) -> None:
        self._follower.close()

    @abstractmethod
    def _event(self) -> bytes:
        """All of it, as it is now."""


class _Models(_State):
    """The models, what the page is to show, and the profile."""

    def __init__(self, app: App, note_news: Callable[[], None]) -> None:
        super().__init__(app, note_news)
        self._rows, self._ui = self._without_clock(status_rows(app)), _describe_ui(app)

    def first(self) -> Sequence[Callable[[], bytes]]:
        app = self._latest.app
        events = (message("modelStatus", status_rows(app)), message("uiConfig", _describe_ui(app)), self._profile())
        return [lambda event=event: event for event in events]  # type: ignore[misc]

    def news(self) -> Iterator[bytes]:
        topics = self._follower.take()
        if Topic.PROFILE in topics:
            before_ui, self._ui = self._ui, _describe_ui(self._latest.app)
            if self._ui != before_ui:
                yield message("uiConfig", self._ui)
            yield self._profile()
        if topics & {Topic.RUNS, Topic.PROFILE}:
            rows = status_rows(self._latest.app)
            before, self._rows = self._rows, self._without_clock(rows)
            if Topic.PROFILE in topics or self._rows != before:
                yield message("modelStatus", rows)

    def _event(self) -> bytes:
        app = self._latest.app
        return message("uiConfig", _describe_ui(app)) + self._profile() + message("modelStatus", status_rows(app))

    def _profile(self) -> bytes:
        return message("profileChanged", {"active": self._latest.app.profiles.active})

    @staticmethod
    def _without_clock(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of models without what only the clock changes."""
        return [
            {**row, "failure": {**failure, "retry_in": None}} if (failure := row.get("failure")) else row
            for row in rows
        ]


class _Queue(_State):
    """Who waits. To be looked at now and then while somebody does: nobody tells of requests that enter an open gate."""

    def __init__(self, app: App, note_news: Callable[[], None]) -> None:
        super().__init__(app, note_news)
        self._looked_at = app.clock()
        self._told = self._without_clock(queue_rows(app))

    def first(self) -> Sequence[Callable[[], bytes]]:
        event = self._event()
        return [lambda: event]

    def news(self) -> Iterator[bytes]:
        topics = self._follower.take()
        if Topic.QUEUE not in topics and self.pause() > 0.0:
            return
        app = self._latest.app
        self._looked_at = app.clock()
        before, self._told = self._told, self._without_clock(queue_rows(app))
        if self._told != before:
            yield self._event()

    def pause(self) -> float:
        app = self._latest.app
        return max(0.0, self._looked_at + app.limits.telling_interval - app.clock()) if self._told else math.inf

    def _event(self) -> bytes:
        return message("queue", {"queue": queue_rows(self._latest.app)})

    @staticmethod
    def _without_clock(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [tuple(row[key] for key in QUEUE_KEYS) for row in rows]


class _Memory(_State):
    """What there is of memory and who has it: at most once in `telling_interval`, and not for what is only noise."""

    def __init__(self, app: App, note_news: Callable[[], None]) -> None:
        super().__init__(app, note_news)
        self._told_at = -math.inf
        self._told = app.config, app.memory.now
        self._is_held_back = False

    def first(self) -> Sequence[Callable[[], bytes]]:
        return [self._event]

    def news(self) -> Iterator[bytes]:
        if not self._follower.take() and not self._is_held_back:
            return
        app = self._latest.app
        (config, before), now = self._told, app.memory.now
        self._is_held_back = config is not app.config or (before is not now and is_news(before, now))
        if self._is_held_back and self.pause() == 0.0:
            self._is_held_back = False
            self._told, self._told_at = (app.config, now), app.clock()
            yield self._event()

    def pause(self) -> float:
        app = self._latest.app
        due = self._told_at + app.limits.telling_interval
        return max(0.0, due - app.clock()) if self._is_held_back else math.inf

    def _event(self) -> bytes:
        app = self._latest.app
        return message("memory", describe_memory(app, app.memory.now))


def _describe_ui(app: App) -> dict[str, Any]:
    """The configuration's section `ui`, in its own words."""
    return {"activity": {"session_id": list(app.config.ui.activity.session_id)}}
