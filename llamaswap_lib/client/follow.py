"""A stream that never ends, read on a thread of its own and opened again whenever it breaks off.

The thread (`follow-N`) puts what comes into a queue, which the command's main thread takes from; a queue that is full
stops the reading, so nothing grows. It ends with the program, or with the first answer that says it is of no use to
ask again.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llamaswap_lib.client.connection import Refused, ServerError, Unreachable

PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before each try; the last one again and again
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Item:
    """Something that came. `source` is the follower's own name for the stream."""

    source: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream has ended, and is being opened again. `error` is None where the server ended it in order."""

    source: Any
    error: ServerError | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream is not opened again: there has never been a server, or it does not want to be asked.

    `error` is no ServerError where what is wrong is on this side, as a file of certificates.
    """

    source: Any
    error: Exception


News = Item | Lost | Failed


def follow(source: Any, read: Callable[[], Iterable[Any]], put: Callable[[News], None]) -> None:
    """Start to read. `read` opens the stream and gives what comes of it, first something that says it is open."""
    name = f"follow-{next(_numbers)}"
    threading.Thread(target=_follow, args=(source, read, put), name=name, daemon=True).start()


def _follow(source: Any, read: Callable[[], Iterable[Any]], put: Callable[[News], None]) -> None:
    was_open, tries, pause = False, 0, threading.Event()
    while True:
        error: ServerError | None = None
        try:
            for value in read():
                was_open, tries = True, 0
                put(Item(source, value))
        except ServerError as raised:
            error = raised
            if not was_open or not may_pass(raised):
                put(Failed(source, raised))
                return
        except Exception as raised:  # noqa: BLE001 - the top of the thread: it is raised where the news are taken
            put(Failed(source, raised))
            return
        if tries == 0:
            put(Lost(source, error))
        pause.wait(PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1


def may_pass(error: ServerError) -> bool:
    """A server that is gone, or has no room now, may be back."""
    return isinstance(error, Unreachable) or (
        isinstance(error, Refused) and (error.status >= 500 or error.status == 429)
    )


def take(news: queue.Queue[News], seconds: float | None) -> News | None:
    """The next one; None if nothing has come within so many seconds, None for no limit."""
    with suppress(queue.Empty):
        return news.get(timeout=seconds)
    return None
