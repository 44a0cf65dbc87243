"""Who makes room when there are too many connections: the order, on a clock of the test's own."""

from __future__ import annotations

import pytest

from llamaswap_lib.server.admission import REPORT_PAUSE, CrowdReport
from llamaswap_lib.server.connection_table import HASTY, SLOW, ConnectionTable, Fate

FAREWELL = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
LAST_WORDS = b"HTTP/1.1 503 The End\r\n\r\n"


class Client:
    """A connection that tells how it was cut off."""

    def __init__(self, name: str, crowd: Crowd) -> None:
        self.name = name
        self.crowd = crowd
        self.is_in_head = False
        self.has_request_ahead = False
        self.is_with_thread = False  # it is cut off, and stays until its handler thread is back
        self.heard: bytes | None = None  # before it was cut off; None while it is not
        self.was_reset = False

    def has_sent(self) -> bool:
        return self.has_request_ahead

    def cut_off(self, farewell: bytes = b"", *, reset: bool = False) -> None:
        assert self.heard is None, f"{self.name} is cut off twice"
        self.heard, self.was_reset = farewell, reset
        self.crowd.table.note_leaving(self)
        if not self.is_with_thread:
            self.crowd.table.remove(self)


class Crowd:
    """A table, its clients, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.table: ConnectionTable[Client] = ConnectionTable(FAREWELL, lambda: self.now)

    def add(self, name: str, *, age: float = 0.0) -> Client:
        """One that has been idle for that long."""
        client = Client(name, self)
        self.now -= age
        self.table.add(client)
        self.now += age
        return client

    def serve(self, name: str) -> Client:
        client = self.add(name)
        self.table.idle.pop(client)
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
        self.table.note_stall(client)
        self.now += age
        return client

    def follow(self, name: str) -> Client:
        client = self.serve(name)
        self.table.note_follower(client, follows=True)
        return client

    def order(self) -> list[Fate]:
        """What those did that are closed one after the other, until no one can be."""
        return list(iter(self.table.make_room, None))


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


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
    assert (second.heard, first.heard) == (FAREWELL, None)
    crowd.table.note_read(first)
    crowd.now += SLOW
    assert crowd.order() == []


def test_who_sends_a_good_piece_counts_as_if_it_had_just_begun(crowd: Crowd) -> None:
    uploading, dripping = crowd.read("uploading", age=2 * SLOW), crowd.read("dripping", age=SLOW)
    crowd.table.note_reading(uploading)
    crowd.table.note_reading_on(dripping)  # a byte of it has come
    assert crowd.table.make_room() is Fate.READING
    assert (dripping.heard, uploading.heard) == (FAREWELL, None)


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


def test_one_that_was_idle_for_longest_goes_first(crowd: Crowd) -> None:
    old, young = crowd.add("old", age=3 * SLOW), crowd.add("young", age=2 * SLOW)
    assert crowd.table.make_room() is Fate.IDLE
    assert (old.heard, young.heard) == (FAREWELL, None)


def test_one_that_has_not_been_served_yet_is_told_why_and_one_that_has_is_closed_in_silence(crowd: Crowd) -> None:
    new, served = crowd.add("new"), crowd.serve("served")
    crowd.now += HASTY
    crowd.table.idle[served] = crowd.now
    crowd.now += HASTY
    assert crowd.order() == [Fate.IDLE, Fate.IDLE]
    assert (new.heard, served.heard) == (FAREWELL, b"")


def test_one_that_takes_something_again_is_not_cut_off(crowd: Crowd) -> None:
    slow, gone = crowd.stall("slow", age=2 * SLOW), crowd.stall("gone", age=SLOW)
    crowd.table.note_room(slow)
    assert crowd.order() == [Fate.STALLED]
    assert (slow.heard, gone.heard) == (None, b"")


@pytest.mark.parametrize("kind", ["stalled", "following"])
def test_one_that_is_cut_off_within_its_answer_is_reset_so_that_its_client_sees_it(crowd: Crowd, kind: str) -> None:
    client = crowd.stall("stalled", age=SLOW) if kind == "stalled" else crowd.follow("log")
    assert crowd.table.make_room() in (Fate.STALLED, Fate.FOLLOWING)
    assert (client.heard, client.was_reset) == (b"", True)


def test_a_follower_that_takes_nothing_is_cut_off_once(crowd: Crowd) -> None:
    follower = crowd.follow("log")
    follower.is_with_thread = True
    crowd.table.note_stall(follower)
    crowd.now += SLOW
    assert crowd.order() == [Fate.STALLED]


def test_of_the_followers_the_first_that_came_goes_first_and_one_that_has_its_answer_is_none(crowd: Crowd) -> None:
    past, first, second = crowd.follow("past"), crowd.follow("first"), crowd.follow("second")
    crowd.table.note_follower(past, follows=False)
    assert crowd.table.make_room() is Fate.FOLLOWING
    assert (past.heard, first.heard, second.heard) == (None, b"", None)


def test_one_that_was_cut_off_or_has_ended_does_not_become_a_follower(crowd: Crowd) -> None:
    leaving, ended = crowd.stall("leaving", age=SLOW), crowd.serve("ended")
    leaving.is_with_thread = True
    assert crowd.order() == [Fate.STALLED]
    crowd.table.remove(ended)
    for client in (leaving, ended):  # its handler thread did not know yet
        crowd.table.note_follower(client, follows=True)
    assert crowd.order() == []


def test_at_the_end_those_are_spared_of_which_a_request_is_to_be_expected_at_once(crowd: Crowd) -> None:
    sent, new = crowd.add("has sent a request", age=2 * SLOW), crowd.add("has come just now")
    kept, old = crowd.serve("was served just now"), crowd.add("has been silent for long", age=SLOW)
    busy = crowd.serve("is being served")
    crowd.now += SLOW / 2
    crowd.table.idle[kept] = crowd.now
    sent.has_request_ahead = True
    assert crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert [client.heard for client in (sent, new, busy)] == [None] * 3
    assert [client.heard for client in (kept, old)] == [b""] * 2
    crowd.table.idle.pop(sent)
    crowd.now += SLOW
    assert not crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert (new.heard, sent.heard) == (b"", None)


def test_at_the_end_a_head_that_is_not_whole_in_time_is_told_and_a_body_may_go_on(crowd: Crowd) -> None:
    old, new, body = crowd.read("head", age=SLOW), crowd.read("new head", age=SLOW / 2), crowd.read("body", age=SLOW)
    old.is_in_head = new.is_in_head = True
    assert crowd.table.close_idle(LAST_WORDS, spare_expected=True)
    assert [client.heard for client in (old, new, body)] == [LAST_WORDS, None, None]
    assert crowd.table.last_words == b""
    crowd.table.close_idle(LAST_WORDS)
    assert (new.heard, body.heard) == (LAST_WORDS, None)
    assert crowd.table.last_words == LAST_WORDS  # for those that begin a head from now on


def test_a_connection_that_was_cut_off_counts_until_its_handler_thread_is_back(crowd: Crowd) -> None:
    kept, stalled = crowd.serve("kept"), crowd.stall("stalled", age=SLOW)
    stalled.is_with_thread = True
    assert crowd.table.make_room() is Fate.STALLED
    assert (len(crowd.table), crowd.table.staying_count) == (2, 1)
    assert crowd.order() == []
    crowd.table.remove(stalled)
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
