"""Who makes room when there are too many connections: the order, on a clock of the test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from llamaswap_lib.net.slow_readers import SlowReaders
from llamaswap_lib.server.admission import REPORT_PAUSE, CrowdReport
from llamaswap_lib.server.connection_table import HASTY, SLOW, ConnectionTable, Fate
from tests.web.world import DEADLINE

FAREWELL = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
LAST_WORDS = b"HTTP/1.1 503 The End\r\n\r\n"


class Client:
    """A connection of which both ends are here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_in_head = False
        self.sock, self.far_end = socket.socketpair()
        self.far_end.settimeout(DEADLINE)

    def heard(self) -> bytes:
        """What it was sent before its connection was ended; it waits for that."""
        pieces = []
        while data := self.far_end.recv(65536):
            pieces.append(data)
        return b"".join(pieces)

    def is_woken(self) -> bool:
        """Whether whoever serves it finds that it has ended."""
        return not self.sock.recv(1, socket.MSG_DONTWAIT)


class Crowd:
    """A table, its clients by name, and the time."""

    def __init__(self, stack: ExitStack) -> None:
        self.now = 1000.0
        self.readers = SlowReaders(lambda: self.now)
        self.table: ConnectionTable[Client] = ConnectionTable(self.readers, FAREWELL, lambda: self.now)
        self.clients: dict[str, Client] = {}
        self._stack = stack

    def add(self, name: str, *, age: float = 0.0) -> Client:
        """One that has been idle for that long."""
        self.clients[name] = client = Client(name)
        self._stack.enter_context(client.sock)
        self._stack.enter_context(client.far_end)
        self.now -= age
        self.table.add(client)
        self.now += age
        return client

    def serve(self, name: str) -> Client:
        client = self.add(name)
        assert self.table.claim(client)
        return client

    def read(self, name: str, *, age: float = 0.0) -> Client:
        """One that has not sent the rest of its request for that long."""
        client = self.serve(name)
        self.now -= age
        self.table.note_reading(client)
        self.now += age
        return client

    def stall(self, name: str, *, age: float = 0.0) -> Client:
        """One that has taken nothing of its answer for that long."""
        client = self.serve(name)
        self.now -= age
        self.readers.note_stall(client.sock)
        self.now += age
        return client

    def follow(self, name: str) -> Client:
        client = self.serve(name)
        self.readers.note_follower(client.sock)
        return client

    def order(self) -> list[Fate]:
        """What those did that are closed one after the other, until no one can be."""
        return list(iter(self.table.make_room, None))


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


def test_those_slow_to_send_go_first_and_those_just_served_last(crowd: Crowd) -> None:
    crowd.follow("log")
    crowd.add("idle", age=2 * SLOW)
    crowd.add("idle for a moment", age=HASTY)
    crowd.stall("stalled", age=SLOW)
    crowd.read("slow", age=SLOW)
    crowd.read("hasty", age=HASTY)
    crowd.serve("served")
    assert crowd.order() == [Fate.READING, Fate.IDLE, Fate.STALLED, Fate.READING, Fate.FOLLOWING, Fate.IDLE]


def test_of_those_that_send_the_one_that_began_first_goes_first_and_is_told_why(crowd: Crowd) -> None:
    second, first = crowd.read("second", age=SLOW), crowd.read("third", age=0.0)
    crowd.now += SLOW
    assert crowd.table.make_room() is Fate.READING
    assert second.heard() == FAREWELL
    assert not crowd.table.note_read(second)
    assert crowd.table.note_read(first)


def test_who_sends_a_good_piece_counts_as_if_it_had_just_begun(crowd: Crowd) -> None:
    uploading, dripping = crowd.read("uploading", age=2 * SLOW), crowd.read("dripping", age=SLOW)
    assert crowd.table.refresh(uploading)
    assert crowd.table.make_room() is Fate.READING
    assert not crowd.table.is_reading(dripping)
    assert not crowd.table.refresh(dripping)
    assert crowd.table.is_reading(uploading)


def test_a_request_that_is_served_makes_no_room(crowd: Crowd) -> None:
    crowd.serve("served")
    crowd.stall("busy for a moment", age=SLOW / 2)
    assert crowd.table.make_room() is None
    assert crowd.table.is_worth_waiting()


def test_those_that_have_only_just_come_are_closed_where_waiting_does_not_help(crowd: Crowd) -> None:
    crowd.add("new")
    for number in range(5):
        crowd.read(str(number))
    assert crowd.table.is_worth_waiting()
    assert crowd.table.make_room() is Fate.READING
    crowd.now += HASTY
    assert not crowd.table.is_worth_waiting()


@pytest.mark.parametrize("fresher", ["idle", "stalled"])
def test_of_the_idle_and_those_that_take_nothing_the_longest_goes_first(crowd: Crowd, fresher: str) -> None:
    crowd.add("idle", age=SLOW * (1 if fresher == "idle" else 3))
    crowd.stall("stalled", age=SLOW * 2)
    assert crowd.table.make_room() is (Fate.STALLED if fresher == "idle" else Fate.IDLE)


def test_one_that_was_idle_for_longest_goes_first_and_cannot_be_claimed_any_more(crowd: Crowd) -> None:
    old, young = crowd.add("old", age=3 * SLOW), crowd.add("young", age=2 * SLOW)
    assert crowd.table.make_room() is Fate.IDLE
    assert (crowd.table.claim(old), crowd.table.claim(young)) == (False, True)


def test_one_that_has_not_been_served_yet_is_told_why_and_one_that_has_is_closed_in_silence(crowd: Crowd) -> None:
    new, served = crowd.add("new"), crowd.serve("served")
    crowd.now += HASTY
    crowd.table.note_idle(served)
    crowd.now += HASTY
    assert crowd.order() == [Fate.IDLE, Fate.IDLE]
    assert new.heard() == FAREWELL
    assert served.is_woken()
    served.sock.close()
    assert served.heard() == b""


def test_one_that_takes_something_again_is_not_cut_off(crowd: Crowd) -> None:
    slow, gone = crowd.stall("slow", age=2 * SLOW), crowd.stall("gone", age=SLOW)
    assert crowd.readers.note_progress(slow.sock)
    assert crowd.order() == [Fate.STALLED]
    assert crowd.readers.note_end(slow.sock)
    assert not crowd.readers.note_progress(gone.sock)
    assert gone.is_woken()


def test_a_follower_that_takes_nothing_is_cut_off_once(crowd: Crowd) -> None:
    follower = crowd.follow("log")
    crowd.readers.note_stall(follower.sock)
    crowd.now += SLOW
    assert crowd.order() == [Fate.STALLED]
    assert follower.is_woken()


def test_at_the_end_those_are_spared_of_which_a_request_is_to_be_expected_at_once(crowd: Crowd) -> None:
    sent, new = crowd.add("has sent a request", age=2 * SLOW), crowd.add("has come just now")
    kept, old = crowd.serve("was served just now"), crowd.add("has been silent for long", age=SLOW)
    busy, gone = crowd.serve("is being served"), crowd.add("has left", age=SLOW)
    crowd.now += SLOW / 2
    crowd.table.note_idle(kept)
    sent.far_end.send(b"GET ")
    gone.far_end.shutdown(socket.SHUT_WR)
    assert crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert [crowd.table.was_closed(client) for client in (sent, new, busy)] == [False] * 3
    assert [crowd.table.was_closed(client) for client in (kept, old, gone)] == [True] * 3
    assert crowd.table.claim(sent)
    crowd.now += SLOW
    assert not crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert crowd.table.was_closed(new)


def test_at_the_end_a_head_that_is_not_whole_in_time_is_told_and_a_body_may_go_on(crowd: Crowd) -> None:
    old, new, body = crowd.read("head", age=SLOW), crowd.read("new head", age=SLOW / 2), crowd.read("body", age=SLOW)
    old.is_in_head = new.is_in_head = True
    assert crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert [crowd.table.was_closed(client) for client in (old, new, body)] == [True, False, False]
    assert old.heard() == LAST_WORDS
    assert not crowd.table.note_read(old)
    crowd.table.close_idle(LAST_WORDS)
    assert new.heard() == LAST_WORDS
    assert crowd.table.note_read(body)
    late = crowd.serve("was not waited for yet")
    late.is_in_head = True
    crowd.table.note_reading(late)
    assert late.heard() == LAST_WORDS


def test_a_connection_that_was_closed_counts_until_its_thread_has_ended(crowd: Crowd) -> None:
    kept, closed = crowd.serve("kept"), crowd.add("closed", age=SLOW)
    assert crowd.table.make_room() is Fate.IDLE
    assert (len(crowd.table), crowd.table.staying_count) == (2, 1)
    crowd.table.remove(closed)
    assert (len(crowd.table), crowd.table.staying_count) == (1, 1)
    assert crowd.table.all() == [kept]


def test_a_few_idle_ones_among_many_that_are_served_are_kept_for_a_while(crowd: Crowd) -> None:
    crowd.add("between two requests", age=HASTY)
    for number in range(8):
        crowd.serve(str(number))
    assert not crowd.table.is_worth_waiting()
    crowd.serve("one more")
    assert crowd.table.is_worth_waiting()
    crowd.now += SLOW
    assert not crowd.table.is_worth_waiting()


def test_the_log_is_told_at_once_and_then_now_and_then_of_all_that_came_since() -> None:
    lines: list[str] = []
    now = [50.0]
    report = CrowdReport(lines.append, lambda: now[0])
    assert report.seconds_left() is None
    report.add("too many", Fate.IDLE)
    assert len(lines) == 1
    for _ in range(3):
        report.add("too many", Fate.READING)
    report.add("no descriptor", Fate.IDLE)
    assert len(lines) == 1
    assert report.seconds_left() == REPORT_PAUSE
    now[0] += REPORT_PAUSE
    report.tell_if_due()
    assert lines[1:] == [f"no descriptor: 1 {Fate.IDLE.value}", f"too many: 3 {Fate.READING.value}"]
    assert report.seconds_left() is None
