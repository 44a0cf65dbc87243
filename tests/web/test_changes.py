"""That something changed: told to those who follow, once, and to nobody else."""

from __future__ import annotations

import select
import threading

import pytest

from llamaswap_lib.runtime.changes import Changes, Follower, Topic
from tests.web.world import DEADLINE


def is_readable(follower: Follower) -> bool:
    poll = select.poll()
    poll.register(follower.wakeup, select.POLLIN)
    return bool(poll.poll(0))


def test_each_follower_is_told_once_of_all_that_changed() -> None:
    changes = Changes()
    changes.note(Topic.RUNS)  # to nobody
    with changes.follow() as one, changes.follow() as two:
        assert (is_readable(one), one.take()) == (False, set())
        for topic in (Topic.RUNS, Topic.QUEUE, Topic.RUNS):
            changes.note(topic)
        for follower in (one, two):
            assert is_readable(follower)
            assert follower.take() == {Topic.RUNS, Topic.QUEUE}
            assert not is_readable(follower)
            assert follower.take() == set()
        changes.note(Topic.PROFILE)
        assert (is_readable(one), one.take()) == (True, {Topic.PROFILE})


def test_a_listener_that_has_left_is_not_told_any_more() -> None:
    changes = Changes()
    with changes.follow() as stays:
        with changes.follow():
            pass
        changes.note(Topic.QUEUE)  # a closed descriptor would be written to
        assert stays.take() == {Topic.QUEUE}


@pytest.mark.parametrize("count", [2000])
def test_nothing_is_missed_while_others_come_and_go(count: int) -> None:
    changes, noted, is_over = Changes(), [0], threading.Event()

    def note() -> None:
        for number in range(1, count + 1):
            noted[0] = number
            changes.note(Topic.RUNS)

    def come_and_go() -> None:
        while not is_over.is_set():
            with changes.follow():
                pass

    threads = [threading.Thread(target=note), threading.Thread(target=come_and_go)]
    with changes.follow() as follower:
        poll = select.poll()
        poll.register(follower.wakeup, select.POLLIN)
        for thread in threads:
            thread.start()
        seen = 0
        while seen < count:
            assert poll.poll(DEADLINE * 1000), f"not woken after {seen}"
            assert follower.take() == {Topic.RUNS}
            seen = noted[0]
        is_over.set()
        for thread in threads:
            thread.join(DEADLINE)
