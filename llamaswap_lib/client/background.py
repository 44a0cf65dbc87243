"""What a command asks the server beside what it shows: a function on a thread of its own, and its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Runs `function` once, on the thread `asking`, which nobody waits for at the end of the program."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._result: Result
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
        self._thread.start()

    def is_over(self, seconds: float = 0) -> bool:
        """Whether it has ended; waits so long for that."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """What it returned; waits for it, and raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def result_or(self, other: Result) -> Result:
        """The same; `other` where it raised anything."""
        self._thread.join()
        return other if self._error is not None else self._result

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error


def together(*functions: Callable[[], Any]) -> list[Any]:
    """What they return, asked at the same time: over a slow link that takes as long as one. Raises what one raises."""
    asking = [Background(function) for function in functions]
    return [each.result() for each in asking]
