"""The stream of events: logs, what runs, who waits, what is asked; first how it is, then what changes.

A handler thread for each client, which waits in one `poll` for news and for the client to leave. Nobody waits for it:
of what changes it is told that, not what, so it tells how things are when it comes to it; of the logs it loses what it
does not take in time, and says so. What only the clock changes (how long somebody has waited) is no news.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from llamaswap_lib.activity.feed import Listener
from llamaswap_lib.app import App
from llamaswap_lib.endpoints.models import status_rows
from llamaswap_lib.endpoints.queue import queue_rows
from llamaswap_lib.routing.routes import Route
from llamaswap_lib.runtime.changes import Follower, Topic
from llamaswap_lib.runtime.logs.monitor import Subscription
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
QUEUE_PAUSE = 0.1  # seconds, at least, between two looks at the queue: in a rush it changes with every request
QUEUE_KEYS = ("ticket", "request", "model", "place", "reason")  # the others change with the clock, or not at all
LOG_PIECE = 32_768  # bytes in an event once the history is told: clients have bounds for a line


def serve_events(app: App, exchange: Exchange, _route: Route) -> None:
    """GET /api/events: how things are, then what changes, until the client leaves or the server ends."""
    stream = Stream(exchange)
    if exchange.head.method == "HEAD":
        stream.begin(HEADERS)
        return
    with ExitStack() as stack:
        follower = stack.enter_context(app.changes.follow())
        listener = stack.enter_context(app.feed.listen())
        logs = {
            "proxy": stack.enter_context(app.logs.proxy.subscribe()),
            "upstream": stack.enter_context(app.logs.upstream.subscribe()),
        }
        wakeups = [wakeup.fileno() for wakeup in (follower.wakeup, *(log.wakeup for log in logs.values()))]
        news = _News(app, follower, listener, logs)
        stack.enter_context(stream.following())
        stream.begin(HEADERS)
        for event in news.first():  # one by one: what is not said yet takes no memory for a client that does not read
            stream.send(event)
        while not all(log.closed for log in logs.values()):  # they end together, with the server
            exchange.watch.wait(*wakeups, timeout=news.timeout())
            stream.await_room(app.logs.proxy.reader_count)
            for event in news.take():
                stream.send(event)
    stream.end()


class _News:
    """What one client has been told, and what it has not."""

    def __init__(self, app: App, follower: Follower, listener: Listener, logs: dict[str, Subscription]) -> None:
        self._latest = app.latest
        self._follower = follower
        self._listener = listener
        self._logs = [_LogText(source, log) for source, log in logs.items()]
        self._models: list[dict[str, Any]] | None = None  # as told last; None: to be told whatever they are
        self._queue: list[tuple[Any, ...]] | None = None  # the same, without what only the clock changes
        self._looked_at = -math.inf  # at the queue
        self._next_look = math.inf

    @property
    def _app(self) -> App:
        return self._latest.app

    def first(self) -> Iterator[bytes]:
        """How things are."""
        for log in self._logs:
            yield log.event(log.take())
        yield self._look_at_models()
        yield message("uiConfig", _describe_ui(self._app))
        yield self._profile()
        yield self._listener.take()
        yield self._look_at_queue()

    def timeout(self) -> float | None:
        """For how many seconds nothing has to be done but what one is woken for; None for ever."""
        look = None if self._next_look == math.inf else max(0.0, self._next_look - self._app.clock())
        pauses = [pause for pause in (look, self._listener.timeout()) if pause is not None]
        return min(pauses, default=None)

    def take(self) -> Iterator[bytes]:
        """What has changed since."""
        for log in self._logs:
            yield from log.events()
        topics = self._follower.take()
        yield self._listener.take()
        if Topic.PROFILE in topics:
            self._models = None
            yield self._profile()
        if topics & {Topic.RUNS, Topic.PROFILE}:
            yield self._look_at_models()
        if Topic.QUEUE in topics:
            self._next_look = min(self._next_look, self._looked_at + QUEUE_PAUSE)
        if self._next_look <= self._app.clock():
            yield self._look_at_queue()

    def _profile(self) -> bytes:
        return message("profileChanged", {"active": self._app.profiles.active})

    def _look_at_models(self) -> bytes:
        """The event, b"" if they are as they were."""
        rows = status_rows(self._app)
        before, self._models = self._models, [_without_clock(row) for row in rows]
        return b"" if self._models == before else message("modelStatus", rows)

    def _look_at_queue(self) -> bytes:
        """The same; to be done now and then while somebody waits: nobody tells of requests that enter an open gate."""
        now, rows = self._app.clock(), queue_rows(self._app)
        self._looked_at = now
        self._next_look = now + self._app.limits.telling_interval if rows else math.inf
        before, self._queue = self._queue, [tuple(row[key] for key in QUEUE_KEYS) for row in rows]
        return b"" if self._queue == before else message("queue", {"queue": rows})


def _without_clock(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the models without what only the clock changes."""
    failure = row.get("failure")
    return {**row, "failure": {**failure, "retry_in": None}} if failure else row


class _LogText:
    """The bytes of one log as text: a character may come in two pieces, and what is none is shown as such."""

    def __init__(self, source: str, log: Subscription) -> None:
        self._source = source
        self._log = log
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self) -> str:
        return self._decoder.decode(self._log.take())

    def events(self) -> Iterator[bytes]:
        """What was said since the last look, or the beginning of it: the rest makes its wakeup readable again."""
        text = self._decoder.decode(self._log.take(LOG_PIECE))
        if text:
            yield self.event(text)

    def event(self, text: str) -> bytes:
        return message("logData", {"source": self._source, "data": text})


def _describe_ui(app: App) -> dict[str, Any]:
    """The configuration's section `ui`, in its own words."""
    return {"activity": {"session_id": list(app.config.ui.activity.session_id)}}
