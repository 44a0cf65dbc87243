"""What a worker tells its parent of requests in progress, while somebody listens to events there.

The thread `follow` lives for as long as that. It is a listener of the worker's own feed, so it is told as often, and as
thinned out, as a client of a single process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamaswap_lib.activity.feed import Feed, Listener, Source
from llamaswap_lib.activity.in_flight_events import InFlightEvents
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.wakeup import poll_for_input

END_TIMEOUT = 2.0  # seconds for the thread to end


class _Events(InFlightEvents):
    """Those of requests in progress, until nobody wants to know."""

    has_ended = False


class Following:
    """Begins and ends that. Thread link-in, but for the thread itself."""

    def __init__(self, feed: Feed, tell: Callable[[bytes], None]) -> None:
        """`tell` gets events."""
        self._feed = feed
        self._tell = tell
        self._events: _Events | None = None
        self._thread: Thread | None = None

    def change(self, *, follows: bool) -> None:
        """Whether somebody wants to know, from now on; once it returns, what begins is told."""
        if follows and self._thread is None:
            listener = self._feed.listen(self._open).__enter__()
            self._thread = Thread(self._follow, "follow", (listener,))
            self._thread.start()
        elif not follows and self._thread is not None:
            assert self._events is not None, "the feed has opened them"
            self._events.has_ended = True
            self._feed.note_news()
            self._thread.join(END_TIMEOUT)
            self._thread = None

    def _open(self, note_news: Callable[[], None]) -> Sequence[Source]:
        self._events = _Events(self._feed.table, note_news)
        return (self._events,)

    # -- thread follow --

    def _follow(self, listener: Listener) -> None:
        try:
            while listener.wait(_wait):
                self._tell(listener.take())
        finally:
            listener.__exit__(None, None, None)


def _wait(descriptors: Sequence[int], seconds: float | None) -> None:
    poll_for_input(*descriptors).poll(None if seconds is None else seconds * 1000)
