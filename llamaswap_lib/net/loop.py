"""The one thread that waits on many sockets at once, and serves whatever rides on it: flowing bodies, above all.

Thread `pump` runs everything here but `take_aboard`, `start` and `stop`, which any thread calls. Guarantees: it never
blocks but to wait for all; a passenger is called whenever one of its sockets is ready, and when its patience is at an
end; a mistake in one ends all that ride, is reported, and the next ones ride again.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from llamaswap_lib.net.poller import IN, Poller, new_poller
from llamaswap_lib.net.slow_readers import SlowReaders
from llamaswap_lib.runtime.vital import Failures, VitalThread, report
from llamaswap_lib.runtime.wakeup import Wakeup

CROWD = 32  # flows from which on the pump lets events gather
GATHERING = 0.0005  # seconds between two looks at a crowd
WRITE_TIMEOUT = 60.0
IDLE_TIMEOUT = 120.0
LINGER_TIMEOUT = 2.0
PROMPTLY = 0.05  # seconds within which the rest of a request comes whose sender has it ready


class Passenger(Protocol):
    """What rides on the pump; all of it is called on the pump's thread."""

    def begin(self, pump: Pump) -> None:
        """Register sockets with `pump.poller`, and what serves them with `pump.on_ready`."""

    def give_up(self) -> None:
        """Its patience, in one of the pump's `Deadlines`, is at an end."""

    def throw_off(self) -> None:
        """The pump goes no further: let go of who waits, whatever the state. The poller is closed already."""


class Deadlines:
    """Until when somebody is waited for; all have the same patience, so the order of insertion is that of time."""

    __slots__ = ("_clock", "_due", "_patience", "soonest")

    def __init__(self, patience: float, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._due: OrderedDict[Passenger, float] = OrderedDict()
        self.soonest = math.inf  # nobody is due before: a look at a busy pump costs no search

    def change(self, patience: float) -> None:
        """Have another patience from now on. Nobody who is waited for already gets more, or less than it from now."""
        self._patience = patience
        latest = self._clock() + patience
        for who, due in self._due.items():  # in the order of time, and so it stays
            self._due[who] = min(due, latest)
        self.soonest = next(iter(self._due.values()), math.inf)

    def renew(self, who: Passenger) -> None:
        """Give it the whole patience from now on."""
        self._due[who] = due = self._clock() + self._patience
        self._due.move_to_end(who)
        if self.soonest == math.inf:
            self.soonest = due

    def drop(self, who: Passenger) -> None:
        self._due.pop(who, None)

    def __len__(self) -> int:
        return len(self._due)

    def all(self) -> list[Passenger]:
        return list(self._due)

    def give_up_oldest(self) -> None:
        """Call `give_up` of the one that is due first."""
        self._due.popitem(last=False)[0].give_up()

    def give_up_overdue(self, now: float) -> None:
        """Call `give_up` of all who are due."""
        while self._due:
            who, due = next(iter(self._due.items()))
            if due > now:
                self.soonest = due
                return
            del self._due[who]
            who.give_up()
        self.soonest = math.inf


class Pump:
    """Carries all passengers of one server."""

    def __init__(
        self,
        *,
        write_timeout: float = WRITE_TIMEOUT,
        idle_timeout: float = IDLE_TIMEOUT,
        linger_timeout: float = LINGER_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        poller: Callable[[], Poller] = new_poller,
        on_error: Callable[[str], None] = print,
    ) -> None:
        """`on_error` is told the traceback of what must not happen."""
        self._new_poller = poller
        self._wakeup = Wakeup()
        self._write_timeout = write_timeout
        self._idle_timeout = idle_timeout
        self._linger_timeout = linger_timeout
        self._clock = clock
        self.slow_readers = SlowReaders(clock)
        self._begin_anew()
        self._on_error = on_error
        self._arrivals: deque[Passenger] = deque()
        self._stopping = False
        self._is_broken = False  # nobody may ride on until all have been thrown off
        self._thread = VitalThread(self._run, "pump")

    # -- any thread --

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Throw everybody off, and end the thread; blocks until it has ended. Nobody may come aboard after this."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join()
        self._wakeup.close()

    def change_timeouts(self, write_timeout: float, idle_timeout: float) -> None:
        """Be more or less patient from now on with clients that take nothing, and with those that ask nothing."""
        self._write_timeout, self._idle_timeout = write_timeout, idle_timeout
        self.take_aboard(_Change())

    def take_aboard(self, passenger: Passenger) -> None:
        """Have the pump's thread call its `begin`. Does not block."""
        self._arrivals.append(passenger)
        self._wakeup.set()

    def answers(self, timeout: float) -> bool:
        """Block until its thread has got to it, for at most `timeout` seconds; whether it has."""
        marker = _Marker()
        self.take_aboard(marker)
        return marker.is_reached.wait(timeout)

    # -- pump thread only --

    def _run(self) -> None:
        failures = Failures("pump", self._on_error)
        while not self._stopping:
            try:
                self._run_on(failures)
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread: it must not end the service for good
                self._is_broken = True
                failures.endure()
        self._end_all()

    def _run_on(self, failures: Failures) -> None:
        if self._is_broken:
            self._end_all()
            self._begin_anew()
            self._is_broken = False
        while not self._stopping:
            self._turn()
            if failures.count:
                failures.forget()

    def _begin_anew(self) -> None:
        self.poller = self._new_poller()
        self.poller.register(self._wakeup, IN)
        self.on_ready: dict[int, Callable[[int], None]] = {self._wakeup.fileno(): self._hear_call}
        self.aboard: set[Passenger] = set()
        self.flows = 0  # how many of them are flowing bodies
        self.stalled = Deadlines(self._write_timeout, self._clock)  # clients that have to take what is held for them
        self.incomplete = Deadlines(PROMPTLY, self._clock)  # clients that have to send the rest
        self.idle = Deadlines(self._idle_timeout, self._clock)  # clients that have to begin a request
        self.lingering = Deadlines(self._linger_timeout, self._clock)  # clients that have to close

    def _end_all(self) -> None:
        """Let go of everybody at once."""
        self.poller.close()
        while self.aboard:
            self._throw_off(self.aboard.pop())
        while self._arrivals:  # and not all that there were at one moment: who comes meanwhile waits too
            self._throw_off(self._arrivals.popleft())

    def _throw_off(self, passenger: Passenger) -> None:
        try:
            passenger.throw_off()
        except Exception:  # noqa: BLE001 - the others are not to wait for ever
            report("pump", self._on_error)

    def _turn(self) -> None:
        """Serve whoever is ready.

        Waking up costs more than moving a chunk, so a crowd is looked at every half millisecond: what came meanwhile
        is moved in one go, at less than half the cost. A few flows are served the moment they have something.
        """
        on_ready = self.on_ready
        if self.flows > CROWD:
            time.sleep(GATHERING)
        due = min(self.stalled.soonest, self.incomplete.soonest, self.idle.soonest, self.lingering.soonest)
        for fd, mask in self.poller.poll(None if due == math.inf else max(0.0, due - self._clock())):
            serve = on_ready.get(fd)
            if serve is not None:  # its passenger may have left earlier in this turn
                serve(mask)
        while self._arrivals:  # only now: what was found ready may be about others who had the same descriptors before
            passenger = self._arrivals[0]
            self.aboard.add(passenger)
            self._arrivals.popleft()  # it is always in one of the two: a lost one would wait for ever
            passenger.begin(self)
        now = self._clock()
        if due <= now:
            for deadlines in (self.stalled, self.incomplete, self.idle, self.lingering):
                deadlines.give_up_overdue(now)

    def _hear_call(self, _mask: int) -> None:
        self._wakeup.clear()


class _Change:
    """A passenger that only has the pump's present timeouts taken for those who wait already."""

    def begin(self, pump: Pump) -> None:
        pump.aboard.discard(self)
        pump.stalled.change(pump._write_timeout)
        pump.idle.change(pump._idle_timeout)

    def give_up(self) -> None:
        """It is in nobody's patience."""

    def throw_off(self) -> None:
        """The pump begins anew, with its present timeouts."""


class _Marker:
    """A passenger that only says that the pump has got to it."""

    def __init__(self) -> None:
        self.is_reached = threading.Event()

    def begin(self, pump: Pump) -> None:
        pump.aboard.discard(self)
        self.is_reached.set()

    def give_up(self) -> None:
        """It is in nobody's patience."""

    def throw_off(self) -> None:
        self.is_reached.set()
