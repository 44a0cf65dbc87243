"""Looks whether the server of a run on another machine can be reached. The scheduler decides what follows.

The thread `reach-M` lives as long as such a run serves. It asks the model's health check when requests inside have got
no byte for `SILENT_AFTER` seconds, or at once when a request got no connection or lost it. It says `RunUnreachable`
when there is no answer, then `RunReached`, or `RunLost` after `lostAfter` seconds without an answer.

An answer is one with any status: its server is there. A server that takes a connection and says nothing is there too;
whether it hangs is for the watchdog. A server that is at work may not take connections for a while, when those that
wait for it are too many: so where a connection times out it counts what the connections of requests hear from there.
What is wrong on this machine (no descriptor, no name server) is no sign either: its name is looked up as soon as it
serves, and where it was then is asked while no name server answers. Nothing is posted after `cancel`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llamaswap_lib.core.events import Event, RunLost, RunReached, RunUnreachable
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import SHORTAGES
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import Address, Look, Looker, wait
from llamaswap_lib.runtime.wakeup import Wakeup

SILENT_AFTER = 5.0  # seconds without a byte
_SAMPLE_PAUSE, _LOOK_PAUSE = 1.0, 0.25
_CONNECT_TIMEOUT, _ANSWER_TIMEOUT = 2.0, 1.0


class Target(NamedTuple):
    """The run that is looked for, and for how long. `received` grows with each byte of it; None: it is not known.

    `is_heard`: whether the machine of its server gave a sign of life on a connection of a request within seconds.
    """

    run_id: int
    gate: Gate
    check: HealthCheck
    lost_after: float
    received: Callable[[], int | None]
    is_heard: Callable[[], bool]


class Reach(Looker):
    """The looks for one run; another one takes its place when a request could not reach it."""

    def __init__(
        self,
        target: Target,
        post: Callable[[Event], None],
        *,
        is_doubted: bool,
        known: Sequence[Address] = (),
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[Wakeup, float], object] = wait,
    ) -> None:
        """`is_doubted`: a request could not reach it. `known` are the addresses that another one has found.

        `pause` is as for a `Probe`.
        """
        super().__init__(post)
        self._target = target
        self._is_doubted = is_doubted
        self._clock = clock
        self._pause = pause
        self.addresses = known  # the last ones that its name had; any thread may read them

    # -- thread reach-M --

    def _search(self, ending: Wakeup) -> None:
        if not self._is_doubted:
            with contextlib.suppress(OSError):
                self._resolve()
        while True:
            if not self._is_doubted:
                self._await_silence(ending)
            if not self._find(ending):
                lost_after, where = self._target.lost_after, self._target.check.address
                lost = RunLost(self._target.run_id, f"no answer from {where} for {lost_after:g} s")
                self._tell(lost, is_last=True)
                return

    def _say_last_word(self) -> None:
        """If a mistake of ours has ended the search, nobody is to wait for it for ever."""
        if self._is_doubted:
            self._tell(RunReached(self._target.run_id), is_last=True)

    def _await_silence(self, ending: Wakeup) -> None:
        """Until requests are inside and have got no byte for a while."""
        received, since = self._target.received(), self._clock()
        while self._clock() - since < SILENT_AFTER:
            self._pause(ending, self._clock() + _SAMPLE_PAUSE)
            now_received = self._target.received()
            if not len(self._target.gate) or now_received != received:
                received, since = now_received, self._clock()

    def _find(self, ending: Wakeup) -> bool:
        """Whether it is reached in time; told, if anybody doubts it."""
        until = self._clock() + self._target.lost_after
        while not self._is_reached(ending):
            if not self._is_doubted:
                self._is_doubted = True
                self._tell(RunUnreachable(self._target.run_id))
            now = self._clock()
            if now >= until:
                return False
            self._pause(ending, min(now + _LOOK_PAUSE, until))
        if self._is_doubted:
            self._is_doubted = False
            self._tell(RunReached(self._target.run_id))
        return True

    def _is_reached(self, ending: Wakeup) -> bool:
        """One look."""
        check = self._target.check
        try:
            addresses = self._resolve()
            with Look(ending, time.monotonic() + _CONNECT_TIMEOUT) as look:
                look.connect(addresses)
                try:
                    look.extend(time.monotonic() + _ANSWER_TIMEOUT)
                    check.converse(look)
                    answer = look.read_status()
                except TimeoutError:
                    return True  # it takes connections
                look.finish()
                return answer.isdigit()
        except TimeoutError:  # no connection was taken, or its name is not known
            return self._target.is_heard()
        except OSError as error:
            return error.errno in SHORTAGES
        except MemoryError:
            return True

    def _resolve(self) -> Sequence[Address]:
        """Where it is; where it was last if no name server answers."""
        try:
            self.addresses = self._target.check.resolve()
        except OSError:
            if not self.addresses:
                raise TimeoutError from None
        return self.addresses
