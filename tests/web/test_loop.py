"""The loop by itself: what is watched, timers, calls in their order, and mistakes, which cost their owner only.

Where time matters, a clock and a poller of the test's own stand in, and the test makes each turn.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from llamaswap_lib.net.loop import LAG_SECONDS, MOST_STALE, SLOW_TURN_PAUSE, Loop, Timer, suspended
from llamaswap_lib.net.poller import IN, OUT, Poller, SelectorPoller, Watched, new_poller
from llamaswap_lib.runtime.wakeup import LONGEST_WAIT
from tests.web.errand import run_on
from tests.web.world import DEADLINE

POLLERS: list[Callable[[], Poller]] = [new_poller, SelectorPoller]


class Owner:
    """What something is watched for; remembers what it was told."""

    def __init__(self) -> None:
        self.failed = threading.Event()
        self.errors: list[Exception] = []

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
        self.failed.set()


class FakePoller:
    """Says that what the test put into `ready` is ready, once; remembers how long it was to wait."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, int]] = []
        self.timeouts: list[float | None] = []
        self.known: dict[int, int] = {}

    def register(self, sock: Watched, mask: int) -> None:
        assert sock.fileno() not in self.known
        self.known[sock.fileno()] = mask

    def modify(self, sock: Watched, mask: int) -> None:
        assert sock.fileno() in self.known
        self.known[sock.fileno()] = mask

    def unregister(self, sock: Watched) -> None:
        del self.known[sock.fileno()]

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        ready, self.ready = self.ready, []
        return ready

    def close(self) -> None: ...


class Descriptor:
    """Something to be watched, by number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class Turns:
    """A loop whose turns the test makes, at times that the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.poller = FakePoller()
        self.errors: list[str] = []
        self.slow: list[str] = []
        self.loop = Loop(
            clock=lambda: self.now, poller=lambda: self.poller, on_error=self.errors.append, on_slow=self.slow.append
        )

    def turn(self, *ready: tuple[int, int], at: float | None = None) -> None:
        self.now = self.now if at is None else at
        self.poller.ready = list(ready)
        self.loop._turn()


@pytest.fixture
def turns() -> Iterator[Turns]:
    turns = Turns()
    yield turns
    turns.loop.stop()


@pytest.fixture(params=POLLERS)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    errors: list[str] = []
    loop = Loop(poller=request.param, on_error=errors.append)
    loop.start()
    yield loop
    loop.stop()
    assert errors == []


# -- what is watched --


def test_what_is_watched_is_called_with_what_it_is_ready_for_until_it_is_not_watched_any_more(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    heard, is_heard = list[int](), threading.Event()

    def hear(mask: int) -> None:
        heard.append(mask)
        ours.recv(10)
        is_heard.set()

    with ours, theirs:
        loop.ask(lambda: loop.watch(ours, IN, hear, Owner()))
        theirs.send(b"x")
        assert is_heard.wait(DEADLINE)
        loop.ask(lambda: loop.unwatch(ours))
        theirs.send(b"x")
        assert loop.answers(DEADLINE)
        assert heard == [IN]


def test_what_is_paused_is_not_called_and_goes_on_where_it_was(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    is_heard = threading.Event()

    def hear(_mask: int) -> None:
        ours.recv(10)
        is_heard.set()

    with ours, theirs:
        loop.ask(lambda: loop.watch(ours, IN, hear, Owner()))
        loop.ask(lambda: loop.pause(ours))
        theirs.send(b"x")
        assert loop.answers(DEADLINE)
        assert not is_heard.is_set()
        loop.ask(lambda: loop.proceed(ours, IN))
        assert is_heard.wait(DEADLINE)
        loop.ask(lambda: loop.pause(ours))
        loop.ask(lambda: loop.unwatch(ours))  # as of what is closed while it is paused


def test_who_was_let_go_of_earlier_in_a_turn_is_not_called_later_in_it(turns: Turns) -> None:
    first, second, heard = Descriptor(1001), Descriptor(1002), list[int]()

    def hear(_mask: int) -> None:
        heard.append(1)
        turns.loop.unwatch(second)

    turns.loop.watch(first, IN, hear, Owner())
    turns.loop.watch(second, IN, lambda _: heard.append(2), Owner())
    turns.turn((1001, IN), (1002, IN))
    assert heard == [1]
    assert turns.errors == []


# -- timers --


def timer_of(turns: Turns, due: list[str], name: str) -> Timer:
    return Timer(turns.loop, lambda: due.append(name), Owner())


def test_timers_are_due_in_their_order_and_not_before(turns: Turns) -> None:
    due: list[str] = []
    late, soon = timer_of(turns, due, "late"), timer_of(turns, due, "soon")
    late.set(10.0)
    soon.set(5.0)
    turns.turn(at=4.0)
    turns.turn(at=4.5)  # time that passes while it waits: it is to wait for what was left at the end of the last turn
    assert (due, turns.poller.timeouts) == ([], [5.0, 1.0])
    turns.turn(at=12.0)
    assert due == ["soon", "late"]
    turns.turn(at=100.0)
    assert (due, turns.poller.timeouts[-1]) == (["soon", "late"], None)


def test_a_timer_that_is_set_again_is_due_at_the_new_time_only(turns: Turns) -> None:
    due: list[str] = []
    later, sooner = timer_of(turns, due, "later"), timer_of(turns, due, "sooner")
    later.set(5.0)
    later.set(8.0)
    sooner.set(9.0)
    sooner.set(2.0)
    turns.turn(at=3.0)
    assert due == ["sooner"]
    turns.turn(at=6.0)
    assert due == ["sooner"]
    turns.turn(at=9.0)
    turns.turn(at=10.0)
    assert due == ["sooner", "later"]


def test_a_timer_that_is_cleared_or_closed_is_never_due(turns: Turns) -> None:
    due: list[str] = []
    cleared, closed, again = (timer_of(turns, due, name) for name in ("cleared", "closed", "again"))
    for timer in (cleared, closed, again):
        timer.set(1.0)
    cleared.clear()
    closed.close()
    again.clear()
    again.set(3.0)
    turns.turn(at=2.0)
    assert due == []
    turns.turn(at=4.0)
    assert due == ["again"]


def test_a_timer_may_be_farther_away_than_the_system_waits(turns: Turns) -> None:
    due: list[str] = []
    timer_of(turns, due, "after centuries").set(1e10)
    turns.turn(at=4.0)
    assert (due, turns.poller.timeouts) == ([], [LONGEST_WAIT])
    turns.turn(at=2e10)
    assert due == ["after centuries"]


def test_a_timer_may_be_set_by_what_it_calls(turns: Turns) -> None:
    due: list[float] = []

    def tick() -> None:
        due.append(turns.now)
        timer.set(1.0)

    timer = Timer(turns.loop, tick, Owner())
    timer.set(1.0)
    for now in (1.0, 1.5, 2.0, 3.0):
        turns.turn(at=now)
    assert due == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("poller", POLLERS)
def test_a_timer_that_was_set_before_the_loop_has_started_is_due_in_its_time(poller: Callable[[], Poller]) -> None:
    errors, is_due = list[str](), threading.Event()
    loop = Loop(poller=poller, on_error=errors.append)
    Timer(loop, is_due.set, Owner()).set(0.01)
    loop.start()
    try:
        assert is_due.wait(DEADLINE)
    finally:
        loop.stop()
    assert errors == []


def test_timers_that_mean_nothing_any_more_take_no_memory(turns: Turns) -> None:
    due: list[str] = []
    living = timer_of(turns, due, "living")
    living.set(50.0)
    for _ in range(20 * MOST_STALE):
        timer = timer_of(turns, due, "dead")
        timer.set(10.0)
        timer.close()
    assert len(turns.loop._heap) <= 2 * MOST_STALE + 2
    turns.turn(at=60.0)
    assert due == ["living"]


# -- calls of other threads --


def test_calls_are_made_in_their_order_by_the_loops_thread(loop: Loop) -> None:
    made, names = list[int](), set[str]()

    def note(number: int) -> None:
        made.append(number)
        names.add(threading.current_thread().name)

    for number in range(1_000):
        loop.call(note, number)
    assert loop.answers(DEADLINE)
    assert (made, names) == (list(range(1_000)), {"loop"})


def test_no_call_is_lost_however_many_threads_call(loop: Loop) -> None:
    made: list[tuple[int, int]] = []

    def call_often(caller: int) -> None:
        for number in range(500):
            loop.call(made.append, (caller, number))

    callers = [threading.Thread(target=call_often, args=(caller,)) for caller in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert loop.answers(DEADLINE)
    assert len(made) == 4_000
    for caller in range(8):
        assert [number for who, number in made if who == caller] == list(range(500))


def test_who_asks_gets_what_is_returned_or_raised(loop: Loop) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert loop.ask(lambda: threading.current_thread().name) == "loop"
    with pytest.raises(ZeroDivisionError):
        loop.ask(fail)
    assert loop.ask(lambda: loop.ask(lambda: 7)) == 7  # its own thread does not wait for itself


def test_a_call_that_calls_is_followed_by_the_others(turns: Turns) -> None:
    made: list[str] = []
    turns.loop.call(lambda: turns.loop.call(made.append, "inner"))
    turns.loop.call(made.append, "outer")
    turns.turn()
    assert made == ["outer"]
    turns.turn()
    assert made == ["outer", "inner"]


# -- mistakes --


def fail(*_: object) -> None:
    raise ZeroDivisionError


def test_a_callback_that_fails_ends_its_owner_and_nobody_else(turns: Turns) -> None:
    guilty, other, heard = Owner(), Owner(), list[int]()
    turns.loop.watch(Descriptor(1001), IN, fail, guilty)
    turns.loop.watch(Descriptor(1002), IN, heard.append, other)
    turns.turn((1001, IN), (1002, IN | OUT))
    assert [type(error) for error in guilty.errors] == [ZeroDivisionError]
    assert (other.errors, heard) == ([], [IN | OUT])
    assert len(turns.errors) == 1
    assert "ZeroDivisionError" in turns.errors[0]


def test_a_timer_that_fails_ends_its_owner_and_the_others_are_due(turns: Turns) -> None:
    guilty, due = Owner(), list[str]()
    failing, other = Timer(turns.loop, fail, guilty), timer_of(turns, due, "other")
    failing.set(1.0)
    other.set(1.0)
    turns.turn(at=2.0)
    assert [type(error) for error in guilty.errors] == [ZeroDivisionError]
    assert due == ["other"]


def test_a_call_that_fails_ends_its_owner_and_the_others_are_made(turns: Turns) -> None:
    class Failing(Owner):
        def work(self) -> None:
            raise ZeroDivisionError

    guilty, made = Failing(), list[str]()
    turns.loop.call(guilty.work)
    turns.loop.call(fail)  # of nobody: it is reported
    turns.loop.call(made.append, "other")
    turns.turn()
    assert [type(error) for error in guilty.errors] == [ZeroDivisionError]
    assert made == ["other"]
    assert len(turns.errors) == 2


def test_an_owner_that_fails_to_end_costs_nobody_else(turns: Turns) -> None:
    class Stubborn(Owner):
        def fail(self, error: Exception) -> None:
            raise LookupError

    heard: list[int] = []
    turns.loop.watch(Descriptor(1001), IN, fail, Stubborn())
    turns.loop.watch(Descriptor(1002), IN, heard.append, Owner())
    turns.turn((1001, IN), (1002, IN))
    assert heard == [IN]
    assert ["LookupError" in error for error in turns.errors] == [False, True]


def test_a_poller_that_fails_is_reported_and_asked_again() -> None:
    class Failing(SelectorPoller):
        has_failed = False

        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            if not self.has_failed:
                self.has_failed = True
                raise OSError
            return super().poll(timeout)

    errors: list[str] = []
    loop = Loop(poller=Failing, on_error=errors.append)
    loop.start()
    assert loop.answers(DEADLINE)
    loop.stop()
    assert len(errors) == 1


# -- turns that take too long --


def test_a_slow_turn_is_logged_with_what_it_did_and_not_too_often(turns: Turns) -> None:
    def dawdle(_mask: int = 0) -> None:
        turns.now += 0.2

    turns.loop.watch(Descriptor(1001), IN, dawdle, Owner())
    turns.turn((1001, IN))
    assert turns.slow == ["all clients waited 200 ms: a turn of the loop served 1 x Owner"]
    turns.turn((1001, IN))
    assert len(turns.slow) == 1
    turns.loop.call(dawdle)
    turns.turn(at=SLOW_TURN_PAUSE + 1.0)
    assert len(turns.slow) == 2
    assert turns.slow[1].endswith(f"1 x {dawdle.__qualname__}")


def test_a_turn_of_usual_length_is_not_logged(turns: Turns) -> None:
    def work(_mask: int) -> None:
        turns.now += 0.04

    turns.loop.watch(Descriptor(1001), IN, work, Owner())
    turns.turn((1001, IN))
    assert turns.slow == []


def test_the_longest_turn_of_the_last_minute_is_known(turns: Turns) -> None:
    seconds = 0.0

    def work(_mask: int) -> None:
        turns.now += seconds

    turns.loop.watch(Descriptor(1001), IN, work, Owner())
    assert turns.loop.lag() == 0.0
    for at, took, longest in (
        (10.0, 0.03, 0.03), (20.0, 0.01, 0.03), (10.0 + LAG_SECONDS, 0.02, 0.03), (2 * LAG_SECONDS, 0.01, 0.02),
    ):  # fmt: skip
        seconds = took
        turns.turn((1001, IN), at=at)
        assert turns.loop.lag() == pytest.approx(longest)
    turns.now = 5 * LAG_SECONDS
    assert turns.loop.lag() == 0.0


# -- coroutines --


def test_a_coroutine_goes_on_when_it_is_resumed_and_has_a_deadline(loop: Loop) -> None:
    async def wait(waiter: object) -> list[object]:
        del waiter
        return [await suspended(), await suspended()]

    async def wait_in_vain(timer: Timer) -> object:
        timer.set(0.01)
        return await suspended()

    heard: list[object] = []
    coroutine = wait(None)
    loop.ask(lambda: coroutine.send(None))
    loop.call(coroutine.send, 1)
    with pytest.raises(StopIteration) as ended:
        loop.ask(lambda: coroutine.send(2))
    heard.extend(ended.value.value)
    assert heard == [1, 2]
    assert run_on(loop, lambda errand: wait_in_vain(Timer(loop, lambda: errand.resume(0), errand))) == 0


def test_the_loop_ends_when_it_is_told_to_and_serves_nobody_any_more() -> None:
    loop = Loop()
    loop.start()
    assert loop.answers(DEADLINE)
    loop.stop()
    assert loop.ask(lambda: threading.current_thread().name) != "loop"
