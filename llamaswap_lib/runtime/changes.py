"""Tells followers that something has changed, but not what it is now: each of them reads that when it has time.

Any thread notes a change, also the controller's. Without followers that costs a look at an empty tuple, and it never
waits for a follower. A change that is noted twice before a follower takes it is taken once, so a slow follower costs no
memory. To miss nothing, call `follow` first and read the state then.
"""

from __future__ import annotations

import threading
from enum import Enum, auto

from llamaswap_lib.runtime.wakeup import Wakeup


class Topic(Enum):
    """What may change."""

    RUNS = auto()  # what runs, and its state
    QUEUE = auto()  # which requests wait
    PROFILE = auto()  # which profile is active
    MEMORY = auto()  # what models need and hold, what others use, what there is


class Changes:
    """Who follows, and how each of them is told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the tuple, and what the followers hold
        self._followers: tuple[Follower, ...] = ()

    # -- any thread --

    def note(self, topic: Topic) -> None:
        """It has changed; what is read from now on is the new state."""
        if not self._followers:
            return
        with self._lock:
            for follower in self._followers:
                follower._mark(topic)

    def follow(self, wakeup: Wakeup | None = None) -> Follower:
        """A follower that is told of changes from now on; for a `with` block, or `close` it.

        `wakeup` is set in place of one of its own.
        """
        follower = Follower(self, self._lock, wakeup or Wakeup())
        with self._lock:
            self._followers = (*self._followers, follower)
        return follower

    def _forget(self, follower: Follower) -> None:
        """Under the lock: after this no thread uses `follower`."""
        self._followers = tuple(other for other in self._followers if other is not follower)


class Follower:
    """What changed since it was last taken; `wakeup` is readable exactly while there is something to take."""

    def __init__(self, changes: Changes, lock: threading.Lock, wakeup: Wakeup) -> None:
        self.wakeup = wakeup
        self._changes = changes
        self._lock = lock  # that of the changes
        self._topics: set[Topic] = set()

    # -- the follower's thread --

    def take(self) -> set[Topic]:
        """All that changed; never blocks."""
        with self._lock:
            topics, self._topics = self._topics, set()
            if topics:
                self.wakeup.clear()
        return topics

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._changes._forget(self)
        self.wakeup.close()

    # -- any thread, under the lock --

    def _mark(self, topic: Topic) -> None:
        if not self._topics:
            self.wakeup.set()
        self._topics.add(topic)
