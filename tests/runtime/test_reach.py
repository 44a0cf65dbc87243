"""Whether the server of a run elsewhere can be reached: with real servers of a few lines, and a clock that leaps."""

from __future__ import annotations

import queue
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from llamaswap_lib.core.events import Event, RunLost, RunReached, RunUnreachable
from llamaswap_lib.core.gate import Gate
from llamaswap_lib.runtime.health.check import HealthCheck
from llamaswap_lib.runtime.health.look import Address, wait
from llamaswap_lib.runtime.health.reach import SILENT_AFTER, Reach, Target
from llamaswap_lib.runtime.wakeup import Wakeup
from tests.runtime.probing import LOADING, OK, PATIENCE, Server, answers, until_it_hangs_up

LOST_AFTER = 10.0


class Looked:
    """Run 3 with one request inside, looked for at a port; `bytes` came from it so far."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.gate = Gate(3, self.events.put, time.monotonic)
        self.gate.shut = False
        self.request = object()
        self.gate.enter(self.request)
        self.now = 0.0
        self.pauses = 0
        self.bytes: int | None = 0
        self.is_heard = False
        self.at_pause: Callable[[int], None] = lambda _: None
        self.address = f"http://{host}:{port}"
        self.check = HealthCheck.at(self.address, "/health")

    @contextmanager
    def looking(self, *, is_doubted: bool, known: Sequence[Address] = ()) -> Iterator[Looked]:
        target = Target(3, self.gate, self.check, LOST_AFTER, lambda: self.bytes, lambda: self.is_heard)
        post, pause = self.events.put, self._pause
        reach = Reach(target, post, is_doubted=is_doubted, known=known, clock=lambda: self.now, pause=pause)
        reach.start("reach-m")
        try:
            yield self
        finally:
            reach.cancel()

    def _pause(self, ending: Wakeup, until: float) -> None:
        wait(ending, 0.0)
        self.now = until
        self.pauses += 1
        self.at_pause(self.pauses)

    def hears(self) -> Event:
        return self.events.get(timeout=PATIENCE)

    @property
    def lost(self) -> RunLost:
        return RunLost(3, f"no answer from {self.address} for 10 s")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """At which nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def resets(client: socket.socket, _: int) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_server_that_refuses_is_lost_after_its_time(closed_port: int) -> None:
    with Looked(closed_port).looking(is_doubted=True) as looked:
        assert looked.hears() == looked.lost
        assert looked.now == LOST_AFTER


def closes(_client: socket.socket, _: int) -> None:
    pass


@pytest.mark.parametrize("serve", [resets, closes])
def test_a_server_that_gives_no_answer_is_lost(serve: Callable[[socket.socket, int], None]) -> None:
    with Server(serve) as server, Looked(server.port).looking(is_doubted=True) as looked:
        assert looked.hears() == looked.lost


def test_a_server_that_cannot_be_found_by_its_name_is_no_lost_one() -> None:
    looked = Looked(80, "no-such-host.invalid")
    looked.is_heard = True
    with looked.looking(is_doubted=True):
        assert looked.hears() == RunReached(3)


def test_while_no_name_server_answers_it_is_asked_where_another_look_has_found_it() -> None:
    with Server(answers(OK)) as server:
        known = HealthCheck.at(f"http://127.0.0.1:{server.port}", "/health").resolve()
        with Looked(80, "no-such-host.invalid").looking(is_doubted=True, known=known) as looked:
            assert looked.hears() == RunReached(3)


def test_the_name_of_a_server_is_looked_up_as_soon_as_it_serves_and_known_when_no_name_server_answers() -> None:
    with Server(answers(OK)) as server:
        looked = Looked(server.port)
        found = [looked.check.resolve()]

        class FoundOnce(HealthCheck):
            def resolve(self) -> list[Address]:
                if not found:
                    raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
                return found.pop()

        looked.check = FoundOnce.at(looked.address, "/health")
        with looked.looking(is_doubted=False):
            while len(server.questions) < 2:
                assert looked.events.empty()
        assert looked.events.empty()


@pytest.mark.parametrize("answer", [OK, LOADING])
def test_a_server_that_answers_with_any_status_is_there(answer: bytes) -> None:
    with Server(answers(answer)) as server, Looked(server.port).looking(is_doubted=True) as looked:
        assert looked.hears() == RunReached(3)


def test_a_server_that_takes_a_connection_and_is_silent_is_there() -> None:
    with (
        Server(lambda client, _: until_it_hangs_up(client)) as server,
        Looked(server.port).looking(is_doubted=True) as looked,
    ):
        assert looked.hears() == RunReached(3)


def test_a_server_that_comes_back_at_the_last_moment_is_not_lost() -> None:
    def resets_until_then(client: socket.socket, count: int) -> None:
        (answers(OK) if looked.now >= LOST_AFTER else resets)(client, count)

    with Server(resets_until_then) as server:
        looked = Looked(server.port)
        with looked.looking(is_doubted=True):
            assert looked.hears() == RunReached(3)


def test_requests_without_a_byte_have_the_server_looked_for(closed_port: int) -> None:
    with Looked(closed_port).looking(is_doubted=False) as looked:
        assert looked.hears() == RunUnreachable(3)
        assert looked.hears() == looked.lost
        assert looked.now == SILENT_AFTER + LOST_AFTER


def test_nobody_asks_while_bytes_come_or_no_request_is_inside(closed_port: int) -> None:
    looked = Looked(closed_port)

    def go_on(pauses: int) -> None:
        if pauses <= 20:
            looked.bytes = pauses
        elif pauses == 21:
            looked.gate.leave(looked.request)
        elif pauses == 40:
            looked.gate.enter(looked.request)

    looked.at_pause = go_on
    with looked.looking(is_doubted=False):
        assert looked.hears() == RunUnreachable(3)
        assert looked.hears() == looked.lost
        assert looked.now == 39.0 + SILENT_AFTER + LOST_AFTER  # at the 39th sample nobody was inside


def test_a_silent_server_that_answers_is_asked_again_and_again_and_nothing_is_said() -> None:
    with Server(answers(OK)) as server:
        looked = Looked(server.port)
        with looked.looking(is_doubted=False):
            while len(server.questions) < 3:
                assert looked.events.empty()
        assert looked.events.empty()


@pytest.mark.slow  # it waits for a connection that is never taken
def test_a_server_that_has_no_room_for_connections_is_there_if_it_is_heard() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        looked = Looked(port)
        looked.is_heard = True
        with looked.looking(is_doubted=True):
            assert looked.hears() == RunReached(3)
        looked.is_heard = False
        looked.at_pause = lambda _: setattr(looked, "now", looked.now + LOST_AFTER)  # a look takes two seconds of ours
        with looked.looking(is_doubted=True):
            assert looked.hears() == looked.lost
        for sock in waiting:
            sock.close()
