"""How often somebody is told something who follows what every request adds to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest

from llamaswap_lib.server.exchange import Exchange
from llamaswap_lib.server.streams import LEAST_PAUSE, MUCH_BYTES, READERS_PER_SECOND, REST, Stream


class Follower:
    """The side of an exchange that a stream sees; its clock goes on while it waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self.head = SimpleNamespace(minor=1)
        self.client = SimpleNamespace(loop=SimpleNamespace(clock=lambda: self.now), room=self._room)
        self.watch = SimpleNamespace(wait=self._wait)
        self.sent: list[bytes] = []

    def _wait(self, *, timeout: float) -> None:
        self.pauses.append(timeout)
        self.now += timeout

    async def _room(self) -> None:
        """There is always room."""

    def on_loop(self, make: Callable[[], Coroutine[object, None, None]]) -> None:
        with suppress(StopIteration):
            make().send(None)

    def send(self, data: bytes) -> None:
        self.sent.append(data)


def look(stream: Stream, *told: bytes, readers: int = 1) -> None:
    stream.await_room(readers)
    for data in told:
        stream.send(data)


@pytest.fixture
def follower() -> Follower:
    return Follower()


@pytest.fixture
def stream(follower: Follower) -> Stream:
    return Stream(cast(Exchange, follower))


def test_what_comes_after_a_rest_is_told_at_once(follower: Follower, stream: Stream) -> None:
    for _ in range(3):
        look(stream, b"one line\n")
        follower.now += REST
    assert follower.pauses == []
    assert len(follower.sent) == 3


def test_a_rush_is_looked_at_seldom(follower: Follower, stream: Stream) -> None:
    begun = follower.now
    for _ in range(100):
        look(stream, b"one line\n", b"", b"another\n")
    assert follower.now - begun == pytest.approx(99 * REST)
    look(stream)
    follower.now += REST - LEAST_PAUSE / 2
    look(stream)
    assert len(follower.pauses) == 100, "a shorter pause than that costs more than it saves"


def test_who_has_much_to_hear_does_not_wait(follower: Follower, stream: Stream) -> None:
    for _ in range(5):
        look(stream, b"x" * (MUCH_BYTES // 2), b"x" * (MUCH_BYTES // 2))
    assert follower.pauses == []


def test_a_crowd_waits_longer(follower: Follower, stream: Stream) -> None:
    look(stream, b"one line\n", readers=READERS_PER_SECOND)
    follower.now += 10.0
    look(stream, b"one line\n", readers=READERS_PER_SECOND)
    assert follower.pauses == [1.0, 1.0]
