"""The memory that a worker shares with its parent: requests whose rows have not come, and who has how many clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from llamaswap_lib.workers.connection_counts import PAUSE, ConnectionCounts, Share
from llamaswap_lib.workers.ledger import PLACES, Ledger, Noted, new_ledger

NOTED = Noted(1_700_000_000.25, "box1/m", "/v1/chat/completions", "POST", "big", "s1", "key-1", "192.0.2.1")


@contextmanager
def ledgers() -> Iterator[tuple[Ledger, Ledger]]:
    """The worker's, and the parent's."""
    descriptor = new_ledger()
    try:
        worker, parent = Ledger(descriptor), Ledger(descriptor)
    finally:
        os.close(descriptor)
    with closing(worker), closing(parent):
        yield worker, parent


def test_what_is_not_cleared_is_left() -> None:
    with ledgers() as (worker, parent):
        places = [worker.take(NOTED._replace(model=f"m{number}")) for number in range(5)]
        assert len(set(places)) == 5
        for place in places[1:4]:
            parent.clear(place)
        assert {noted.model for noted in parent.left()} == {"m0", "m4"}
        assert next(iter(parent.left()))[2:] == NOTED[2:]


def test_places_are_used_again_and_never_two_at_once() -> None:
    with ledgers() as (worker, parent):
        places = [worker.take(NOTED) for _ in range(PLACES)]
        assert sorted(places) == list(range(PLACES))
        assert worker.take(NOTED) == -1
        parent.clear(places[0])
        assert worker.take(NOTED._replace(model="again")) == places[0]
        assert sum(noted.model == "again" for noted in parent.left()) == 1


def test_long_texts_of_any_alphabet_are_cut_so_that_they_fit() -> None:
    for letter in ("x", "é", "語", "\U0001f999", "\udc80"):
        with ledgers() as (worker, parent):
            long = letter * 100_000
            worker.take(Noted(1.0, *[long] * 7))
            [noted] = parent.left()
            assert noted.timestamp == 1.0
            assert noted.model
            assert {text == long[: len(text)] for text in noted[1:]} == {True}


def test_who_has_more_than_others_leaves_newcomers_to_them() -> None:
    counts = ConnectionCounts()
    with closing(os.fdopen(counts.descriptor)):
        first, second, third = (Share(counts, place) for place in range(3))
        first.put(5)
        assert first.pause() == 0.0, "nobody else is there"
        second.put(4)
        assert first.pause() == 0.0, "one more is no more than its share"
        third.put(3)
        assert [share.pause() for share in (first, second, third)] == [PAUSE, 0.0, 0.0]
        counts.clear(2)
        assert first.pause() == 0.0, "it has gone"
        first.put(91)
        second.put(80)
        assert first.pause() == 0.0, "of many an eighth more is no more than its share"
        first.put(92)
        assert first.pause() == PAUSE
