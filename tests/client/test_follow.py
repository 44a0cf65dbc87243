"""A stream that is opened again when it breaks off."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from llamaswap_lib.client.connection import Refused, Unreachable
from llamaswap_lib.client.follow import Failed, Item, Lost, News, follow
from llamaswap_lib.errors import LlamaswapError

TIMEOUT = 30.0


def followed(*lives: list[int | Exception]) -> list[News]:
    """The news of a stream that is opened so many times; the last life has to end it."""
    opened = iter(lives)

    def read() -> Iterator[int]:
        for value in next(opened):
            if isinstance(value, Exception):
                raise value
            yield value

    news: queue.Queue[News] = queue.Queue()
    follow("s", read, news.put)
    told: list[News] = []
    while not told or not isinstance(told[-1], Failed):
        told.append(news.get(timeout=TIMEOUT))
    return told


GONE, KEY, BUSY = Unreachable("gone"), Refused("a key", 401), Refused("busy", 503)


def test_it_is_opened_again_whether_it_ended_or_broke_off() -> None:
    assert followed([1, 2], [3, GONE], [4, KEY]) == [
        Item("s", 1), Item("s", 2), Lost("s", None), Item("s", 3), Lost("s", GONE), Item("s", 4), Failed("s", KEY),
    ]  # fmt: skip


def test_a_mistake_is_told_and_nobody_waits_on() -> None:
    wrong = UnicodeEncodeError("utf-8", "\udcff", 0, 1, "half a character")
    assert followed([1, wrong]) == [Item("s", 1), Failed("s", wrong)]


@pytest.mark.slow
def test_a_loss_is_told_once_however_long_it_takes() -> None:
    assert followed([1], [GONE], [BUSY], [2, KEY]) == [
        Item("s", 1), Lost("s", None), Item("s", 2), Failed("s", KEY),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [GONE, KEY, BUSY, LlamaswapError("no certificate")])
def test_one_that_was_never_open_is_not_waited_for(error: Exception) -> None:
    assert followed([error]) == [Failed("s", error)]
