"""The one thread that waits on many sockets at once, and calls what each of them is watched for.

Thread `loop` runs everything here but what stands under `# -- any thread --`. Owns the poller and the timers.
Guarantees: it never blocks but to wait for all; what is watched is called whenever its socket is ready; a mistake in
one callback ends what it was for (`Owner.fail`), is reported, and nobody else notices; calls of other threads are made
in their order. A turn that takes longer than SLOW_TURN is logged with what it did. Never reads or writes a socket.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from itertools import count
from types import coroutine
from typing import Any, Protocol, TypeVar

from llamaswap_lib.net.poller import IN, Poller, Watched, new_poller
from llamaswap_lib.runtime.vital import Failures, VitalThread, report
from llamaswap_lib.runtime.wakeup import LONGEST_WAIT, Wakeup

SLOW_TURN = 0.05  # seconds
LAG_SECONDS = 60.0
SLOW_TURN_PAUSE = 10.0  # seconds between two lines in the log about slow turns
MOST_STALE = 64  # timers in the heap that mean nothing any more, before it is made anew
DUE = 0  # what a coroutine is resumed with when its time is over; any other number is a mask of the poller

_T = TypeVar("_T")


@coroutine
def suspended() -> Generator[None, Any, Any]:
    """Wait, in a coroutine that the loop runs, for whatever resumes it: what it was resumed with."""
    return (yield)


class Owner(Protocol):
    """What a socket is watched for, or a timer set for."""

    def fail(self, error: Exception) -> None:
        """Something of ours broke while it was served: it ends, and nobody else."""


class Timer:
    """Calls `on_due` once its time has come; may be set again and again, at no cost while it is set later."""

    __slots__ = ("_heaped_at", "_loop", "at", "on_due", "owner")

    def __init__(self, loop: Loop, on_due: Callable[[], object], owner: Owner) -> None:
        self._loop = loop
        self.on_due = on_due
        self.owner = owner
        self.at = math.inf
        self._heaped_at = math.inf  # the entry in the loop's heap that counts

    def set(self, seconds: float) -> None:
        """Be due so many seconds from now, and not when it was set for before."""
        self.at = at = self._loop.clock() + seconds
        if at < self._heaped_at:
            self._loop.heap_timer(self, at, self._heaped_at)
            self._heaped_at = at

    def clear(self) -> None:
        """Be due never. Its entry in the heap stays, for it is likely to be set again."""
        self.at = math.inf

    def close(self) -> None:
        """Be due never, and not be set again."""
        self.at = math.inf
        if self._heaped_at != math.inf:
            self._heaped_at = math.inf
            self._loop.note_stale()

    def is_entry(self, at: float) -> bool:
        return self._heaped_at == at

    def look(self, now: float) -> None:
        """Its entry was taken out of the heap: call `on_due`, or come back when it is due."""
        self._heaped_at = math.inf
        if self.at > now:
            if self.at != math.inf:
                self._heaped_at = self.at
                self._loop.heap_timer(self, self.at, math.inf)
            return
        self.at = math.inf
        self.on_due()


class Loop:
    """The thread, and what it watches."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        poller: Callable[[], Poller] = new_poller,
        on_error: Callable[[str], None] = print,
        on_slow: Callable[[str], None] = print,
    ) -> None:
        """`on_error` is told the traceback of what must not happen, `on_slow` of turns that took too long."""
        self.clock = clock
        self.on_ready: dict[int, Callable[[int], object]] = {}  # by descriptor; its owner may put another there
        self._owners: dict[int, Owner] = {}
        self._paused: set[int] = set()  # they are watched, and the poller does not know them
        self._poller = poller()
        self._on_error = on_error
        self._on_slow = on_slow
        self._next_slow = -math.inf  # when the next line about slow turns may be written
        self._wakeup = Wakeup()
        self._is_woken = False
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._stale_count = 0
        self._stopping = False
        self._now = clock()  # at the end of the last turn
        self._longest: dict[float, float] = {}  # turn in seconds, by minute: of this one and the one before; replaced
        self._thread = VitalThread(self._run, "loop")
        self._poller.register(self._wakeup, IN)
        self.on_ready[self._wakeup.fileno()] = self._hear_call

    # -- any thread --

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks until it has ended. What is still watched is not served any more."""
        self._stopping = True
        self._wakeup.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._is_woken = True  # a late `call` is not to write to what has the number of the descriptor then
        self._poller.close()
        self._wakeup.close()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have the loop's thread call it soon. Does not block."""
        self._calls.append((function, arguments))
        if not self._is_woken:
            self._is_woken = True
            self._wakeup.set()

    def ask(self, function: Callable[[], _T]) -> _T:
        """Have the loop's thread call it, and block for what it returns; raises what it raises."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return function()
        answer: list[_T] = []
        errors: list[BaseException] = []
        is_done = threading.Event()

        def answer_it() -> None:
            try:
                answer.append(function())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                errors.append(error)
            finally:
                is_done.set()

        self.call(answer_it)
        while not is_done.wait(1.0):
            if not self._thread.is_alive() and not is_done.is_set():  # it has ended before it got to it
                return function()
        if errors:
            raise errors[0]
        return answer[0]

    def lag(self) -> float:
        """Seconds that somebody had to wait for it at most, in the last minute or two. Blocks until it answers."""
        asked_at, now = self.clock(), self.ask(self.clock)
        return max(now - asked_at, *(self._longest.get(now // LAG_SECONDS - back, 0.0) for back in (0, 1)))

    def answers(self, timeout: float) -> bool:
        """Block until its thread has got to it, for at most `timeout` seconds; whether it has."""
        is_reached = threading.Event()
        self.call(is_reached.set)
        return is_reached.wait(timeout)

    # -- loop thread only --

    def watch(self, sock: Watched, mask: int, on_ready: Callable[[int], object], owner: Owner) -> None:
        """Call `on_ready` with what the poller says whenever `sock` is ready for one of `mask`; raises OSError."""
        self._poller.register(sock, mask)
        fd = sock.fileno()
        self.on_ready[fd] = on_ready
        self._owners[fd] = owner

    def change(self, sock: Watched, mask: int) -> None:
        self._poller.modify(sock, mask)

    def unwatch(self, sock: Watched) -> None:
        """Before it is closed."""
        fd = sock.fileno()
        del self.on_ready[fd], self._owners[fd]
        if fd in self._paused:
            self._paused.remove(fd)
        else:
            self._poller.unregister(sock)

    def pause(self, sock: Watched) -> None:
        """Ask nothing about it until `proceed`: not even whether it hung up, which would be reported over and over."""
        self._paused.add(sock.fileno())
        self._poller.unregister(sock)

    def proceed(self, sock: Watched, mask: int) -> None:
        self._paused.remove(sock.fileno())
        self._poller.register(sock, mask)

    def heap_timer(self, timer: Timer, at: float, instead_of: float) -> None:
        """For `Timer`: look at it then."""
        if instead_of != math.inf:
            self.note_stale()
        heapq.heappush(self._heap, (at, next(self._numbers), timer))

    def note_stale(self) -> None:
        """For `Timer`: an entry of the heap means nothing any more."""
        self._stale_count += 1
        if self._stale_count > MOST_STALE and self._stale_count * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].is_entry(entry[0])]
            heapq.heapify(self._heap)
            self._stale_count = 0

    def _run(self) -> None:
        failures = Failures("loop", self._on_error)
        self._now = self.clock()
        while not self._stopping:
            try:
                while not self._stopping:
                    self._turn()
            except Exception:  # noqa: BLE001, PERF203 - the top of the thread: it must not end the service for good
                failures.endure()

    def _turn(self) -> None:
        """Serve whatever is ready."""
        clock, on_ready = self.clock, self.on_ready
        left = min(max(0.0, self._heap[0][0] - self._now), LONGEST_WAIT) if self._heap else None
        ready = self._poller.poll(left)
        began = clock()
        for fd, mask in ready:
            serve = on_ready.get(fd)
            if serve is None:  # it was let go of earlier in this turn
                continue
            try:
                serve(mask)
            except StopIteration:  # a coroutine has come to its end
                pass
            except Exception as error:  # noqa: BLE001 - the others are not to suffer for it
                self._fail(self._owners.get(fd), error)
        calls = self._make_calls() if self._calls else ()
        self._now = now = clock()
        if self._heap and self._heap[0][0] <= now:
            self._look_at_timers(now)
        if (seconds := now - began) > self._longest.get(minute := now // LAG_SECONDS, 0.0):
            self._longest = {minute: seconds, minute - 1: self._longest.get(minute - 1, 0.0)}
        if seconds > SLOW_TURN:
            self._tell_slow(seconds, ready, calls)

    def _make_calls(self) -> Sequence[Callable[..., object]]:
        """Make those that there are now; which they were."""
        made = []
        for _ in range(len(self._calls)):
            function, arguments = self._calls.popleft()
            made.append(function)
            try:
                function(*arguments)
            except StopIteration:
                pass
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(getattr(function, "__self__", None), error)
        if self._calls:  # they came meanwhile, and may have found the flag set
            self._wakeup.set()
        return made

    def _look_at_timers(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, _, timer = heapq.heappop(self._heap)
            if not timer.is_entry(at):
                self._stale_count -= 1
                continue
            try:
                timer.look(now)
            except StopIteration:
                pass
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(timer.owner, error)

    def _fail(self, owner: object, error: Exception) -> None:
        report("loop", self._on_error)
        fail = getattr(owner, "fail", None)
        if fail is not None:
            try:
                fail(error)
            except StopIteration:
                pass
            except Exception:  # noqa: BLE001 - as above
                report("loop", self._on_error)

    def _tell_slow(self, seconds: float, ready: list[tuple[int, int]], calls: Sequence[Callable[..., object]]) -> None:
        if self.clock() < self._next_slow:
            return
        self._next_slow = self.clock() + SLOW_TURN_PAUSE
        served = Counter(_name(self._owners.get(fd)) for fd, _ in ready)
        served.update(getattr(call, "__qualname__", type(call).__name__) for call in calls)
        what = ", ".join(f"{count} x {name}" for name, count in served.most_common(5))
        self._on_slow(f"all clients waited {seconds * 1000:.0f} ms: a turn of the loop served {what or 'timers'}")

    def _hear_call(self, _mask: int) -> None:
        self._wakeup.clear()
        self._is_woken = False


def _name(owner: object) -> str:
    return type(owner).__name__ if owner is not None else "what has ended by now"
