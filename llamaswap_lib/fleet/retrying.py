"""Whether a request that one box could not answer is sent to the next one. Pure, but that a budget counts.

- No connection, or not a byte of an answer: always, to one box after another. Nothing has been answered.
- 503, 429, or a model that could not be loaded: once. The box has said no, and another one may say yes. Of the requests
  of the last WINDOW seconds at most a fifth are retries, but a few are always free: else a fleet that is sick would be
  asked twice as much.
- 500, 504, and whatever comes after a byte of an answer: never. It may still be at work, or is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

WINDOW = 10.0  # seconds
SHARE = 5  # of so many requests one may be a retry
ALWAYS = 5  # retries in a window that are free

_SAYS_NO = (429, 503)
_NOT_LOADED = (502, 507)


def says_no(status: int, fields: Mapping[str, str]) -> bool:
    """Whether an answer with this status and these header fields says that this box cannot serve the request now.

    A llamaswap that cannot load the model says after how long it will try again; else its 502 is about a request that
    had begun.
    """
    if status in _SAYS_NO:
        return True
    return status in _NOT_LOADED and "retry-after" in fields and fields.get("x-should-retry") == "false"


class RetryBudget:
    """The requests and the retries of the last seconds. One thread."""

    def __init__(self) -> None:
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def note_request(self, now: float) -> None:
        """A request that could be retried has come."""
        self._requests.append(now)
        self._forget(now)

    def note_retry(self, now: float) -> None:
        """One is sent to another box, asked for or not."""
        self._retries.append(now)

    def has_room(self, now: float) -> bool:
        """Whether there may be one more retry that is not sure to be the first answer."""
        self._forget(now)
        return len(self._retries) < max(ALWAYS, len(self._requests) // SHARE)

    def _forget(self, now: float) -> None:
        for times in (self._requests, self._retries):
            while times and times[0] <= now - WINDOW:
                times.popleft()
