"""The feed: events are made once for all listeners, gathered, and lost by nobody who takes them in time."""

from __future__ import annotations

import math
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

import pytest

from llamaswap_lib.activity.feed import (
    GATHER_SECONDS,
    LISTENERS_PER_SECOND,
    MOST_BYTES,
    Feed,
    Listener,
    Source,
    row_event,
)
from llamaswap_lib.activity.row import Row
from llamaswap_lib.wire.messages import message
from tests.activity.rows import row

PATIENCE = 60.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Words:
    """A source that says what the test puts into it."""

    def __init__(self, note_news: Callable[[], None]) -> None:
        self.note_news = note_news
        self.said: list[bytes] = []
        self.told = 0
        self.asked = 0
        self.look_in = math.inf
        self.is_ending = False
        self.is_closed = False

    @property
    def has_ended(self) -> bool:
        return self.is_ending and self.told == len(self.said)

    def say(self, word: bytes) -> None:
        self.said.append(word)
        self.note_news()

    def first(self) -> Sequence[Callable[[], bytes]]:
        told = b"".join(self.said[: self.told])
        return [lambda: b"first:" + told]

    def news(self) -> Iterator[bytes]:
        self.asked += 1
        words = self.said[self.told :]
        self.told += len(words)
        yield from words

    def pause(self) -> float:
        return self.look_in

    def mark(self) -> int:
        return self.told

    def missed(self, since: int, until: int) -> bytes:
        return b"missed:%d" % (until - since)

    def close(self) -> None:
        self.is_closed = True


class Stage:
    """A feed with one source, and a clock of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.feed = Feed(clock=self.clock)
        self.opened: list[Words] = []

    def listen(self) -> Listener:
        return self.feed.listen(self._open)

    def _open(self, note_news: Callable[[], None]) -> Sequence[Source]:
        self.opened.append(Words(note_news))
        return self.opened[-1:]

    @property
    def words(self) -> Words:
        return self.opened[-1]


class WouldWait(Exception):
    """There is nothing to take."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds


def refuse(_: Sequence[int], seconds: float | None) -> None:
    raise WouldWait(seconds)


def seconds_of_wait(listener: Listener) -> float | None:
    """For how long it would wait; None for until it is woken."""
    with pytest.raises(WouldWait) as refused:
        listener.wait(refuse)
    return refused.value.seconds


def next_of(listener: Listener) -> bytes:
    assert listener.wait(refuse)
    return listener.take()


def is_woken(listener: Listener) -> bool:
    poll = select.poll()
    poll.register(listener.wakeup.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def test_a_listener_is_told_how_things_are_and_then_what_happens() -> None:
    stage = Stage()
    with stage.listen() as one:
        assert [*one.first()] == [b"first:"]
        assert seconds_of_wait(one) is None
        stage.words.say(b"a")
        assert next_of(one) == b"a"
        with stage.listen() as two:
            assert [*two.first()] == [b"first:a"]
            stage.clock.now += GATHER_SECONDS
            stage.words.say(b"b")
            assert (next_of(two), next_of(one)) == (b"b", b"b")
        assert not stage.words.is_closed
    assert stage.words.is_closed
    stage.feed.note("swap", [{}])
    with stage.listen() as three:
        assert len(stage.opened) == 2
        assert seconds_of_wait(three) is None


def test_what_comes_soon_after_is_gathered_and_asked_for_once() -> None:
    stage = Stage()
    with stage.listen() as one, stage.listen() as two:
        stage.words.say(b"a")
        assert next_of(one) == b"a"
        for word in (b"b", b"c"):
            stage.words.say(word)
            assert seconds_of_wait(one) == pytest.approx(GATHER_SECONDS)
        stage.feed.note("swap", [{"to": "m"}])
        assert stage.words.asked == 1
        stage.clock.now += GATHER_SECONDS
        told = message("swap", {"to": "m"}) + b"bc"
        assert (next_of(one), next_of(two)) == (told, b"a" + told)
        assert stage.words.asked == 2


def test_a_crowd_is_told_less_often() -> None:
    stage = Stage()
    with ExitStack() as stack:
        crowd = [stack.enter_context(stage.listen()) for _ in range(400)]
        stage.words.say(b"a")
        assert next_of(crowd[0]) == b"a"
        stage.words.say(b"b")
        assert seconds_of_wait(crowd[0]) == pytest.approx(400 / LISTENERS_PER_SECOND)
        stage.clock.now += 400 / LISTENERS_PER_SECOND
        assert next_of(crowd[0]) == b"b"
        assert {next_of(listener) for listener in crowd[1:]} == {b"ab"}


def test_of_those_who_wait_one_is_woken_by_news_and_then_one_by_the_other() -> None:
    stage = Stage()
    with stage.listen() as one, stage.listen() as two, stage.listen() as three:
        for listener in (one, two, three):
            assert seconds_of_wait(listener) is None
        stage.words.say(b"a")
        assert [is_woken(listener) for listener in (one, two, three)] == [True, False, False]
        assert next_of(one) == b"a"
        woken, other = (two, three) if is_woken(two) else (three, two)
        assert [is_woken(listener) for listener in (woken, other)] == [True, False]
        assert next_of(woken) == b"a"
        assert is_woken(other)
        assert next_of(other) == b"a"


def test_if_one_leaves_that_was_to_wake_another_one_that_one_is_woken_all_the_same() -> None:
    stage = Stage()
    with stage.listen() as one, ExitStack() as stack:
        others = [stack.enter_context(stage.listen()) for _ in range(3)]
        for listener in (one, *others):
            assert seconds_of_wait(listener) is None
        stage.words.say(b"a")
        assert next_of(one) == b"a"
        (woken,) = filter(is_woken, others)
        stage.feed.leave(woken)
        assert sum(map(is_woken, others)) == 2
        stage.feed.join(woken, lambda _: ())


def test_if_the_one_on_watch_leaves_another_one_is() -> None:
    stage = Stage()
    with stage.listen() as two:
        with stage.listen() as one:
            assert (seconds_of_wait(one), seconds_of_wait(two)) == (None, None)
            stage.words.say(b"a")
            assert not is_woken(two)
        assert is_woken(two)
        assert next_of(two) == b"a"


def test_if_the_one_that_is_next_on_watch_leaves_before_it_knows_another_one_is() -> None:
    stage = Stage()
    with ExitStack() as stack:
        watching, *others = [stack.enter_context(stage.listen()) for _ in range(4)]
        for listener in (watching, *others):
            assert seconds_of_wait(listener) is None
        stage.feed.leave(watching)
        (following,) = filter(is_woken, others)
        stage.feed.leave(following)
        assert sum(map(is_woken, others)) == 2
        stage.words.say(b"a")
        last = next(listener for listener in others if listener is not following and is_woken(listener))
        assert next_of(last) == b"a"
        for listener in (watching, following):
            stage.feed.join(listener, lambda _: ())


def test_a_source_that_nobody_notes_is_looked_at_by_one_listener() -> None:
    stage = Stage()
    with stage.listen() as one, stage.listen() as two:
        stage.words.look_in = 2.0
        stage.words.say(b"a")
        assert (next_of(one), next_of(two)) == (b"a", b"a")
        assert seconds_of_wait(two) == pytest.approx(2.0)
        assert seconds_of_wait(one) is None
        stage.words.said.append(b"b")
        stage.clock.now += 2.0
        assert next_of(two) == b"b"
        assert is_woken(one)


def test_one_that_falls_behind_is_told_what_it_missed_and_nobody_else() -> None:
    stage = Stage()
    with stage.listen() as slow, stage.listen() as quick:
        for number in range(30):
            stage.clock.now += GATHER_SECONDS
            stage.words.say(b"%d" % number + b"x" * (MOST_BYTES // 10))
            assert next_of(quick).startswith(b"%d" % number)
        assert (slow.take(), next_of(slow)) == (b"", b"missed:30")
        stage.clock.now += GATHER_SECONDS
        stage.words.say(b"later")
        assert (next_of(slow), next_of(quick)) == (b"later", b"later")


def test_the_end_comes_behind_the_last_news() -> None:
    stage = Stage()
    with stage.listen() as one, stage.listen() as two:
        assert (seconds_of_wait(one), seconds_of_wait(two)) == (None, None)
        stage.words.is_ending = True
        stage.words.say(b"last")
        assert (next_of(one), next_of(two)) == (b"last", b"last")
        assert not one.wait(refuse)
        assert not two.wait(refuse)


def test_rows_are_told_by_their_ids() -> None:
    stage = Stage()
    rows: list[Row] = [row(id=7), row(id=1_234_567)]
    with stage.listen() as one:
        stage.feed.note_rows(rows)
        assert next_of(one) == b"".join(message("activity", {"id": number.id}) for number in rows)


@pytest.mark.parametrize("number", [0, 1, 10, 2**53])
def test_an_event_that_is_an_id_is_written_like_any_other(number: int) -> None:
    assert row_event(number) == message("activity", {"id": number})


class Left(Exception):
    """The listener's client has left."""


def wait_in_poll(fds: Sequence[int], seconds: float | None) -> None:
    poll = select.poll()
    poll.register(fds[0], select.POLLIN)
    assert poll.poll((PATIENCE if seconds is None else seconds) * 1000) or seconds is not None


def wait_and_leave(fds: Sequence[int], seconds: float | None) -> None:
    wait_in_poll(fds, seconds)
    raise Left


class Crowd:
    """Listeners on threads of their own, some of which stay, while the others come and go."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.opened: list[Words] = []
        self.got: list[bytes] = []
        self.is_over = threading.Event()
        self.are_in = threading.Barrier(13)
        self.threads = [threading.Thread(target=self._stay) for _ in range(12)]
        self.threads += [threading.Thread(target=self._come_and_go, args=(number,)) for number in range(8)]

    def sources(self, note_news: Callable[[], None]) -> Sequence[Source]:
        self.opened.append(Words(note_news))
        return self.opened[-1:]

    def _stay(self) -> None:
        text = b""
        with self.feed.listen(self.sources) as listener:
            self.are_in.wait(PATIENCE)
            while listener.wait(wait_in_poll):
                text += listener.take()
        self.got.append(text)

    def _come_and_go(self, count: int) -> None:
        while not self.is_over.is_set():
            with suppress(Left), self.feed.listen(self.sources) as listener:
                for _ in range(count % 4):
                    listener.wait(wait_in_poll)
                    listener.take()
                listener.wait(wait_and_leave)


def test_listeners_that_stay_miss_nothing_and_get_nothing_twice_while_others_come_and_go() -> None:
    crowd = Crowd()
    for thread in crowd.threads:
        thread.start()
    crowd.are_in.wait(PATIENCE)
    source = crowd.opened[-1]
    words = [b"%d " % number for number in range(20_000)]
    for word in words:
        source.say(word)
    crowd.is_over.set()
    source.said.append(b"end")
    source.is_ending = True
    source.note_news()
    for thread in crowd.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert crowd.got == [b"".join(words) + b"end"] * 12
    assert source.is_closed
