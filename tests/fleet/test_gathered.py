"""Many lists of peers that come at nearly the same time make few renewals, and none of them is left out."""

from __future__ import annotations

import threading

import pytest

from llamaswap_lib.fleet.gathered import MOMENT, Gathered
from tests.web.upstreams import wait_until
from tests.web.world import DEADLINE

PEERS = 50


def test_all_that_ask_while_it_is_done_share_the_next_time() -> None:
    said: set[int] = set()
    found: list[int] = []  # how many had said something, each time
    waits: list[float] = []
    begun, go = threading.Semaphore(0), threading.Semaphore(0)

    def renew() -> None:
        found.append(len(said))
        begun.release()
        assert go.acquire(timeout=DEADLINE)

    gathered = Gathered(renew, lambda: 0.0, waits.append)

    def say(number: int) -> None:
        said.add(number)
        gathered()

    threads = [threading.Thread(target=say, args=(number,)) for number in range(PEERS)]
    threads[0].start()
    assert begun.acquire(timeout=DEADLINE)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: gathered._asked == PEERS)
    go.release()
    assert begun.acquire(timeout=DEADLINE)
    assert sum(thread.is_alive() for thread in threads) >= PEERS - 1, "what was asked meanwhile is not done yet"
    go.release()
    for thread in threads:
        thread.join(DEADLINE)
    assert (found, waits) == ([1, PEERS], [0.0, MOMENT])


def test_the_first_is_not_held_up_and_the_next_ones_are_for_what_is_left_of_a_moment() -> None:
    now, waits = [100.0], []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    gathered = Gathered(lambda: None, lambda: now[0], wait)
    for later in (0.0, 0.0, MOMENT / 4, MOMENT * 2):
        now[0] += later
        gathered()
    assert waits == pytest.approx([0.0, MOMENT, MOMENT * 3 / 4, 0.0])


def test_what_failed_is_done_for_the_next_one() -> None:
    failures, done = [RuntimeError("of the first")], []

    def renew() -> None:
        if failures:
            raise failures.pop()
        done.append(1)

    gathered = Gathered(renew, wait=lambda _: None)
    with pytest.raises(RuntimeError):
        gathered()
    gathered()
    assert done == [1]
