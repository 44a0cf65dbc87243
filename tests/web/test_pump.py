"""The pump by itself, on socket pairs: on epoll and on what stands in for it elsewhere."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from llamaswap_lib.net.flow import Ending, Flow
from llamaswap_lib.net.loop import Deadlines, Passenger, Pump
from llamaswap_lib.net.poller import IN, RDHUP, Poller, SelectorPoller, new_poller
from llamaswap_lib.wire.body_framing import ChunkedBody, ClosedBody, LengthBody
from tests.web.world import DEADLINE, PROMPT

POLLERS: list[Callable[[], Poller]] = [new_poller, SelectorPoller]


class Pair:
    """A flow on a pump: `upstream` is written to and `client` is read from."""

    def __init__(self, pump: Pump, body: ChunkedBody | ClosedBody | LengthBody) -> None:
        self.sockets = ExitStack()
        self.upstream, source = socket.socketpair()
        sink, self.client = socket.socketpair()
        for sock in (self.upstream, source, sink, self.client):
            self.sockets.enter_context(sock)
        self.upstream.settimeout(DEADLINE)
        self.client.settimeout(DEADLINE)
        self.flow = Flow(source, sink, body)
        self.ending: Ending | None = None
        self.thread = threading.Thread(target=self._move, args=(pump,))
        self.thread.start()

    def _move(self, pump: Pump) -> None:
        self.ending = self.flow.move(pump)

    def wait(self, timeout: float = DEADLINE) -> Ending | None:
        self.thread.join(timeout)
        return self.ending

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.client.recv(size - len(data))
            assert piece
            data += piece
        return data


@pytest.fixture(params=POLLERS)
def pump(request: pytest.FixtureRequest) -> Iterator[Pump]:
    errors: list[str] = []
    pump = Pump(write_timeout=0.3, poller=request.param, on_error=errors.append)
    pump.start()
    yield pump
    pump.stop()
    assert errors == []


def test_body_of_known_length_ends_with_its_last_byte(pump: Pump) -> None:
    pair = Pair(pump, LengthBody(5))
    with pair.sockets:
        pair.upstream.send(b"he")
        assert pair.read(2) == b"he"
        pair.upstream.send(b"llo")
        assert pair.read(3) == b"llo"
        assert pair.wait() is Ending.COMPLETE
        assert pair.flow.sent_bytes == 5


def test_bytes_behind_the_body_are_not_passed_on(pump: Pump) -> None:
    pair = Pair(pump, ChunkedBody())
    with pair.sockets:
        pair.upstream.send(b"1\r\nx\r\n0\r\n\r\nmore")
        assert pair.wait() is Ending.COMPLETE
        assert pair.read(11) == b"1\r\nx\r\n0\r\n\r\n"
        assert pair.flow.body.surplus


def test_body_until_close_is_complete_when_its_sender_closes(pump: Pump) -> None:
    pair = Pair(pump, ClosedBody())
    with pair.sockets:
        pair.upstream.send(b"all")
        pair.upstream.close()
        assert pair.wait() is Ending.COMPLETE
        assert pair.read(3) == b"all"


def test_framed_body_is_cut_when_its_sender_closes(pump: Pump) -> None:
    pair = Pair(pump, LengthBody(5))
    with pair.sockets:
        pair.upstream.send(b"all")
        pair.upstream.close()
        assert pair.wait() is Ending.CUT
        assert pair.read(3) == b"all"


def test_broken_framing_cuts_the_body(pump: Pump) -> None:
    pair = Pair(pump, ChunkedBody())
    with pair.sockets:
        pair.upstream.send(b"nonsense\r\n")
        assert pair.wait() is Ending.CUT


def test_client_that_leaves_ends_a_silent_flow_at_once(pump: Pump) -> None:
    pair = Pair(pump, ChunkedBody())
    with pair.sockets:
        pair.upstream.send(b"1\r\nx\r\n")
        pair.read(6)
        pair.client.close()
        assert pair.wait(PROMPT * 4) is Ending.CLIENT_GONE


def test_client_that_sends_its_next_request_early_is_not_gone(pump: Pump) -> None:
    pair = Pair(pump, LengthBody(2))
    with pair.sockets:
        pair.client.send(b"GET")
        pair.upstream.send(b"o")
        assert pair.read(1) == b"o"
        pair.upstream.send(b"k")
        assert pair.wait() is Ending.COMPLETE


def test_client_that_takes_nothing_is_given_up_and_not_before(pump: Pump) -> None:
    pair, other = Pair(pump, ChunkedBody()), Pair(pump, LengthBody(2))
    with pair.sockets, other.sockets:
        pair.upstream.settimeout(0.1)
        with pytest.raises(TimeoutError):
            pair.upstream.sendall(b"1000000\r\n" + b"x" * 0x1000000)
        other.upstream.send(b"ok")
        assert other.wait() is Ending.COMPLETE
        assert pair.wait() is Ending.CLIENT_STALLED


def test_slow_client_gets_every_byte_in_order(pump: Pump) -> None:
    body = bytes(range(256)) * 20_000
    pair = Pair(pump, LengthBody(len(body)))
    with pair.sockets:
        sending = threading.Thread(target=pair.upstream.sendall, args=(body,))
        sending.start()
        assert pair.read(len(body)) == body
        sending.join()
        assert pair.wait() is Ending.COMPLETE


@pytest.mark.parametrize("size", range(150_000, 450_000, 50_000))
def test_body_whose_last_bytes_are_held_is_complete_when_they_are_taken(pump: Pump, size: int) -> None:
    pair = Pair(pump, LengthBody(size))
    with pair.sockets:
        try:
            pair.upstream.settimeout(0.1)
            pair.upstream.sendall(b"x" * size)  # of one of these sizes exactly the end does not fit
        except TimeoutError:
            return
        pair.wait(0.02)
        assert pair.read(size) == b"x" * size
        assert pair.wait() is Ending.COMPLETE


def test_client_that_leaves_while_bytes_are_held_for_it_ends_the_flow(pump: Pump) -> None:
    pair = Pair(pump, LengthBody(50_000_000))
    with pair.sockets:
        pair.upstream.settimeout(0.1)
        with pytest.raises(TimeoutError):
            pair.upstream.sendall(b"x" * 50_000_000)
        pair.client.close()
        assert pair.wait() is Ending.CLIENT_GONE


class LateNews(SelectorPoller):
    """Tells something more together with the first that is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.more: list[tuple[int, int]] = []

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        if ready := super().poll(timeout):
            ready += self.more
            self.more = []
        return ready


def test_what_was_found_about_a_descriptor_is_not_told_to_who_has_it_since() -> None:
    poller, errors = LateNews(), list[str]()
    pump = Pump(poller=lambda: poller, on_error=errors.append)
    pair = Pair(pump, LengthBody(4))
    poller.more = [(pair.flow.sink.fileno(), RDHUP)]  # of a client who had the same descriptor
    pump.start()
    with pair.sockets:
        pair.upstream.sendall(b"data")
        assert (pair.read(4), pair.wait()) == (b"data", Ending.COMPLETE)
    pump.stop()
    assert errors == []


def test_stop_ends_what_flows() -> None:
    pump = Pump()
    pump.start()
    pair = Pair(pump, LengthBody(5))
    with pair.sockets:
        pair.upstream.send(b"a")
        pair.read(1)
        pump.stop()
        assert pair.wait() is Ending.CUT


class BrokenBody(LengthBody):
    """A mistake of ours."""

    def take(self, data: bytes) -> bytes:
        raise ZeroDivisionError


def test_mistake_of_ours_is_reported_and_the_pump_goes_on() -> None:
    errors: list[str] = []
    pump = Pump(on_error=errors.append)
    pump.start()
    broken = Pair(pump, BrokenBody(5))
    with broken.sockets:
        broken.upstream.send(b"a")
        assert broken.wait() is Ending.CUT
    whole = Pair(pump, LengthBody(2))
    with whole.sockets:
        whole.upstream.send(b"ok")
        assert whole.wait() is Ending.COMPLETE
    pump.stop()
    assert len(errors) == 1
    assert "ZeroDivisionError" in errors[0]


def test_poller_of_other_platforms_watches_nothing_for_nothing() -> None:
    poller = SelectorPoller()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poller.register(ours, 0)
        theirs.sendall(b"x")
        assert poller.poll(0) == []
        poller.modify(ours, IN)
        assert poller.poll(0) == [(ours.fileno(), IN)]
        poller.modify(ours, 0)
        theirs.close()
        assert poller.poll(0) == []
        poller.unregister(ours)
    poller.close()


# -- deadlines --


class Patient:
    """A passenger that is given up."""

    def __init__(self, given_up: list[Patient]) -> None:
        self._given_up = given_up

    def begin(self, pump: Pump) -> None: ...

    def give_up(self) -> None:
        self._given_up.append(self)

    def throw_off(self) -> None: ...


def test_who_is_overdue_is_given_up_in_order_and_nobody_else() -> None:
    now, given_up = [0.0], list[Patient]()
    deadlines = Deadlines(10.0, lambda: now[0])
    first, second, third, gone = (Patient(given_up) for _ in range(4))
    assert deadlines.soonest == math.inf
    for who in (first, gone, second, third):
        deadlines.renew(who)
        now[0] += 1.0
    deadlines.renew(first)  # at 4: after the others
    deadlines.drop(gone)
    assert deadlines.soonest == 10.0  # nobody is due before
    deadlines.give_up_overdue(11.0)
    assert (given_up, deadlines.soonest) == ([], 12.0)
    deadlines.give_up_overdue(13.0)
    assert (given_up, deadlines.soonest) == ([second, third], 14.0)
    deadlines.give_up_overdue(14.0)
    assert (given_up, deadlines.soonest) == ([second, third, first], math.inf)


def test_who_comes_aboard_while_the_pump_stumbles_is_thrown_off_too() -> None:
    errors: list[str] = []
    pump = Pump(on_error=errors.append)
    thrown_off = threading.Event()

    class Late(Patient):
        def throw_off(self) -> None:
            thrown_off.set()

    class Mistaken(Patient):
        def begin(self, pump: Pump) -> None:
            raise ZeroDivisionError

        def throw_off(self) -> None:
            pump.take_aboard(Late([]))

    pump.take_aboard(Mistaken([]))
    pump.start()
    assert thrown_off.wait(DEADLINE)
    pump.stop()
    assert len(errors) == 1


def test_who_comes_aboard_when_there_is_no_memory_for_that_is_thrown_off() -> None:
    errors: list[str] = []
    pump = Pump(on_error=errors.append)
    thrown_off = threading.Event()

    class Full(set[Passenger]):
        """A set that cannot grow."""

        def add(self, who: Passenger) -> None:
            raise MemoryError

    class Lost(Patient):
        def throw_off(self) -> None:
            thrown_off.set()

    pump.aboard = Full()
    pump.take_aboard(Lost([]))
    pump.start()
    assert thrown_off.wait(DEADLINE)
    pump.stop()
    assert len(errors) == 1
