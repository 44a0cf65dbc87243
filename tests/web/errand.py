"""A coroutine of the product, run on a loop for a test that waits for what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from llamaswap_lib.net.loop import Loop, Timer, suspended
from llamaswap_lib.server.handler import Job
from tests.web.world import DEADLINE

_T = TypeVar("_T")


class Errand(Generic[_T]):
    """Stands for the life of a client's connection: it is resumed, has a deadline, and borrows threads."""

    def __init__(self, loop: Loop, make: Callable[[Errand[_T]], Coroutine[Any, Any, _T]]) -> None:
        self._loop = loop
        self._life = self._live(make)
        self._timer = Timer(loop, lambda: self.resume(0), self)
        self._is_over = threading.Event()
        self._results: list[_T] = []
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def run(self) -> _T:
        """Block for its result; raises what it raised."""
        self._loop.call(self.resume, None)
        assert self._is_over.wait(DEADLINE), "it waits for ever"
        for thread in self._threads:
            thread.join(DEADLINE)
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    # -- loop thread --

    async def _live(self, make: Callable[[Errand[_T]], Coroutine[Any, Any, _T]]) -> None:
        try:
            self._results.append(await make(self))
        except BaseException as error:  # noqa: BLE001 - it is the test's
            self._errors.append(error)
        finally:
            self._timer.close()
            self._is_over.set()

    def resume(self, value: object) -> object:
        return self._life.send(value)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        job = Job(function, self._loop, self.resume)
        self._threads.append(threading.Thread(target=job.run, name="borrowed"))
        self._threads[-1].start()
        await suspended()
        return job.result()

    def set_deadline(self, seconds: float | None) -> None:
        if seconds is None:
            self._timer.clear()
        else:
            self._timer.set(seconds)

    def fail(self, error: Exception) -> None:
        self._life.throw(error)


def run_on(loop: Loop, make: Callable[[Errand[_T]], Coroutine[Any, Any, _T]]) -> _T:
    return Errand(loop, make).run()
