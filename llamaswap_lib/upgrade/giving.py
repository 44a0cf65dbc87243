"""The old process's side of an upgrade: from the wish to the moment at which the new process serves.

One upgrade at a time, on the thread that asks for it. What is handed over is the `Household`'s to know; here are the
order of things, their time, and what is done where one of them fails. Guarantees: before COMMIT every failure of the
new process (it breaks, dies, hangs, or we are told to end) leaves everything as it was, and nothing of that process;
after it this one never decides again, whatever becomes of the other.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from llamaswap_lib import __version__
from llamaswap_lib.errors import Conflict, HttpError, MachineFault, NotImplementedByServer
from llamaswap_lib.runtime.logs.logger import Logger
from llamaswap_lib.runtime.threads import Thread
from llamaswap_lib.runtime.vital import report
from llamaswap_lib.runtime.wakeup import Wakeup
from llamaswap_lib.upgrade.child import Child, why_impossible
from llamaswap_lib.upgrade.link import Link, Message
from llamaswap_lib.upgrade.phases import DECIDED, LEFT, Deed, News, Old, move

READY_TIMEOUT = 30.0  # seconds from the start of a new process until it is ready
FROZEN_TIMEOUT = 10.0  # of these, from the moment at which nothing is decided: requests for other models wait, and logs
COMMIT_TIMEOUT = 10.0  # seconds that the answer to who asked for it waits for the new process to say that it serves
ENDING_LOOK = 0.05  # seconds between two looks whether the process before this one has ended
LAST_WORDS_TIMEOUT = 5.0  # seconds in which what is still to be said reaches the new process


class Household(Protocol):
    """What is handed over."""

    def why_not(self) -> str:
        """Why that cannot be just now, '' if it can; raises NotImplementedByServer where it never can."""

    def patience(self) -> float:
        """For how many seconds from the wish on it is worth waiting for what is in the way; 0 if nothing is."""

    def spawn(self) -> Child:
        """The new process; raises OSError, RuntimeError and MemoryError."""

    def freeze(self) -> tuple[Message, Sequence[int]]:
        """Decide nothing more; the state and its descriptors, which are the caller's. What it raises undoes it."""

    def resume(self) -> None:
        """Go on as if nothing had been, after `freeze`."""

    def retire(self, pid: int, link: Link) -> None:
        """Say COMMIT to the new process, and begin nothing new from now on."""

    def hear(self, message: Message) -> None:
        """What the new process says afterwards."""

    def note_alone(self) -> None:
        """It has ended."""


class Upgrader:
    """Replaces this process by a new one, when asked to."""

    def __init__(
        self,
        household: Household,
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        """`ready_timeout`: seconds from the start of the new process until it is ready."""
        self._household = household
        self._ready_timeout = ready_timeout
        self._log = log
        self._clock = clock
        self._guard = threading.Lock()  # protects the three below
        self._attempt: _Attempt | None = None  # that is under way, or has succeeded
        self._is_closed = False
        self._is_idle = threading.Condition(self._guard)
        self.has_retired = Wakeup()  # readable once another process serves

    # -- any thread --

    def request(self, cause: str) -> None:
        """Do it on a thread of its own; the log has what comes of it."""

        def work() -> None:
            with suppress(HttpError):
                self.upgrade(cause)

        try:
            Thread(work, "upgrade").start()
        except (RuntimeError, MemoryError) as error:
            self._log.error(f"{cause}: there is no upgrade: {error or 'no memory'}")

    def upgrade(self, cause: str) -> Mapping[str, Any]:
        """Do it; who serves from now on, for JSON.

        Raises NotImplementedByServer, Conflict while it cannot be, and MachineFault where the new process failed.
        """
        try:
            self._wait()
            attempt = self._begin()
            self._log.info(f"{cause}: starting a new process, which is to take over")
            try:
                done = attempt.run()
            finally:
                self._end(attempt)
        except HttpError as error:
            self._log.error(f"{cause}: there is no upgrade: {error.message}")
            raise
        pid, version, seconds = done
        self._log.info(
            f"process {pid}, llamaswap {version}, serves from now on, and this one ends with its last request;"
            f" nothing was loaded or unloaded for {seconds * 1000:.0f} ms"
        )
        pids = {"pid": pid, "pid_before": os.getpid()}
        return {**pids, "from": __version__, "to": version, "frozen_seconds": round(seconds, 3)}

    def close(self) -> bool:
        """Begin no upgrade any more, and call off one that is under way; whether another process serves by now."""
        with self._is_idle:
            self._is_closed = True
            attempt = self._attempt
            if attempt is not None:
                attempt.note(News.CALLED_OFF)
                self._is_idle.wait_for(lambda: self._attempt is None or attempt.has_succeeded)
            return self._attempt is not None

    def pass_on(self, signal: int) -> None:
        """A signal to this process that is meant for the one that serves."""
        if self._attempt is not None:
            with suppress(ProcessLookupError):
                os.kill(self._attempt.pid, signal)

    def tell_left(self, count: int) -> None:
        """Another process serves, and so many requests are still in progress here: it is told that."""
        if self._attempt is not None:
            self._attempt.tell_left(count)

    def end(self) -> None:
        """Behind the last request: say what is still to be said to the new process, and nothing more."""
        if self._attempt is not None:
            self._attempt.end()

    def _wait(self) -> None:
        """For the process before this one, where that is about to end."""
        begun = self._clock()
        with self._is_idle:
            while self._clock() - begun < self._household.patience() and not self._is_closed:
                self._is_idle.wait(ENDING_LOOK)

    def _begin(self) -> _Attempt:
        if why := why_impossible():
            raise NotImplementedByServer(why)
        with self._guard:
            if self._attempt is not None:
                is_over = self._attempt.has_succeeded
                raise Conflict("another process serves already" if is_over else "another upgrade is under way")
            if why := "the server is shutting down" if self._is_closed else self._household.why_not():
                raise Conflict(why)
            attempt = self._attempt = _Attempt(self._household, self._log, self._clock, self._ready_timeout)
        return attempt

    def _end(self, attempt: _Attempt) -> None:
        with self._is_idle:
            if attempt.has_succeeded:
                self.has_retired.set()
            else:
                self._attempt = None
            self._is_idle.notify_all()


class _Attempt:
    """One upgrade."""

    def __init__(self, household: Household, log: Logger, clock: Callable[[], float], ready_timeout: float) -> None:
        self._household = household
        self._ready_timeout = ready_timeout
        self._log = log
        self._clock = clock
        self._phase = Old.STARTING
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._version = ""
        self._frozen_at = self._retired_at = 0.0
        self._why = ""  # it has failed
        self._told_left: int | None = None  # how many requests there still are, as the new process was told
        self._child: Child | None = None
        self._link: Link | None = None

    # -- the thread that asks for it --

    def run(self) -> tuple[int, str, float]:
        """Who serves from now on, which version, and for how many seconds nothing was decided; raises MachineFault."""
        try:
            self._child = child = self._household.spawn()
        except (OSError, RuntimeError, MemoryError) as error:
            raise MachineFault(f"the new process cannot be started: {error or 'not enough memory'}") from error
        self._link = link = Link(child.link, self._hear, partial(self.note, News.GONE), self._log.error)
        try:
            link.start()
        except (RuntimeError, MemoryError) as error:
            self._why = f"the new process cannot be started: {error or 'not enough memory'}"
            self.note(News.BROKEN)
        deadline = self._clock() + self._ready_timeout
        while self._phase not in DECIDED:
            deed = self._move(child, link, self._next(deadline))
            if deed is Deed.FREEZE:
                deadline = min(deadline, self._frozen_at + FROZEN_TIMEOUT)
            elif deed is Deed.RETIRE:
                deadline = self._retired_at + COMMIT_TIMEOUT
        if self._phase is Old.FAILED:
            raise MachineFault(self._why)
        with suppress(RuntimeError, MemoryError):
            Thread(self._watch, "upgraded").start()
        return child.pid, self._version, self._retired_at - self._frozen_at

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def _next(self, deadline: float) -> News:
        try:
            return self._news.get(timeout=max(0.0, deadline - self._clock()))
        except queue.Empty:
            return News.LATE

    def _move(self, child: Child, link: Link, news: News) -> Deed | None:
        self._phase, deed = move(self._phase, news)
        if deed is Deed.FREEZE:
            self._frozen_at = self._clock()
            self._freeze(link)
        elif deed is Deed.RETIRE:
            self._household.retire(child.pid, link)
            self._retired_at = self._clock()
        elif deed is not None:
            child.kill()
            if deed is Deed.RESUME:
                self._household.resume()
            self._why = self._why or self._reason(child, news, is_frozen=deed is Deed.RESUME)
            link.close(LAST_WORDS_TIMEOUT)
        return deed

    def _freeze(self, link: Link) -> None:
        try:
            state, descriptors = self._household.freeze()
        except Exception as error:  # noqa: BLE001 - what it has begun it has undone: this is as if nothing had been
            self._phase = Old.STARTING
            self._note_broken(error)
            return
        try:
            link.send({"kind": News.STATE, "state": state}, descriptors)
        except Exception as error:  # noqa: BLE001 - no memory, or more descriptors than a message has: `resume` follows
            for descriptor in descriptors:
                os.close(descriptor)
            self._note_broken(error)

    def _note_broken(self, error: Exception) -> None:
        report("upgrade", self._log.error)
        self._why = f"what runs cannot be handed over: {error or 'not enough memory'}"
        self.note(News.BROKEN)

    def _reason(self, child: Child, news: News, *, is_frozen: bool) -> str:
        if news is News.LATE and is_frozen:
            why = f"the new process did not take over within {FROZEN_TIMEOUT:.0f} s"
        elif news is News.LATE:
            why = f"the new process was not ready within {self._ready_timeout:.0f} s"
        elif news is News.CALLED_OFF:
            return "the server is shutting down"
        elif news is News.GONE:
            why = "the new process ended before it was ready"
        else:
            return "the new process said what was not expected"
        words = child.last_words()
        return f"{why}: {words}" if words else why

    # -- any thread --

    @property
    def has_succeeded(self) -> bool:
        return self._phase in (Old.COMMITTED, Old.RETIRING, Old.ALONE)

    def note(self, news: News) -> None:
        self._news.put(news)

    # -- thread link-in --

    def _hear(self, message: Message, descriptors: Sequence[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        kind = message["kind"]
        if kind in (News.PREPARED, News.READY, News.COMMITTED):
            self._version = message.get("version", self._version)
            self.note(News(kind))
        else:
            self._household.hear(message)

    def tell_left(self, count: int) -> None:
        if self._link is not None and count != self._told_left:
            self._told_left = count
            self._link.send({"kind": LEFT, "requests": count})

    # -- thread upgraded --

    def _watch(self) -> None:
        """Until the new process has ended, or this one."""
        while self._phase is not Old.ALONE:
            self._phase = move(self._phase, self._news.get()).phase
        self._household.note_alone()
        assert self._child is not None
        self._child.wait()

    def end(self) -> None:
        """Behind the last request: what has been sent reaches the other process."""
        if self._link is not None:
            self._link.close(LAST_WORDS_TIMEOUT)
