"""A short run of the fuzzer on the wire parsers: the same inputs each time. `fuzz_wire.py` says how to run more."""

from __future__ import annotations

import pytest

from tests.web.fuzz_wire import TRIES, TooSlow, bounded_cpu_time, fuzz
from tests.web.mutations import REQUESTS, cut, mutate, random_of

INPUTS = 12_000


@pytest.mark.slow
def test_whatever_comes_is_taken_or_refused_and_means_the_same_to_h11() -> None:
    bad: list[str] = []
    counts = fuzz(0, range(INPUTS), lambda number, error: bad.append(f"{number}: {error!r}"))
    assert not bad
    for kind, (tried, taken) in counts.items():
        assert tried / 10 < taken < tried * 9 / 10, kind  # both ways are tried


def test_an_input_can_be_made_again() -> None:
    assert mutate(random_of(3, 17), REQUESTS[1], REQUESTS) == mutate(random_of(3, 17), REQUESTS[1], REQUESTS)
    pieces = cut(random_of(3, 17), REQUESTS[1])
    assert len(pieces) > 1
    assert b"".join(pieces) == REQUESTS[1]


def never_end() -> None:
    """In a function of its own, as every input is: in 3.13.0 what a signal raises right at a loop leaves its `with`."""
    while TRIES:
        pass


@pytest.mark.slow
def test_an_input_that_never_ends_is_noticed() -> None:
    with bounded_cpu_time() as begin, pytest.raises(TooSlow):  # noqa: PT012 - the time begins inside
        begin()
        never_end()
