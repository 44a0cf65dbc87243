"""What upstreams of the tests do, and clients in the middle of something."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llamaswap_lib.net.poller import Poller
from tests.web.world import (
    CHUNKED_HEAD,
    DEADLINE,
    OK,
    Peer,
    Script,
    World,
    answers,
    chat,
)


@contextmanager
def warm(world: World, request: bytes = chat()) -> Iterator[Peer]:
    """A client whose connection has had its first answer."""
    with world.connect() as client:
        client.send(request)
        assert client.read_message()[1] == b"ok"
        yield client


class LeapingClock:
    """The clock of a world's loop, which the test puts forward: what is due then is due on a busy machine too."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead_seconds

    def leap(self, world: World, seconds: float) -> None:
        """Put it forward once the loop is done with what it does; when this returns it has looked at all timers."""
        world.loop.ask(lambda: None)
        self._ahead_seconds += seconds
        for _ in range(2):  # calls come before the timers in a turn
            world.loop.ask(lambda: None)


class CountingPoller:
    """A poller that counts how often it is asked."""

    def __init__(self, poller: Poller) -> None:
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister
        self.close, self._poll = poller.close, poller.poll
        self.count = 0

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.count += 1
        return self._poll(timeout)


def borrowed_threads() -> int:
    """How many handler threads there are; one stays for a while when it has done its work."""
    return sum(thread.name.startswith("http-") for thread in threading.enumerate())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE, threading.Event()
    while not is_so():
        assert time.monotonic() < deadline
        pause.wait(0.001)


def ok_then(*scripts: Script) -> Script:
    """A connection whose first request is answered with OK, and whose next ones by these."""

    def script(peer: Peer) -> None:
        answers(OK)(peer)
        for one in scripts:
            one(peer)

    return script


def always(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        while not peer.has_hung_up():
            peer.read_message()
            peer.send(answer)

    return script


class Thinker:
    """An upstream that answers its second request when it is told to."""

    def __init__(self, answer: bytes = OK) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self._answer = answer

    def answer(self, peer: Peer) -> None:
        peer.read_message()
        self.asked.set()
        assert self.go.wait(DEADLINE)
        peer.send(self._answer)

    def hear_hang_up(self, peer: Peer) -> None:
        peer.read_message()
        self.asked.set()
        peer.wait_for_hang_up()
        self.go.set()


def hang_up(peer: Peer) -> None:
    peer.read_message()
    peer.reset()


EVENT = b"5\r\ndata:\r\n"
LAST = b"0\r\n\r\n"


class Teller:
    """An upstream that answers with the beginning of a stream, and goes on as it is told."""

    def __init__(self, head: bytes = CHUNKED_HEAD) -> None:
        self.words: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.was_left = threading.Event()
        self._head = head

    def answer(self, peer: Peer) -> None:
        """Say the words, each once it is there; None ends the connection, b"" listens for the other side's end."""
        peer.read_message()
        peer.send(self._head)
        while (word := self.words.get(timeout=DEADLINE)) != LAST:
            if word is None:
                peer.close()
                return
            if not word:
                peer.wait_for_hang_up()
                self.was_left.set()
                return
            peer.send(word)
        peer.send(LAST)


@contextmanager
def streaming(world: World, teller: Teller, request: bytes = chat()) -> Iterator[Peer]:
    """A client in the middle of a stream, that no thread serves."""
    with warm(world) as client:
        client.send(request)
        teller.words.put(EVENT)
        client.read_until(b"data:")
        assert borrowed_threads() == 0
        yield client
