"""Accepting connections: clients that have left already, a system that refuses, and pauses that hold up nobody."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from llamaswap_lib.net.loop import Timer
from llamaswap_lib.net.poller import Watched
from llamaswap_lib.server import listener
from llamaswap_lib.server.admission import ROOM_LOOK
from llamaswap_lib.server.limits import Limits
from tests.web.certificates import TlsEnd, issue, trusting
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE, OK, Peer, World, chat, get


@contextmanager
def busy_loop(world: World) -> Iterator[None]:
    """The loop looks at nothing until the block ends."""
    is_busy, go_on = threading.Event(), threading.Event()

    def be_busy() -> None:
        is_busy.set()
        assert go_on.wait(DEADLINE)

    world.loop.call(be_busy)
    assert is_busy.wait(DEADLINE)
    try:
        yield
    finally:
        go_on.set()


def serves(world: World) -> bool:
    return world.ask(get("/health", extra=b"Connection: close\r\n"))[1] == b"OK"


def wait_for_time(world: World, seconds: float) -> None:
    """Until so much of the loop's own time has passed."""
    is_past = threading.Event()
    world.loop.ask(lambda: Timer(world.loop, is_past.set, world.server).set(seconds))
    assert is_past.wait(DEADLINE)


# -- who has left already --


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100], ids=["none", "http", "rubbish"]
)
def test_a_client_of_https_that_has_left_before_it_is_served_is_no_error(tmp_path: Path, said: bytes) -> None:
    with World(certificate=issue(tmp_path)) as world:
        with busy_loop(world), world.connect() as client:
            client.send(said)
        assert world.server.wait_idle(DEADLINE)
        with world.connect() as client:
            client.sock = TlsEnd(client.sock, trusting(), "localhost")
            client.send(get("/health"))
            assert client.read_message()[1] == b"OK"
        assert "[ERROR]" not in world.log


def test_a_client_that_has_reset_its_connection_before_it_is_served_is_no_error() -> None:
    with World() as world:
        with busy_loop(world):
            world.connect().reset()
        assert serves(world)
        assert "[ERROR]" not in world.log


# -- what the system refuses --


class Refusing(socket.socket):
    """A listening socket of which one client cannot be accepted."""

    errors: list[Exception]

    def _accept(self) -> tuple[int, object]:
        if self.errors:
            raise self.errors.pop()
        return super()._accept()  # type: ignore[misc, no-any-return]  # it is there


def refuse_once(world: World, error: Exception) -> Refusing:
    """Have the server fail to accept once."""

    def replace() -> Refusing:
        listening = world.server.socket
        refusing = Refusing(listening.family, listening.type, listening.proto, fileno=listening.detach())
        refusing.setblocking(False)
        refusing.errors = [error]
        world.server.socket = refusing
        return refusing

    return world.loop.ask(replace)


@pytest.mark.parametrize("name", ["ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"])
def test_an_error_of_accepting_is_not_the_end_of_it(name: str) -> None:
    number = getattr(errno, name)
    with World() as world:
        refusing = refuse_once(world, OSError(number, os.strerror(number)))
        assert serves(world)
        assert refusing.errors == []


def test_a_mistake_of_ours_while_accepting_is_told_once_and_not_the_end_of_it() -> None:
    with World() as world:
        refuse_once(world, ZeroDivisionError("ours"))
        assert serves(world)
        assert world.log.count("ZeroDivisionError: ours") == 1


class FullPoller:
    """A poller that has no room for one more client."""

    def __init__(self, world: World) -> None:
        self._loop = world.loop
        self._watch = world.loop.watch
        self.is_full = True
        world.loop.watch = self._refuse_once  # type: ignore[assignment, method-assign]

    def _refuse_once(self, sock: Watched, *others: object) -> None:
        if self.is_full:
            self.is_full = False
            raise OSError(errno.ENOSPC, "no room in the poller")
        self._watch(sock, *others)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_connection_that_the_poller_has_no_room_for_is_closed_and_forgotten(
    tmp_path: Path, is_secure: bool, is_late: bool
) -> None:
    with World(certificate=issue(tmp_path) if is_secure else None) as world:
        world.server.is_stopping = is_late
        poller = FullPoller(world)
        with world.connect() as client, suppress(ConnectionResetError):
            assert client.read_to_end() == b""
        assert not poller.is_full
        wait_until(lambda: (world.server.count(), len(world.server.lingering)) == ((0, 0), 0))


# -- pauses --


class Thinking:
    """An upstream that answers when it is told to."""

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.read_message()
        self.is_asked.set()
        assert self.may_answer.wait(DEADLINE)
        with suppress(OSError):
            peer.send(OK)


class Looks:
    """Counts how often the loop calls what watches the listening socket."""

    def __init__(self, world: World) -> None:
        self.count = 0
        self._fd = world.server.socket.fileno()
        self._on_ready = world.loop.on_ready[self._fd]
        world.loop.on_ready[self._fd] = self

    def __call__(self, mask: int) -> None:
        self.count += 1
        self._on_ready(mask)


@contextmanager
def waiting_newcomer(world: World, thinking: Thinking, stack: ExitStack) -> Iterator[tuple[Peer, Peer]]:
    """The one whose request is being served, and one that waits for room beside it, behind whom there are others."""
    busy = stack.enter_context(world.connect())
    busy.send(chat())
    assert thinking.is_asked.wait(DEADLINE)
    with busy_loop(world):
        late, *_ = [stack.enter_context(world.connect()) for _ in range(3)]
    wait_until(lambda: world.loop.ask(lambda: world.server._is_pausing))
    try:
        yield busy, late
    finally:
        thinking.may_answer.set()


def test_while_a_newcomer_waits_for_room_the_loop_serves_the_others_and_rests() -> None:
    thinking = Thinking()
    with (
        World(thinking, limits=Limits(connections=1)) as world,
        ExitStack() as stack,
        waiting_newcomer(world, thinking, stack) as (busy, late),
    ):
        looks = world.loop.ask(lambda: Looks(world))
        wait_for_time(world, 5 * ROOM_LOOK)
        assert looks.count < 10
        late.send(get("/health"))
        thinking.may_answer.set()
        assert busy.read_message()[1] == b"ok"
        assert late.read_message()[1] == b"OK"


def test_a_newcomer_that_waits_for_room_when_the_server_ends_is_told_so_and_nobody_is_closed_for_it() -> None:
    thinking = Thinking()
    with (
        World(thinking, limits=Limits(connections=1)) as world,
        ExitStack() as stack,
        waiting_newcomer(world, thinking, stack) as (busy, late),
    ):
        world.server.begin_stop()
        assert b"shutting down" in late.read_message()[1]
        thinking.may_answer.set()
        assert busy.read_message()[1] == b"ok"


def test_a_newcomer_that_waits_for_room_is_answered_though_the_server_listens_no_more() -> None:
    thinking = Thinking()
    with (
        World(thinking, limits=Limits(connections=1)) as world,
        ExitStack() as stack,
        waiting_newcomer(world, thinking, stack) as (busy, late),
    ):
        world.server.stop_accepting()
        assert late.read_message()[0].startswith(b"HTTP/1.1 503 ")
        thinking.may_answer.set()
        assert busy.read_message()[1] == b"ok"


def test_what_became_of_newcomers_is_told_in_time_though_nobody_comes_any_more() -> None:
    with World() as world:
        world.server.is_stopping = True
        for count in range(2):
            with world.connect() as late:
                late.read_message()
            if not count:  # the first is told at once, the next one now and then
                world.wait_for_log("the server is shutting down: 1 turned away with a 503\n")
                world.loop.ask(lambda: setattr(world.server._report, "_next", world.app.clock() + 0.1))
        wait_until(lambda: world.log.count("the server is shutting down: 1 turned away with a 503\n") == 2)


# -- the end --


def test_the_end_does_not_wait_for_clients_that_were_answered_and_do_not_leave() -> None:
    is_told = threading.Event()
    with World(limits=Limits(linger_timeout=2 * DEADLINE, max_body_bytes=10)) as world, world.connect() as client:

        def wait() -> None:
            if world.server.wait_idle(DEADLINE):
                is_told.set()

        client.send(get("/health"))
        client.read_message()
        waiting = threading.Thread(target=wait)
        with busy_loop(world):
            client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
            waiting.start()
            assert not is_told.wait(0.05)
        assert is_told.wait(DEADLINE / 2)
        waiting.join()
        assert client.read_message()[0].startswith(b"HTTP/1.1 413 ")


def test_beyond_the_most_that_linger_the_one_that_has_done_so_for_longest_is_closed() -> None:
    with World(limits=Limits(linger_timeout=DEADLINE)) as world, ExitStack() as stack:
        clients = []
        for _ in range(listener.MOST_LINGERING + 1):
            clients.append(client := stack.enter_context(world.connect()))
            client.send(get("/health", extra=b"Content-Length: 9\r\n"))  # and nothing of its body
            client.read_message()
        assert world.server.wait_idle(DEADLINE)
        assert len(world.loop.ask(lambda: list(world.server.lingering))) == listener.MOST_LINGERING
        clients[0].wait_for_hang_up()
        clients[-1].send(b"x")
        assert not clients[-1].sock.recv(1)  # our direction has ended, and nothing else
