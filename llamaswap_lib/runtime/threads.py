"""Threads whose start always comes to an end.

`threading.Thread.start` waits until the new thread says that it runs. If there is no memory for the first steps of that
thread, it says nothing, and the thread that started it (the loop, the controller) would wait for ever. If memory runs
out a step later, it has said that it runs, and does nothing. Here `start` waits for the last step before `target`, and
raises RuntimeError if that is not reached, as it does if the system gives no thread. A token that only the new thread
holds tells of its death: its weak reference calls a queue's `put`, which runs no Python code and so hardly needs
memory.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

START_TIMEOUT = 2.0  # seconds, if the death of the new thread could not be told


class Thread(threading.Thread):
    """A daemon."""

    def __init__(self, target: Callable[..., None], name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(name=name, daemon=True)
        self._call = target, args
        self._claim = threading.Lock()  # taken by the thread to run, or by `start` to give up, by the first of them

    def start(self) -> None:
        """Raises RuntimeError or MemoryError if no thread can be started; then `target` will not be called."""
        self._started = _Started()  # what `start` waits for, in every Python so far
        try:
            super().start()
        except (RuntimeError, MemoryError):
            if self._claim.acquire(blocking=False):  # else it has begun, and there was no memory to notice that
                if self._started.is_dead:  # else it removes itself
                    threading._limbo.pop(self, None)  # type: ignore[attr-defined]  # threads that are being started
                del self._call
                raise

    def run(self) -> None:
        self._started.tell()
        if self._claim.acquire(blocking=False):
            target, args = self._call
            target(*args)

    @property
    def _bootstrap(self) -> Callable[[], None]:
        """What the new thread calls; only that thread holds it, and the token in it."""
        token = _Token()
        self._started.watch(token)
        return partial(self._begin, token)

    def _begin(self, token: _Token) -> None:
        super()._bootstrap()  # type: ignore[misc]  # it exists
        del token


class _Token:
    """Lives for as long as the thread that holds it."""


class _NotBegunError(RuntimeError):
    """The new thread has died, or did not say in time that it runs."""


class _Started(threading.Event):
    """Set by the new thread; `wait` waits for more than that."""

    def __init__(self) -> None:
        super().__init__()
        self._news: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._death: weakref.ref[_Token] | None = None

    @property
    def is_dead(self) -> bool:
        return self._death is not None and self._death() is None

    def watch(self, token: _Token) -> None:
        self._death = weakref.ref(token, self._news.put)

    def tell(self) -> None:
        """The new thread is about to call its target."""
        self._news.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        try:
            is_set = self._news.get(timeout=START_TIMEOUT if timeout is None else timeout) is None
        except queue.Empty:
            is_set = False
        if not is_set:
            raise _NotBegunError("the new thread does not begin")
        return True
