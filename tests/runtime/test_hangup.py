"""Noticing at once that a client has left, on real sockets."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from llamaswap_lib.errors import ClientGone
from llamaswap_lib.runtime.hangup import POLL_RDHUP, HangUpWatch, has_hung_up
from llamaswap_lib.runtime.wakeup import Wakeup

Pair = tuple[socket.socket, socket.socket]
DEADLINE = 10.0
WatchOf = Callable[[socket.socket], HangUpWatch]


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Our end and the client's of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


@pytest.fixture(params=sorted({POLL_RDHUP, 0}), ids=lambda event: "an event of its own" if event else "as on macOS")
def watch_of(request: pytest.FixtureRequest) -> WatchOf:
    """Makes watches, for a poll that tells of the end that a client sends, and for one that only says readable."""
    return lambda client: HangUpWatch(client, request.param)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def test_what_is_waited_for_is_seen_while_the_client_stays(watch_of: WatchOf, tcp: Pair, wakeup: Wakeup) -> None:
    watch = watch_of(tcp[0])
    assert not watch.wait(wakeup.fileno(), select.POLLIN, 0.0)
    threading.Timer(0.05, wakeup.set).start()
    assert watch.wait(wakeup.fileno(), select.POLLIN, DEADLINE)
    wakeup.clear()
    assert not watch.wait(wakeup.fileno(), select.POLLIN, 0.01)  # the same watch, again


def test_a_wait_ends_when_its_seconds_are_over(watch_of: WatchOf, tcp: Pair, wakeup: Wakeup) -> None:
    watch = watch_of(tcp[0])
    assert not watch.wait(wakeup.fileno(), select.POLLIN, 0.1)
    assert not watch.wait(wakeup.fileno(), select.POLLIN, -3.0)  # already over
    threading.Timer(0.05, wakeup.set).start()
    assert watch.wait(wakeup.fileno(), select.POLLIN, DEADLINE)  # seconds, not milliseconds


@pytest.mark.parametrize("leave", [socket.socket.close, reset, half_close])
def test_a_client_that_has_left_is_gone(
    watch_of: WatchOf, tcp: Pair, wakeup: Wakeup, leave: Callable[[socket.socket], None]
) -> None:
    leave(tcp[1])
    with pytest.raises(ClientGone):
        watch_of(tcp[0]).wait(wakeup.fileno(), select.POLLIN, DEADLINE)


@pytest.mark.parametrize("leave", [socket.socket.close, reset, half_close])
def test_a_client_that_leaves_while_something_is_waited_for_ends_the_wait(
    watch_of: WatchOf, tcp: Pair, wakeup: Wakeup, leave: Callable[[socket.socket], None]
) -> None:
    threading.Timer(0.05, leave, (tcp[1],)).start()
    with pytest.raises(ClientGone):
        watch_of(tcp[0]).wait(wakeup.fileno(), select.POLLIN, DEADLINE)


@pytest.mark.skipif(not POLL_RDHUP, reason="what the client has sent hides its end")
def test_a_client_that_sent_ahead_and_left_is_gone(tcp: Pair, wakeup: Wakeup) -> None:
    tcp[1].sendall(b"next request")
    tcp[1].close()
    with pytest.raises(ClientGone):
        HangUpWatch(tcp[0]).wait(wakeup.fileno(), select.POLLIN, DEADLINE)


def test_what_a_client_sends_ahead_is_left_where_it_is_and_wakes_nobody(
    watch_of: WatchOf, tcp: Pair, wakeup: Wakeup
) -> None:
    tcp[1].sendall(b"next request")
    assert not watch_of(tcp[0]).wait(wakeup.fileno(), select.POLLIN, 0.05)
    assert tcp[0].recv(100) == b"next request"


def test_both_at_once_count_as_gone(watch_of: WatchOf, tcp: Pair, wakeup: Wakeup) -> None:
    wakeup.set()
    tcp[1].close()
    with pytest.raises(ClientGone):
        watch_of(tcp[0]).wait(wakeup.fileno(), select.POLLIN, DEADLINE)


def test_a_broken_descriptor_is_ready(watch_of: WatchOf, tcp: Pair) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert watch_of(tcp[0]).wait(ours.fileno(), select.POLLOUT, DEADLINE)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_any_of_several_ends_the_wait(watch_of: WatchOf, tcp: Pair, which: int) -> None:
    several = [Wakeup() for _ in range(3)]
    fds = [one.fileno() for one in several]
    watch = watch_of(tcp[0])
    watch.wait_for_any(fds, 0.05)
    threading.Timer(0.05, several[which].set).start()
    watch.wait_for_any(fds, DEADLINE)
    watch.wait_for_any(fds)  # it still is
    tcp[1].close()
    with pytest.raises(ClientGone):
        watch.wait_for_any(fds, DEADLINE)
    for one in several:
        one.close()


def test_a_client_that_leaves_ends_the_wait_for_several(watch_of: WatchOf, tcp: Pair, wakeup: Wakeup) -> None:
    threading.Timer(0.05, tcp[1].close).start()
    with pytest.raises(ClientGone):
        watch_of(tcp[0]).wait_for_any([wakeup.fileno()], DEADLINE)


def test_has_hung_up_looks_without_taking(tcp: Pair) -> None:
    ours, theirs = tcp
    assert not has_hung_up(ours)
    theirs.sendall(b"x")
    select.select([ours], [], [], 5)
    assert not has_hung_up(ours)
    assert ours.recv(1) == b"x"
    theirs.close()
    select.select([ours], [], [], 5)
    assert has_hung_up(ours)


def test_has_hung_up_after_a_reset(tcp: Pair) -> None:
    ours, theirs = tcp
    reset(theirs)
    select.select([ours], [], [], 5)
    assert has_hung_up(ours)
