"""Leases, waiters and places, with a door that answers on command and clients that are real sockets."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llamaswap_lib.core.effects import Fault
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.errors import BadGateway, ClientGone, ConcurrencyLimit, NotFound, RunNotDead, ServiceUnavailable
from llamaswap_lib.runtime.control.entrance import Entrance, Waiter
from llamaswap_lib.runtime.control.lease import Lease, Places
from llamaswap_lib.runtime.control.live_run import LiveRun, Upstream
from llamaswap_lib.runtime.logs.last_words import RunOutput
from tests.runtime.launches import FakeProcess, staying

PATIENCE = 30.0
UPSTREAM = Upstream(3, "m", "http://m")


def _ignore(_: object) -> None:
    """Nobody listens for notices here."""


class Door(Entrance):
    """What a lease needs of a controller: no way straight in, and an answer that the test chose."""

    def __init__(self, answer: Callable[[Waiter], None], answer_to_cancel: Callable[[Waiter], None] | None = None):
        self.gate = Gate(3, _ignore, time.monotonic)
        super().__init__({"m": LiveRun(self.gate, FakeProcess(3, "m", _ignore, obeys=False), UPSTREAM)}, _ignore)
        self.answer = answer
        self.lost_runs: list[int | None] = []
        self.answer_to_cancel = answer_to_cancel
        self.cancelled: list[int] = []

    def queue_up(self, model: str, token: object, lost_run: int | None = None, *, was_sent: bool = True) -> Waiter:
        waiter = Waiter(next(self._tickets), token)
        self.lost_runs.append(lost_run)
        self.answer(waiter)
        return waiter

    def cancel(self, waiter: Waiter) -> None:
        self.cancelled.append(waiter.ticket)
        if self.answer_to_cancel:
            self.answer_to_cancel(waiter)

    def admit(self, waiter: Waiter) -> None:
        self.gate.admit(waiter.token)
        waiter.admit(self.gate, UPSTREAM)


@pytest.fixture
def client() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def never(waiter: Waiter) -> None:
    """The answer does not come by itself."""


def refusing(fault: Fault, message: str) -> Callable[[Waiter], None]:
    return lambda waiter: waiter.refuse(fault, message, output=spoken(b"out of memory\n"))


def spoken(data: bytes) -> RunOutput:
    """The output of a run that has said so."""
    output = RunOutput(_ignore)
    output.write(data)
    return output


# -- leases --


def test_an_open_gate_is_entered_and_left() -> None:
    door = Door(never)
    door.gate.shut = False
    with Lease(door, Places({}), "m", None) as upstream:
        assert upstream is UPSTREAM
        assert len(door.gate) == 1
    assert len(door.gate) == 0


def test_a_shut_gate_is_waited_at() -> None:
    door = Door(lambda waiter: threading.Timer(0.05, door.admit, (waiter,)).start())
    with Lease(door, Places({}), "m", None):
        assert len(door.gate) == 1
    assert len(door.gate) == 0


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault.UNKNOWN_MODEL, NotFound, "why"),
        (Fault.LOAD_FAILED, BadGateway, "why\nout of memory"),
        (Fault.BACKING_OFF, BadGateway, "why\nout of memory"),
        (Fault.NOT_DEAD, RunNotDead, "why"),
        (Fault.SHUTTING_DOWN, ServiceUnavailable, "why"),
    ],
)
def test_a_refusal_is_the_error_of_its_kind(fault: Fault, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught, Lease(Door(refusing(fault, "why")), Places({}), "m", None):
        pytest.fail("it was let in")
    assert str(caught.value) == message


@pytest.mark.parametrize(("retry_after", "told"), [(0.0, "2"), (0.2, "1"), (1.0, "1"), (3.1, "2")])
def test_a_refusal_says_when_to_come_again_in_whole_seconds_two_at_most(retry_after: float, told: str) -> None:
    door = Door(lambda waiter: waiter.refuse(Fault.BACKING_OFF, "why", retry_after))
    with pytest.raises(BadGateway) as caught, Lease(door, Places({}), "m", None):
        pytest.fail("it was let in")
    assert caught.value.headers.get("Retry-After") == told


def test_a_request_that_moves_on_leaves_the_lost_run_and_is_inside_the_next() -> None:
    door = Door(never)
    lost = door.gate
    lost.shut = False
    places = Places({"m": 1})
    lease = Lease(door, places, "m", None)
    with lease:
        door.gate = Gate(4, _ignore, time.monotonic)
        door.answer = door.admit
        assert lease.move_on() is UPSTREAM
        assert (len(lost), len(door.gate)) == (0, 1)
        assert door.lost_runs == [3]
        with pytest.raises(ConcurrencyLimit):
            places.take("m")
    assert len(door.gate) == 0
    places.take("m")


def test_a_request_that_cannot_move_on_is_nowhere_and_gives_its_place_back() -> None:
    door = Door(never)
    door.gate.shut = False
    places = Places({"m": 1})
    lease = Lease(door, places, "m", None)
    door.answer = refusing(Fault.NOT_DEAD, "")
    with pytest.raises(RunNotDead), lease:
        lease.move_on()
    assert len(door.gate) == 0
    places.take("m")


def test_a_client_that_has_left_is_abandoned_and_its_answer_awaited(
    client: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = client
    theirs.close()
    door = Door(never, lambda waiter: threading.Timer(0.05, waiter.refuse, (Fault.ABANDONED, "")).start())
    with pytest.raises(ClientGone), Lease(door, Places({}), "m", staying(ours)):
        pytest.fail("it was let in")
    assert door.cancelled == [1]


def test_a_callback_that_waits_is_called_only_if_there_is_something_to_wait_for() -> None:
    waits: list[int] = []

    def wait(waiter: Waiter) -> None:
        waits.append(waiter.ticket)
        door.admit(waiter)
        assert select.select([waiter], [], [], PATIENCE)[0] == [waiter]

    door = Door(never)
    with Lease(door, Places({}), "m", wait) as upstream:
        assert (upstream, waits, len(door.gate)) == (UPSTREAM, [1], 1)
    door.gate.shut = False
    with Lease(door, Places({}), "m", wait):
        assert waits == [1]
    places = Places({"m": 1})
    places.take("m")
    with pytest.raises(ConcurrencyLimit), Lease(door, places, "m", wait):
        pytest.fail("it was let in")
    assert (waits, len(door.gate)) == ([1], 0)


@pytest.mark.parametrize("error", [ClientGone(), RuntimeError("ours")])
@pytest.mark.parametrize("is_admitted", [False, True])
def test_a_wait_that_fails_is_abandoned_and_nothing_is_held(error: Exception, is_admitted: bool) -> None:
    def wait(_: Waiter) -> None:
        raise error

    door = Door(never)
    door.answer_to_cancel = door.admit if is_admitted else refusing_later
    places = Places({"m": 1})
    with pytest.raises(type(error)), Lease(door, places, "m", wait):
        pytest.fail("it was let in")
    assert (door.cancelled, len(door.gate)) == ([1], 0)
    places.take("m")  # its place is free again


def refusing_later(waiter: Waiter) -> None:
    threading.Timer(0.02, waiter.refuse, (Fault.ABANDONED, "")).start()


def test_an_admission_that_crosses_with_the_hang_up_is_given_back(client: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = client
    theirs.close()
    door = Door(never)
    door.answer_to_cancel = door.admit
    places = Places({"m": 1})
    for _ in range(2):
        with pytest.raises(ClientGone), Lease(door, places, "m", staying(ours)):
            pytest.fail("it was let in")
    assert len(door.gate) == 0


def test_a_client_whose_next_request_is_there_already_has_not_left(client: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = client
    theirs.sendall(b"GET / HTTP/1.1\r\n")
    door = Door(lambda waiter: threading.Timer(0.05, door.admit, (waiter,)).start())
    with Lease(door, Places({}), "m", staying(ours)):
        pass
    assert door.cancelled == []
    assert ours.recv(3) == b"GET"  # nothing was taken


def test_the_place_is_given_back_on_every_way_out(client: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = client
    places = Places({"m": 1})
    door = Door(refusing(Fault.LOAD_FAILED, "why"))
    with pytest.raises(BadGateway), Lease(door, places, "m", None):
        pass
    theirs.close()
    door = Door(never, refusing(Fault.ABANDONED, ""))
    with pytest.raises(ClientGone), Lease(door, places, "m", staying(ours)):
        pass
    door.gate.shut = False
    with pytest.raises(ZeroDivisionError), Lease(door, places, "m", None):
        raise ZeroDivisionError
    with Lease(door, places, "m", None):
        pass
    assert len(door.gate) == 0


# -- waiters --


def test_a_waiter_waits_until_it_is_answered_or_its_seconds_are_over() -> None:
    with Waiter(1, None) as waiter:
        assert not waiter.wait_for(0.01)
        threading.Timer(0.05, waiter.wake).start()
        assert waiter.wait_for(30.0)
        assert waiter.wait_for(0.0)
        assert waiter.admission() is None


def test_a_waiter_leaves_no_descriptor_in_use() -> None:
    waiter = Waiter(1, None)
    poll = select.poll()
    poll.register(waiter._wakeup.fileno())
    waiter.close()
    assert poll.poll(0)[0][1] & select.POLLNVAL


# -- places --


def test_a_model_without_a_limit_has_room_for_everybody() -> None:
    places = Places({"a": 0, "b": -1})
    for model in "abc":
        for _ in range(1000):
            places.take(model)


def test_limits_are_each_models_own() -> None:
    places = Places({"a": 1, "b": 1})
    places.take("a")
    count = places.take("b")
    with pytest.raises(ConcurrencyLimit) as caught:
        places.take("a")
    assert caught.value.headers == {"x-should-retry": "true", "Retry-After": "1"}
    places.release(count)
    places.take("b")


def test_never_more_than_the_limit_are_inside_whatever_the_threads_do() -> None:
    places = Places({"m": 3})
    inside = 0
    most = 0
    lock = threading.Lock()

    def visit(_: int) -> bool:
        nonlocal inside, most
        try:
            count = places.take("m")
        except ConcurrencyLimit:
            return False
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        places.release(count)
        return True

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(visit, range(3000)))
    assert most <= 3
    assert any(outcomes)
    for _ in range(3):
        places.take("m")
    with pytest.raises(ConcurrencyLimit):
        places.take("m")
